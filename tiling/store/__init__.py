"""Feature sources: where the features around a place come from."""
