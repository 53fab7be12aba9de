"""The channel catalogue: what is drawn in each of the twelve channels, and how people see them.

It is data, not code: `catalogue.toml`, or a user's own file.
"""
