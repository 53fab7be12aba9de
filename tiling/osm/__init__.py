"""OSM extracts: reading them, the names and the sea in them, the area they cover."""
