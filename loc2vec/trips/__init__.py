"""Sequence use: what a trip's vectors say of how its traveller moved."""
