"""Tiles to vectors: encoders, loss, training, evaluation, `LocationEncoder`."""

import os
from typing import TYPE_CHECKING, Any

# Threads of OpenMP sleep while they wait for each other. Awake, they take the time of whoever
# computes beside them. The libraries read this when they are loaded (`benchmarks/threads.py`).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

if TYPE_CHECKING:
    from loc2vec.encoder import LocationEncoder

__all__ = ["LocationEncoder"]


def __getattr__(name: str) -> Any:
    """Import `LocationEncoder` when it is first asked for, because it needs PyTorch."""
    if name in __all__:
        from loc2vec import encoder

        return getattr(encoder, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
