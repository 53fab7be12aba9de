"""Tile datasets: the jobs that make them, their shards, reading them."""
