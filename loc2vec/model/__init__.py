"""Models: their folders, how networks run, and the datasets that they read."""
