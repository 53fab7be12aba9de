"""Networks that turn tiles into vectors, one file a family.

A new family is a file, a row in `ENCODERS` of `registry.py`, and its number of parameters in
`tests/loc2vec/encoders/test_families.py`.
"""
