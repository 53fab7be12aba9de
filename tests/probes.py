"""Probes of fewer fits, for tests which do not ask how well they read."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def quick_probes() -> Iterator[None]:
    """Offer one strength, and one seed for curves of few labels: less than half of the fits."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("loc2vec.evaluation.probes.STRENGTHS", (1.0,))
        patch.setattr("loc2vec.evaluation.measure.FEW_SEEDS", 1)
        yield
