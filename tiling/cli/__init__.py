"""The commands `loc2vec import`, `update` and `tile`, and what all commands share."""
