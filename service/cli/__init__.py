"""The console command `loc2vec` and the commands of the service."""
