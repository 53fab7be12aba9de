"""How far a job is, told by a clock that the test turns."""

import sys
from types import SimpleNamespace

import pytest

from tests.clock import Clock
from tiling.cli.progress import EVERY_S, Progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of the progress."""
    turned = Clock()
    monkeypatch.setattr("tiling.cli.progress.time", SimpleNamespace(monotonic=turned))
    return turned


def told(capsys: pytest.CaptureFixture[str]) -> list[str]:
    out, err = capsys.readouterr()
    assert out == ""
    return err.splitlines()


def test_nothing_is_known_at_the_start(clock: Clock) -> None:
    with Progress(21) as progress:
        assert str(progress) == "its start"


def test_the_first_shard_starts_the_clock_and_counts_no_tiles(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with Progress(21) as progress:
        clock.now += 20
        progress.update(64, True, 4)
        assert str(progress) == "1 of 4 shards"
        clock.now += 2
        progress.update(64, True, 4)
        assert str(progress) == "2 of 4 shards, 672 tiles/s, 00:04 left"
        clock.now += 6
        progress.update(32, True, 4)
        assert str(progress) == "3 of 4 shards, 252 tiles/s, 00:04 left"
    assert told(capsys) == []


def test_shards_that_were_found_are_no_part_of_the_rate(clock: Clock) -> None:
    progress = Progress(10)
    for _ in range(5):
        progress.update(64, False, 8)
    assert str(progress) == "5 of 8 shards"
    progress.update(64, True, 8)
    assert str(progress) == "6 of 8 shards"
    clock.now += 4
    progress.update(64, True, 8)
    assert str(progress) == "7 of 8 shards, 160 tiles/s, 00:04 left"
    progress.update(64, False, 8)
    assert str(progress) == "8 of 8 shards, 160 tiles/s, 00:00 left"


def test_off_a_terminal_a_line_comes_now_and_then_and_at_the_end(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with Progress(1) as progress:
        for seconds in (1, EVERY_S - 1, 1, EVERY_S, EVERY_S + 1):
            clock.now += seconds
            progress.update(1, True, 1_234)
    assert told(capsys) == [
        "tile: 3 of 1,234 shards, 0 tiles/s, 5:07:45 left",
        "tile: 5 of 1,234 shards, 0 tiles/s, 7:45:59 left",
    ]
    with Progress(1) as progress:
        progress.update(1, True, 2)
        progress.update(1, True, 2)
    assert len(told(capsys)) == 1, "the end is always told"


def test_a_clock_that_stands_still_divides_by_nothing(clock: Clock) -> None:
    progress = Progress(10)
    progress.update(64, True, 3)
    progress.update(64, True, 3)
    assert str(progress) == "2 of 3 shards, 640000 tiles/s, 00:00 left"


def test_a_terminal_gets_a_bar_and_no_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with Progress(21) as progress:
        progress.update(64, False, 3)
        progress.update(64, True, 3)
        progress.update(64, True, 3)
    err = capsys.readouterr().err
    assert "3/3" in err
    assert "tiles/s" in err
    assert "tile: 3 of 3" not in err
