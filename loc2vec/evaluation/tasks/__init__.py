"""Tasks: places with labels, from OpenStreetMap or from a user."""
