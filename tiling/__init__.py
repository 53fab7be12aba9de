"""OSM extracts to 12-channel tiles: import, feature stores, rendering, tile datasets."""
