"""The HTTP side of the service: routes, formats, limits."""
