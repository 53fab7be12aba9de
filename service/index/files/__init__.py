"""The files of an index folder: written, opened and checked."""
