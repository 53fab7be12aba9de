"""Models: their folders, how networks run, the tiles they read."""
