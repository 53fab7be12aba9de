from collections.abc import Callable

import pytest

from loc2vec.encoders.base import Options
from loc2vec.encoders.registry import ENCODERS, Family
from tests.loc2vec.memory import MemoryDataset, Tiny


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name under which a tiny encoder is registered."""
    monkeypatch.setitem(ENCODERS, "tiny", Family(Options, Tiny))
    return "tiny"


@pytest.fixture
def make_dataset() -> Callable[..., MemoryDataset]:
    return MemoryDataset


@pytest.fixture
def dataset() -> MemoryDataset:
    return MemoryDataset()
