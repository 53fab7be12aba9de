"""The engine: renders, encodes and searches for the service, and takes new data into use.

Tiles are rendered by `tiling.render.process`, in processes, or by `tiling.render.thread`.
"""
