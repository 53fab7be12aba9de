"""The version of the installed package."""

from importlib import metadata


def version() -> str:
    """Return the version, as in the package's metadata."""
    return metadata.version("loc2vec")
