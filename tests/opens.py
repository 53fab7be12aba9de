"""How often a store is opened and hashed."""

import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import tiling.store.store
from tiling.files.atomic import sha256_of
from tiling.store.source import FeatureSource
from tiling.store.store import Store


class Counts(Counter[tuple[str, str]]):
    """How often each thread opened a store, and how often each file was hashed."""

    def watch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Count from here on."""
        really_open = Store.open

        def opened(store: Store, *given: Any, **named: Any) -> FeatureSource:
            self["open", str(threading.get_ident())] += 1
            return really_open(store, *given, **named)

        def hashed(path: Path) -> str:
            self["hash", str(path)] += 1
            return sha256_of(path)

        tiling.store.store._content_hash.cache_clear()
        monkeypatch.setattr(Store, "open", opened)
        monkeypatch.setattr(tiling.store.store, "sha256_of", hashed)

    def check(self) -> None:
        """Fail unless this thread opened one store once, and no file was hashed twice."""
        assert self["open", str(threading.get_ident())] == 1
        assert set(self.values()) == {1}, self
