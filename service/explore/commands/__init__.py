"""One file a command, named like the file of its figure in `loc2vec.explore`."""
