"""From OSM extracts to what a store holds, in bounded memory."""
