"""Vectors of many places: making, keeping and combining them."""
