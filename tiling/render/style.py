"""How the base map shows the channels of a catalogue: as the catalogue says, or derived from it."""

from typing import Literal

from tiling.catalogue.catalogue import Catalogue
from tiling.catalogue.channel import Channel, LineLook, Look, Pair

Theme = Literal["light", "dark"]
THEMES: tuple[Theme, ...] = ("light", "dark")
# The colours of the map itself: where the store holds no data, the edge of its data, and land.
AWAY, EDGE, LAND = ("#e3e6ea", "#14171b"), ("#b4bac2", "#3d444d"), ("#f7f5f0", "#20242a")

# Of a look that is derived: how much of the channel's colour there is in areas, lines and edges.
AREA, LINE, OUTLINE = 0.45, 0.8, 0.65
BUILDINGS_FROM_ZOOM = 13
# A line of at least this width, metres, shows from this zoom on, and has these pixels at zoom 13.
LINES = ((0, 14, 0.8), (7, 12, 1.4), (10, 10, 2.0), (13, 8, 2.6), (18, 7, 3.2))


def looks_of(catalogue: Catalogue) -> list[Look]:
    """Return how the map shows each channel."""
    return [channel.look or derived(channel) for channel in catalogue.each]


def derived(channel: Channel) -> Look:
    """Return a look for a channel from its colour, roles and rules."""
    kinds = {rule.on for rule in channel.rules} | ({"area"} if channel.sea else set())
    building = "building" in channel.roles
    widths = sorted({rule.width_m for rule in channel.rules if rule.on == "line"})
    return Look(
        area_order=channel.paint,
        line_order=channel.paint,
        dot_order=channel.paint,
        colour=_mixed(channel.colour, AREA) if "area" in kinds else None,
        outline=_mixed(channel.colour, OUTLINE) if building else None,
        area_from=BUILDINGS_FROM_ZOOM if building else 0,
        lines=tuple(_line(channel.colour, width_m) for width_m in widths),
        dot=_mixed(channel.colour, LINE) if "point" in kinds else None,
    )


def _line(colour: str, width_m: float) -> LineLook:
    _, from_zoom, px = max(row for row in LINES if row[0] <= width_m)
    return LineLook(_mixed(colour, LINE), width_m, from_zoom, px)


def _mixed(colour: str, share: float) -> Pair:
    """Return a colour laid over the land of both themes, so that it belongs to either."""
    light, dark = (_over(land, colour, share) for land in LAND)
    return light, dark


def _over(land: str, colour: str, share: float) -> str:
    below, above = (bytes.fromhex(one[1:]) for one in (land, colour))
    mixed = (round(b + share * (a - b)) for b, a in zip(below, above, strict=True))
    return "#" + bytes(mixed).hex()
