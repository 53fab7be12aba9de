"""Networks that turn tiles into vectors."""
