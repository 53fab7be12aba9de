"""The neighbour index, the engine, the HTTP service and the assembled command line."""
