"""Extracts by name: providers, their regions, and downloads that resume."""
