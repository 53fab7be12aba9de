"""Tiles to vectors: encoders, loss, training, evaluation, `LocationEncoder`."""
