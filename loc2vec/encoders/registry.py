"""Encoders by name: what a model folder and the command line refer to."""

from collections.abc import Callable

from torch import nn

from loc2vec.encoders.loc2vec import Loc2Vec
from loc2vec.errors import EncoderError

# Each takes `dim` and maps tiles uint8 [n, 12, 128, 128] to float32 [n, dim].
ENCODERS: dict[str, Callable[..., nn.Module]] = {"loc2vec": Loc2Vec}


def build(name: str, **options: int) -> nn.Module:
    """Make a fresh encoder, or raise `EncoderError` that lists the names there are."""
    if name not in ENCODERS:
        raise EncoderError(f"no encoder is called {name!r}: choose one of {', '.join(sorted(ENCODERS))}")
    try:
        return ENCODERS[name](**options)
    except TypeError as error:
        raise EncoderError(f"encoder {name!r} does not take the options {options}: {error}") from error
