"""Whether the libraries of the explorer are installed."""

import importlib.util

from loc2vec.errors import ExtraError

LIBRARIES = ("matplotlib", "sklearn")


def require_extra() -> None:
    """Raise `ExtraError` unless the libraries of the explorer are installed."""
    missing = [name for name in LIBRARIES if importlib.util.find_spec(name) is None]
    if missing:
        raise ExtraError(f"exploring needs {', '.join(missing)}: pip install 'loc2vec[explore]'")
