"""Files: written atomically, locally or behind a URL; tables of points."""
