"""What kind of place it is, in a sentence: from what is drawn, what is named, what is like it.

Fixed phrases, each with the share of the tile from which on it is said. They know the channels of
the shipped catalogue by name. By another catalogue, the channels that cover most are named.
"""

from collections.abc import Iterable, Iterator, Mapping

BUILDINGS, MAJOR, RAIL = "buildings", "major roads", "rail and public transport"
WATER, GREEN, FIELDS = "water", "green", "farmland and bare ground"
HOMES, WORK = "residential land", "commercial, retail and industrial land"
PARKED, CIVIC = "parking, aeroways and other transport areas", "civic and leisure"
WAYS = (MAJOR, "minor roads", "paths")
LAND = {
    WATER: "water", GREEN: "green ground", FIELDS: "fields or bare ground",
    HOMES: "residential land", WORK: "commercial or industrial land",
    PARKED: "transport ground", CIVIC: "grounds for sport or leisure",
}  # fmt: skip

OPEN, MOST, SOME = 0.85, 0.4, 0.15  # nothing but this; what the place is; what belongs to it
DENSE, LOOSE, FEW = 0.3, 0.12, 0.04  # of buildings
MUCH_GREEN, LITTLE_GREEN = 0.3, 0.02
LARGE, MAIN, STREETS, TRACKS, SHORE = 0.2, 0.025, 0.08, 0.03, 0.05
NAMED = 2  # words for what is named
FLATS = ("blocks of flats", "houses")
HARBOUR = ("marinas", "piers")
DRAWN = ("water", "the shore")  # the map tells these better than names do
MASSES = ("industry", "scrub", "wetland", "rock", "ice", "military ground", "trams")


def describe(
    cover: Mapping[str, float], near: Mapping[str, int], alike: float | None = None
) -> str:
    """Return a sentence without a full stop, as "dense housing by a main street, little green".

    `cover`: how much of the tile each channel covers, 0 to 1. `near`: how many named things of each
    word of `tiling.osm.words` are near. `alike`: the share of the region that is alike.
    """
    drawn = {**dict.fromkeys((*LAND, *WAYS, RAIL, BUILDINGS), 0.0), **cover}
    head = _head(drawn, near) if len(drawn) == len(cover) else _largest(cover)
    by = _listed(_beside(drawn, head))
    told = ", ".join([f"{head} by {by}" if by else head, *_more(drawn, near, head)])
    return told if alike is None else f"{told}; like {_percent(alike)} of the region"


def _head(drawn: Mapping[str, float], near: Mapping[str, int]) -> str:
    """Return what the place is, for the most part."""
    if drawn[WATER] >= SOME and any(near.get(word) for word in HARBOUR):
        return "a harbour"
    if drawn[WATER] >= OPEN:
        return "open water"
    land = max(LAND, key=lambda name: drawn[name])
    if drawn[BUILDINGS] >= (FEW if land == HOMES or drawn[land] < MOST else LOOSE):
        return _built(drawn, near)
    some = " with some buildings" if drawn[BUILDINGS] >= FEW else ""
    if drawn[land] >= SOME:
        return f"{'' if drawn[land] >= MOST else 'some '}{LAND[land]}{some}"
    streets = sum(drawn[name] for name in WAYS) >= STREETS
    return "streets with little else on the map" if streets else "ground with little on the map"


def _largest(cover: Mapping[str, float]) -> str:
    """Return the channels that cover most, of a catalogue whose channels have no phrases."""
    names = sorted((name for name in cover if cover[name] >= SOME), key=lambda n: -cover[n])
    return _listed(names[:NAMED]) or "ground with little on the map"


def _built(drawn: Mapping[str, float], near: Mapping[str, int]) -> str:
    built = drawn[BUILDINGS]
    thick = "dense " if built >= DENSE else "" if built >= LOOSE else "scattered "
    if drawn[WORK] >= MOST:
        return f"{thick}buildings of commerce or industry"
    if drawn[CIVIC] >= MOST:
        return f"{thick}buildings on grounds for public use, sport or leisure"
    homes = drawn[HOMES] >= SOME or sum(near.get(word, 0) for word in FLATS) > 1
    return f"{thick}{'housing' if homes else 'buildings'}"


def _beside(drawn: Mapping[str, float], head: str) -> Iterator[str]:
    """Yield what the place lies by."""
    if drawn[MAJOR] >= MAIN:
        yield "large roads" if drawn[MAJOR] >= LARGE else "a main street"
    if drawn[RAIL] >= TRACKS:
        yield "the railway"
    wet = "water" in head or head == "a harbour"
    if drawn[WATER] >= SHORE and not wet:
        yield "water"
    if drawn[FIELDS] >= SOME and LAND[FIELDS] not in head:
        yield "a bare shore" if drawn[WATER] >= SOME else LAND[FIELDS]


def _more(drawn: Mapping[str, float], near: Mapping[str, int], head: str) -> Iterator[str]:
    """Yield what is named, and how green the place is."""
    silent = (
        *DRAWN,
        *(FLATS if "housing" in head else ()),
        *(HARBOUR if "harbour" in head else ()),
    )
    words = sorted((word for word in near if word not in silent), key=lambda w: (-near[w], w))
    if words:
        yield f"with {_listed(_counted(word, near[word]) for word in words[:NAMED])}"
    if drawn[GREEN] >= MUCH_GREEN and "green" not in head:
        yield "much green"
    elif drawn[GREEN] < LITTLE_GREEN and drawn[BUILDINGS] >= LOOSE:
        yield "little green"


def _listed(words: Iterable[str]) -> str:
    *first, last = ["", *words]
    return f"{', '.join(first[1:])} and {last}" if first[1:] else last


def _counted(word: str, count: int) -> str:
    """Return a word for several things, or for one.

    >>> _counted("universities", 1), _counted("offices", 1), _counted("shops", 3)
    ('a university', 'an office', 'shops')
    """
    if count > 1 or word in MASSES or word.startswith("an "):
        return word
    first, *rest = word.split(" of ")
    one = first.removesuffix("ies") + "y" if first.endswith("ies") else first.removesuffix("s")
    one = one.removesuffix("e") if one.endswith("che") else one
    article = "an" if one[0] in "aeio" else "a"
    return " of ".join([f"{article} {one}", *rest])


def _percent(share: float) -> str:
    return "less than 1 %" if share < 0.01 else f"{100 * share:.0f} %"
