"""Training: the loop, its losses, its batches, its page."""
