"""Feature stores, one folder a kind: `store.py` has `Store` and the registry of kinds, `KINDS`."""
