"""The loop of all targets: spoil something, use it in a process of its own, see how that ends."""

import contextlib
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path

import pytest

from tiling.errors import Loc2VecError
from tiling.render.pool import HUNG, Worker
from tiling.render.thread import open_renderer
from tiling.store.store import Store
from tiling.values import Box, Pose, TileGeometry

FUZZ_S = int(os.environ.get("FUZZ_S", "3600"))
DURATIONS = [
    pytest.param(0.0, id="short"),
    pytest.param(
        FUZZ_S / 3, marks=[pytest.mark.soak, pytest.mark.timeout(FUZZ_S + 900)], id="soak"
    ),
]
HANG_S = 60.0
MOST_MB = 1000  # of memory
FEWEST = 40  # spoilt things, the same ones on every machine
RESET_PEAK = "5"  # for /proc/self/clear_refs, see proc(5)
Use = Callable[[Path], None]
Spoil = Callable[[Path, random.Random], None]
Wrong = tuple[str, int]  # what was raised ("" for nothing), and the peak memory, kB
Tries = Worker[tuple[Use, Path], Wrong]


def use_store(path: Path) -> None:
    """Use all of a store that the service uses."""
    with open_renderer(Store.at(path), TileGeometry(), None) as renderer:
        inside = renderer.source.coverage.representative_point()
        renderer.tile(Pose(inside.y, inside.x))
        renderer.source.find("monaco", 3)
        renderer.source.names_in(Box(7, 43, 8, 44))
        assert renderer.source.regions is not None


def started(within: Callable[[], AbstractContextManager[object]] = nullcontext) -> Tries:
    """Start a process that uses spoilt things, `within` a context."""
    return Worker(partial(_trying, within), patience_s=HANG_S)


@contextlib.contextmanager
def _trying(
    within: Callable[[], AbstractContextManager[object]],
) -> Iterator[Callable[[tuple[Use, Path]], Wrong]]:
    with within():
        yield _tried


def _tried(item: tuple[Use, Path]) -> Wrong:
    """Use what is spoilt, and say what was raised."""
    Path("/proc/self/clear_refs").write_text(RESET_PEAK)
    use, path = item
    return how_it_ends(use, path), _peak_kb()


def how_it_ends(use: Use, path: Path) -> str:
    """Return "" for what is used all the same, "refused", or what is wrong."""
    try:
        use(path)
    except Loc2VecError as error:
        return "refused" if "\n" not in str(error).strip() else f"lines: {error}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def _peak_kb() -> int:
    """The peak memory of this program; `getrusage` counts that of its parent, too."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


def damage(data: bytes, rng: random.Random) -> bytes:
    """Return bytes with a few flipped, cut out, put in or repeated."""
    spoilt = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 5, 20])):
        at = rng.randrange(len(spoilt) + 1)
        kind = rng.randrange(5)
        if kind == 0 and at < len(spoilt):
            spoilt[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            spoilt[at : at + rng.randrange(1, 64)] = rng.randbytes(rng.randrange(64))
        elif kind == 2:
            del spoilt[at:]
        elif kind == 3:
            spoilt[at : at + 4] = rng.choice([b"\xff" * 4, b"\x00" * 4, b"\x7f\xff\xff\xff"])
        else:
            spoilt[at : at + 64] = spoilt[max(0, at - 64) : at]
    return bytes(spoilt)


class Attack:
    """Uses one spoilt thing after the other in one process, and fails with all that was wrong."""

    def __init__(self, worker: Tries, tell: Callable[[str, object], None]) -> None:
        self._worker, self._tell = worker, tell

    def __call__(
        self,
        use: Use,
        spoil: Spoil,
        path: Path,
        seconds: float,
        fewest: int = FEWEST,
        ended: Use | None = None,
    ) -> None:
        """Try for some seconds, which begins with another number each time; the report counts.

        `ended`: how to use in this process what killed the other one; it starts a third.
        """
        told: Counter[str] = Counter()
        faults: dict[str, str] = {}
        end, first = time.monotonic() + seconds, int(time.time()) if seconds else 0
        seed = first
        while time.monotonic() < end or seed < first + fewest:
            spoil(path, random.Random(seed := seed + 1))
            wrong, peak = self._use(use, ended, path)
            told[wrong if wrong in ("", "refused") else "fault"] += 1
            if wrong not in ("", "refused"):
                faults.setdefault(wrong[:60], f"seed {seed}: {wrong[:200]}")
            if peak > 1000 * MOST_MB:
                faults.setdefault("memory", f"seed {seed}: {peak / 1000:.0f} MB")
        self._tell("tries", seed - first)
        print(dict(told))
        assert not faults, "\n".join(faults.values())
        assert not self._worker.retried, "a process was ended by a signal"
        assert told["refused"] > 0

    def _use(self, use: Use, ended: Use | None, path: Path) -> Wrong:
        try:
            return self._worker.ask((use, path))
        except Loc2VecError as error:  # a signal, or a hang
            if ended is None or str(error) == HUNG:
                return str(error), 0
            return how_it_ends(ended, path), 0
