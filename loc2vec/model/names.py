"""The name of the model that is used where none is given; it loads no network."""

DEFAULT_MODEL = "place-16"
