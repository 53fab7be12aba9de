"""What a catalogue consists of: channels, their rules, and how the base map shows them."""

from collections.abc import Mapping
from dataclasses import dataclass

KINDS = ("line", "area", "point")
# What a channel is to those who ask: sampling, evaluation, trips and the base map.
ROLES = ("building", "civic", "land use", "stop", "way")

Tags = Mapping[str, str]
Conditions = tuple[tuple[str, frozenset[str] | None], ...]  # key -> values, None = any value
Pair = tuple[str, str]  # the colours of the light and of the dark base map


@dataclass(frozen=True, slots=True)
class Match:
    """Objects of a kind with these tags, and without those."""

    on: str
    tags: Conditions
    without: Conditions

    def fits(self, tags: Tags) -> bool:
        """Tell whether an object with these tags matches the rule."""
        return all(_holds(tags, key, values) for key, values in self.tags) and not any(
            _holds(tags, key, values) for key, values in self.without
        )


def _holds(tags: Tags, key: str, values: frozenset[str] | None) -> bool:
    value = tags.get(key)
    return value is not None and (values is None or value in values)


@dataclass(frozen=True, slots=True)
class Rule(Match):
    """Objects that match are drawn in `channel`: as lines, areas or points of a radius."""

    channel: int
    width_m: float


@dataclass(frozen=True, slots=True)
class LineLook:
    """How the base map shows the lines of a channel that are at least `width_m` wide.

    They show from a zoom on, as wide as on the ground times `of_ground`, and at least `px` pixels
    wide at zoom 13. With a `casing` they have an edge of that colour from zoom `cased_from` on.
    """

    colour: Pair
    width_m: float
    from_zoom: float
    px: float
    of_ground: float = 1.0
    casing: Pair | None = None
    cased_from: float = 0


@dataclass(frozen=True, slots=True)
class Look:
    """How the base map shows a channel: areas in `colour`, points as discs of `dot`, and lines.

    Without a colour, lines or a dot it leaves out areas, lines or points. Areas, lines and dots lie
    over those of a lower order.
    """

    area_order: float
    line_order: float
    dot_order: float
    colour: Pair | None = None
    outline: Pair | None = None  # of the areas; their own colour where none is given
    area_from: float = 0  # zoom
    lines: tuple[LineLook, ...] = ()
    dot: Pair | None = None


@dataclass(frozen=True, slots=True)
class Channel:
    """One channel, which pictures show in `colour` over channels of a lower `paint` order.

    `look` is None where the base map derives its own from the colour, the roles and the rules.
    """

    name: str
    colour: str  # "#rrggbb"
    paint: int
    roles: frozenset[str]
    sea: bool  # the sea is drawn in this channel
    rules: tuple[Rule, ...]
    look: Look | None
