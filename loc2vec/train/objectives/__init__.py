"""Objectives: what an encoder is trained for."""
