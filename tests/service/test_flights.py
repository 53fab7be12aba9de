"""What several ask for at the same time is made once."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from loc2vec.model.arrays import Vectors
from service.engine.engine import Engine
from service.flights import Flights
from service.settings import Settings
from tiling.values import LonLat

ASKED = 6  # requests at the same time


def at_once(ask: Callable[[], object]) -> list[object]:
    """Return the answers of several threads that ask together."""
    start = threading.Barrier(ASKED)

    def one() -> object:
        start.wait()
        return ask()

    with ThreadPoolExecutor(ASKED) as threads:
        return [asked.result() for asked in [threads.submit(one) for _ in range(ASKED)]]


@pytest.mark.parametrize("cache_places", [0, 100])
def test_a_place_that_many_ask_for_at_once_is_rendered_once(
    settings: Settings, cache_places: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[LonLat] = []
    with Engine.open(settings.model_copy(update={"cache_places": cache_places})) as engine:
        really, asked = engine._embed_few, threading.Semaphore(0)

        def slowly(places: Sequence[LonLat]) -> Vectors:
            made.extend(places)
            while cache_places == 0 and not asked.acquire(timeout=5):  # until all have asked
                pass
            return really(places)

        monkeypatch.setattr(engine, "_embed_few", slowly)
        here, find = LonLat(7.4211, 43.7301), engine._cached
        count = [0]

        def counted(place: LonLat) -> object:
            count[0] += 1
            if count[0] == 2 * ASKED:  # each looks twice: for itself, and for others
                asked.release()
            return find(place)

        monkeypatch.setattr(engine, "_cached", counted)
        answers = at_once(lambda: engine.embed([here])[0])
    assert made == [here]
    for answer in answers:
        np.testing.assert_array_equal(np.asarray(answer), np.asarray(answers[0]))


def test_a_key_is_not_lost_with_another_that_fails() -> None:
    started, waiting = threading.Event(), threading.Event()

    def make(keys: Sequence[str]) -> list[str]:
        if "bad" in keys:
            started.set()
            assert waiting.wait(5)
            raise ValueError("bad")
        return [key.upper() for key in keys]

    def find(key: str) -> None:
        return None

    flights = Flights[str, str]()
    with ThreadPoolExecutor(2) as threads:
        failing = threads.submit(flights.get, ["good", "bad"], find, make)
        assert started.wait(5)
        other = threads.submit(flights.get, ["good", "new"], find, make)
        waiting.set()
        assert other.result(5) == ["GOOD", "NEW"]
        with pytest.raises(ValueError, match="bad"):
            failing.result(5)
    assert flights.get(["good"], find, make) == ["GOOD"], "nothing is under way"
