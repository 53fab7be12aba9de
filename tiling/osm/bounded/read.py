"""Reading an extract in a process of its own, bounded by the size of the file.

A crash of the OSM library, an endless computation or a flood of memory, as hostile extracts bring
them about, ends that process alone. The error names the object that is to blame.
"""

import signal
from collections.abc import Callable, Iterable, MutableSequence, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import osmium

from tiling.errors import ExtractError
from tiling.files.atomic import require_file
from tiling.osm.bounded.child import Bounds, ChildDiedError, in_child

CPU_S, CPU_S_A_MB = 15, 10  # of reading an extract: a well-formed one takes half a second a MB
MEMORY, MEMORY_A_BYTE = 900_000_000, 4
HELD_A_BYTE = 40  # where the objects of interest are held in memory
USUAL_SIZE = 2_000  # nodes of a way, the most that OSM allows
TYPE, ID = range(2)  # of a board: the object that was seen last
WORDS = ("node", "way", "relation", "coastline")  # the types of `TYPE`
SLOTS = 4
GUARD = 'a script must call this under `if __name__ == "__main__":`'

Board = MutableSequence[int]
R = TypeVar("R")


def read_bounded(
    path: Path,
    task: Callable[[Board], R],
    watch: Callable[[Sequence[int]], object] = lambda board: None,
    memory_a_byte: int = MEMORY_A_BYTE,
) -> R:
    """Return what `task` reads of a file in a bounded process; `watch` looks at its board.

    Raises `ExtractError` when the file is missing, and when the process ends without an answer.
    """
    require_file(path, ExtractError, "give the path of an .osm.pbf extract")
    size = path.stat().st_size
    bounds = Bounds(CPU_S + CPU_S_A_MB * size // 1_000_000, MEMORY + memory_a_byte * size)
    last = [0] * SLOTS

    def look(board: Sequence[int]) -> None:
        last[:] = board
        watch(board)

    try:
        return in_child(task, bounds, SLOTS, look)
    except MemoryError as error:
        why = f"it needs more memory than its size allows, {_where(last)}{_largest(path)}"
        raise ExtractError(f"cannot read {path}: {why}") from error
    except ChildDiedError as error:
        raise ExtractError(f"cannot read {path}: {_death(path, error, bounds, last)}") from error


def _where(last: Sequence[int]) -> str:
    kind = WORDS[last[TYPE]]
    if kind == "coastline":
        return "making the sea of its coastline"
    return f"after {kind} {last[ID]}" if last[ID] else "while its objects were read"


def _death(path: Path, error: ChildDiedError, bounds: Bounds, last: Sequence[int]) -> str:
    """Return why the reading of an extract ended, and at which object."""
    if error.signal == signal.SIGXCPU:
        return f"it takes more than {bounds.cpu_s} CPU seconds, {_where(last)}{_largest(path)}"
    if error.signal == signal.SIGBUS:
        return "its nodes do not fit on the disk"
    if error.signal == signal.SIGSEGV:
        found = _broken(path)
        return f"{found} crashes the OSM library" if found else f"it crashes {_where(last)}"
    if not error.signal and not any(last):
        return f"the process that reads it did not start; {GUARD}"
    how = signal.Signals(error.signal).name if error.signal else "no signal"
    return f"reading it was ended by {how}, {_where(last)}"


def _largest(path: Path) -> str:
    """Return which object of a file is the largest, in words that follow others."""
    with suppress(ChildDiedError, MemoryError, RuntimeError):
        return in_child(partial(largest, path), Bounds(CPU_S, MEMORY))
    return ""


def note(board: Board, item: Any) -> None:
    """Show on a board that an object of osmium is looked at."""
    board[TYPE] = 0 if item.is_node() else 1 if item.is_way() else 2
    board[ID] = item.orig_id() if item.is_area() else item.id


def largest(path: Path, _board: object = None) -> str:
    """Return which way or relation of a file has most nodes or members, in words.

    It is "" when all are as small as in OSM.
    """
    most, words = USUAL_SIZE - 1, ""
    items: Iterable[Any] = osmium.FileProcessor(str(path), osmium.osm.WAY | osmium.osm.RELATION)
    for item in items:
        size = len(item.nodes if item.is_way() else item.members)
        if size > most:
            kind, what = ("way", "nodes") if item.is_way() else ("relation", "members")
            most, words = size, f": its largest object is {kind} {item.id} with {size:,} {what}"
    return words


def _broken(path: Path) -> str:
    """Return the object whose tags cannot be read without a crash; "" when none is found."""
    last = [0] * SLOTS

    def look(board: Sequence[int]) -> None:
        last[:] = board

    with suppress(MemoryError, RuntimeError):
        try:
            in_child(partial(_touch_all, path), Bounds(CPU_S, MEMORY), SLOTS, look)
        except ChildDiedError:
            return f"{WORDS[last[TYPE]]} {last[ID]}" if last[ID] else ""
    return ""


def _touch_all(path: Path, board: Board) -> None:
    """Count the tags of all objects; osmium looks at each for that."""
    items: Iterable[Any] = osmium.FileProcessor(str(path))
    for item in items:
        note(board, item)
        len(item.tags)
