"""The store of the full stack: a schema in a PostGIS database."""
