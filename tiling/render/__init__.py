"""Rendering: tiles, map pictures, and the processes that render them."""
