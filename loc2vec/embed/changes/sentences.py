"""What a change of a tile means, in a few words, and whether the ground or the map changed."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from loc2vec.embed.changes.compare import Moves

SEEN = 0.001  # of a tile: less is no change that anybody would name
SECOND = 0.5  # of the strongest channel's effect: a second one is named, too
MOSTLY = 0.5  # of what was gained or lost
LITTLE = 0.2  # of it
MANY, TIMES = 10, 2  # objects that are new, and how often as many there are

GROUND, MAPPING, UNCLEAR = "ground", "mapping", "unclear"


class Told(NamedTuple):
    """A change for people: the sentence, whether the ground or the map changed, the channels."""

    sentence: str
    kind: str
    channels: tuple[int, ...]


def tell(moves: Moves, row: int, names: Sequence[str], land: Sequence[int]) -> Told:
    """Tell what changed at one place; `land` are the channels of land use and water.

    The place must have changed.
    """
    channels = _strongest(moves, row)
    parts = [_part(moves, row, channel, names, land) for channel in channels]
    return Told(_joined(parts), kind_of(moves, row, channels, land), channels)


def _joined(parts: Sequence[str]) -> str:
    """Join what is said; what holds near the place and around it is said once.

    >>> _joined(["new green within 400 m", "new green"]), _joined(["new green", "no more water"])
    ('new green, also within 400 m', 'new green, no more water')
    """
    near, *wide = sorted(parts, key=len)
    if wide and wide[0].startswith(f"{near} within "):
        return f"{near}, also{wide[0].removeprefix(near)}"
    return ", ".join(dict.fromkeys(parts))


def _strongest(moves: Moves, row: int) -> tuple[int, ...]:
    effect = moves.effect[row]
    first, second = (int(channel) for channel in np.argsort(-effect, kind="stable")[:2])
    return (first, second) if effect[second] >= SECOND * effect[first] > 0 else (first,)


def _part(moves: Moves, row: int, channel: int, names: Sequence[str], land: Sequence[int]) -> str:
    gained, lost = moves.gained[row, channel], moves.lost[row, channel]
    before, name = moves.before[row, channel], names[channel]
    if max(gained, lost) < SEEN:
        return f"{name} hardly changed"
    if gained > 2 * lost:
        replaced = _mostly(moves.onto[row, :, channel], channel, range(len(names)))
        if replaced is not None and moves.lost[row, replaced] >= SEEN:
            return f"{name} in place of {names[replaced]}"
        under = _mostly(moves.under[row, channel], channel, land)
        on = "" if under is None else f" on {names[under]}"
        return f"{'more' if before > gained else 'new'} {name}{on}"
    if lost > 2 * gained:
        onto = _mostly(moves.onto[row, channel], channel, range(len(names)))
        if onto is not None:
            return f"{names[onto]} in place of {name}"
        return f"{'less' if before > 2 * lost else 'no more'} {name}"
    return f"{name} redrawn"


def _mostly(
    shares: np.ndarray[tuple[int], np.dtype[np.float64]], own: int, among: Sequence[int]
) -> int | None:
    """Return the channel with the largest share, None unless it is most of it."""
    others = [channel for channel in among if channel != own]
    best = max(others, key=lambda channel: float(shares[channel]), default=None)
    return best if best is not None and shares[best] >= MOSTLY else None


def kind_of(moves: Moves, row: int, channels: Sequence[int], land: Sequence[int]) -> str:
    """Tell whether the ground changed, or somebody mapped what was there.

    The ground: something came in the place of something else. Mapping: nothing was lost, and land
    was drawn where the map was blank, or many objects are new on the same land use. The map alone
    does not always tell, so the rest is unclear.
    """
    gained, lost = moves.gained[row], moves.lost[row]
    replaced = max(
        (float(moves.onto[row, c, k]) for c in range(len(lost)) if lost[c] >= SEEN
         for k in range(len(lost)) if k != c),
        default=0.0,
    )  # fmt: skip
    if replaced >= MOSTLY:
        return GROUND
    if lost.sum() >= SEEN:
        return UNCLEAR
    if all(c in land and moves.under[row, c, list(land)].sum() < LITTLE for c in channels):
        return MAPPING  # fields and woods do not come out of nothing
    before, after = moves.objects[row]
    many = any(
        after[c] - before[c] >= MANY and after[c] >= TIMES * max(before[c], 1) for c in channels
    )
    same_land = all(max(gained[c], lost[c]) < SEEN for c in land if moves.before[row, c] > SEEN)
    return MAPPING if many and same_land else UNCLEAR
