"""The process that spoilt things are used in, and the loop over them."""

import contextlib
from collections.abc import Callable, Iterator

import pytest

from tests.fuzz.attack import Attack, Tries, started


@pytest.fixture
def worker() -> Iterator[Tries]:
    """A process that uses spoilt things."""
    with contextlib.closing(started()) as tries:
        yield tries


@pytest.fixture
def fuzz(worker: Tries, record_property: Callable[[str, object], None]) -> Attack:
    """The loop, whose tries the report counts."""
    return Attack(worker, record_property)
