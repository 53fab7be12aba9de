"""Measuring embeddings: tasks, splits, probes, baselines and the report."""
