"""Positions on the Earth: metres, cells, grids, projections."""
