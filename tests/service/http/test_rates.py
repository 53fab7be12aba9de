"""Rates by a clock of the test: what passes, when the next passes, and what is remembered."""

import time
from itertools import pairwise

import pytest
from limits import parse

from service.http import rates
from service.http.rates import Rate
from tests.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.mark.parametrize("text", ["1/second", "3/minute", "7/minute", "100/hour"])
@pytest.mark.parametrize("into", [0.0, 0.3, 0.99])
def test_who_waits_as_long_as_told_passes_and_not_much_earlier(
    clock: Clock, text: str, into: float
) -> None:
    rate = Rate(parse(text), clock)
    length_s = rate.rate.get_expiry()
    clock.now = length_s * (50 + into)
    passed = []
    for _ in range(4 * rate.rate.amount):
        if wait_s := rate.wait_s("a"):
            assert 0 < wait_s <= 2 * length_s
            clock.now += 0.99 * wait_s
            assert rate.wait_s("a")
            clock.now += 0.0101 * wait_s
            assert not rate.wait_s("a")
        passed.append(clock.now)
    spans = [late - early for early, late in pairwise(passed[:: rate.rate.amount])]
    assert min(spans[1:]) > 0.45 * length_s, "more than the rate, again and again"


def test_clients_do_not_count_for_each_other(clock: Clock) -> None:
    rate = Rate(parse("1/hour"), clock)
    assert not rate.wait_s("a")
    assert rate.wait_s("a")
    assert not rate.wait_s("b")


def test_a_quiet_client_is_forgotten(clock: Clock) -> None:
    rate = Rate(parse("1/minute"), clock)
    assert not rate.wait_s("a")
    clock.now += 120
    assert not rate.wait_s("a")


def test_a_flood_of_addresses_takes_no_memory(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rates, "MOST_CLIENTS", 10)
    rate = Rate(parse("1/hour"), clock)
    for number in range(100):
        assert not rate.wait_s(str(number))
    assert len(rate._clients) == 10


def test_a_clock_put_back_or_ahead_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rate = Rate(parse("2/hour"))
    for day in (0.0, 1e9, 2e9, -1e9):
        monkeypatch.setattr(time, "time", lambda day=day: day)
        told = rate.wait_s("a")
    assert 0 < told <= 7200
