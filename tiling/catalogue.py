"""The channel catalogue: what is drawn in each of the twelve channels, and how people see them.

It is data, not code: `catalogue.toml`, or a user's own file.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from tiling.errors import CatalogueError, FingerprintError
from tiling.values import N_CHANNELS, Palette, TileGeometry, fingerprint

KINDS = ("line", "area", "point")
# What a channel is to those who ask: sampling, evaluation, trips and the base map.
ROLES = ("building", "civic", "land use", "stop", "way")
# Where a channel without `paint` stands, by its first role here; any other channel lies between.
PAINT = {"building": 12, "way": 8, "land use": 1}
PAINT_BETWEEN = 7
COLOUR = re.compile(r"#[0-9a-f]{6}")
MAP_COLOUR = re.compile(r"#[0-9a-f]{6}([0-9a-f]{2})?")  # the last two: opacity

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


@dataclass(frozen=True)
class Catalogue:
    """Twelve channels, the TOML `text` that they were read from, and the file that it stood in.

    What matches any of `hidden` is drawn in no channel.
    """

    each: tuple[Channel, ...]
    hidden: tuple[Match, ...]
    text: str = field(repr=False)
    source: str = field(compare=False)

    @property
    def carried(self) -> str | None:
        """Return what stores, tile datasets and models keep: the text, of the shipped one None."""
        return None if self.text == _shipped().text else self.text

    def check(self, what: str, found: str, geometry: TileGeometry) -> None:
        """Raise `FingerprintError` unless `found`, that of `what`, is ours."""
        expected = self.fingerprint(geometry)
        if found != expected:
            ours = "the shipped catalogue" if self.carried is None else f"that of {self.source}"
            again = "this version" if self.carried is None else "that catalogue"
            raise FingerprintError(
                f"{what} was made with another channel catalogue or tile geometry than {ours} "
                f"(fingerprint {found}, expected {expected}): make it again with {again}"
            )

    @cached_property
    def channels(self) -> tuple[str, ...]:
        """Return the names of the channels."""
        return tuple(channel.name for channel in self.each)

    @cached_property
    def rules(self) -> tuple[Rule, ...]:
        """Return the rules of all channels, in order."""
        return tuple(rule for channel in self.each for rule in channel.rules)

    @cached_property
    def sea_channel(self) -> int:
        """Return the number of the channel that takes the sea."""
        return next(number for number, channel in enumerate(self.each) if channel.sea)

    @cached_property
    def palette(self) -> Palette:
        """Return the colours of the channels, and the order in which they are painted."""
        order = sorted(range(len(self.each)), key=lambda number: self.each[number].paint)
        return Palette.of([channel.colour for channel in self.each], order)

    def with_role(self, *roles: str) -> tuple[int, ...]:
        """Return the numbers of the channels that have any of these roles.

        >>> load_catalogue().with_role("way")
        (0, 1, 2, 3)
        """
        return tuple(
            number for number, channel in enumerate(self.each) if channel.roles & set(roles)
        )

    def fingerprint(self, geometry: TileGeometry) -> str:
        """Hash what makes the pixels of a tile: names, rules, sea channel and tile geometry."""
        rules = [(r.channel, r.on, r.width_m, *_printable(r)) for r in self.rules]
        rules += [("hidden", each.on, *_printable(each)) for each in self.hidden]
        return fingerprint(
            self.channels,
            rules,
            self.sea_channel,
            geometry.size,
            geometry.radius_m,
            *geometry.wider_m,
        )

    def channels_of(self, geometry: TileGeometry) -> tuple[str, ...]:
        """Return the names of a tile's channels; those after the first scale say their radius."""
        return self.channels + tuple(
            f"{name}, {radius:g} m" for radius in geometry.wider_m for name in self.channels
        )

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """Return the OSM keys that any rule asks for."""
        return tuple(sorted({key for rule in self.rules for key, _ in rule.tags}))

    def keys_on(self, on: str) -> tuple[str, ...]:
        """Return the OSM keys that decide how an object of kind `on` matches.

        >>> load_catalogue().keys_on("line")[:3]
        ('aerialway', 'aeroway', 'highway')
        """
        matches = [match for match in (*self.rules, *self.hidden) if match.on == on]
        return tuple(sorted({key for match in matches for key, _ in (*match.tags, *match.without)}))

    @cached_property
    def reach_m(self) -> float:
        """Return how far, in metres, anything is drawn beyond its geometry."""
        return max(rule.width_m if rule.on == "point" else rule.width_m / 2 for rule in self.rules)

    @cached_property
    def _by_key(self) -> dict[tuple[str, str], list[tuple[int, Rule]]]:
        """Numbered rules by kind and first key: an object meets only the few that can fit."""
        table: dict[tuple[str, str], list[tuple[int, Rule]]] = {}
        for number, rule in enumerate(self.rules):
            table.setdefault((rule.on, rule.tags[0][0]), []).append((number, rule))
        return table

    def match(self, on: str, tags: Tags) -> list[tuple[int, float]]:
        """Return (channel, width_m) for each channel that an object of kind `on` falls in."""
        first: dict[int, float] = {}
        for rule in self._fitting(on, tags):
            first.setdefault(rule.channel, rule.width_m)
        return sorted(first.items())

    def reasons(self, on: str, tags: Tags) -> tuple[tuple[int, str], ...]:
        """Return (channel, tag) for each tag by which an object of kind `on` matches a rule.

        >>> load_catalogue().reasons("area", {"building": "house", "amenity": "school"})
        ((4, 'building'), (11, 'amenity=school'))
        """
        return tuple(
            (rule.channel, key if values is None else f"{key}={tags[key]}")
            for rule in self._fitting(on, tags)
            for key, values in rule.tags
        )

    def _fitting(self, on: str, tags: Tags) -> list[Rule]:
        candidates = (entry for key in tags for entry in self._by_key.get((on, key), ()))
        fitting = {number: rule for number, rule in candidates if rule.fits(tags)}
        if fitting and any(each.on == on and each.fits(tags) for each in self.hidden):
            return []
        return [fitting[number] for number in sorted(fitting)]


def _printable(match: Match) -> list[list[tuple[str, list[str]]]]:
    return [
        [(key, ["*"] if values is None else sorted(values)) for key, values in conditions]
        for conditions in (match.tags, match.without)
    ]


def load_catalogue(path: Path | None = None) -> Catalogue:
    """Read a catalogue from a TOML file, by default the one that ships.

    `CatalogueError` if it breaks the rules.
    """
    return _shipped() if path is None else _read(path)


def carried_catalogue(text: str | None, source: str) -> Catalogue:
    """Return the catalogue that a store, dataset or model carries; without one, the shipped one.

    `CatalogueError` if the text breaks the rules.
    """
    return _shipped() if text is None else parse_catalogue(text, source)


@cache
def _shipped() -> Catalogue:
    return _read(resources.files("tiling").joinpath("catalogue.toml"))


def _read(source: Traversable) -> Catalogue:
    try:
        return parse_catalogue(source.read_text(encoding="utf-8"), str(source))
    except (OSError, UnicodeDecodeError) as error:
        raise CatalogueError(f"cannot read the catalogue {source}: {error}") from error


def parse_catalogue(text: str, source: str) -> Catalogue:
    """Parse the text of a catalogue.

    `CatalogueError`, which names `source`, if it breaks the rules.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise CatalogueError(f"cannot read the catalogue {source}: {error}") from error
    _known(document, ("channel", "hidden"), source)
    records = _tables(document, "channel", source)
    if len(records) != N_CHANNELS:
        raise CatalogueError(f"{source}: {len(records)} channels, must be {N_CHANNELS}")
    try:
        channels = tuple(_channel(number, record) for number, record in enumerate(records))
        hidden = tuple(
            match for record in _tables(document, "hidden", source) for match in _hidden(record)
        )
    except CatalogueError as error:
        raise CatalogueError(f"{source}: {error}") from error
    sea = sum(channel.sea for channel in channels)
    if sea != 1:
        raise CatalogueError(f"{source}: {sea} channels have sea = true, must be one")
    if len({channel.name for channel in channels} - {""}) != N_CHANNELS:
        raise CatalogueError(f"{source}: channel names must be given and distinct")
    return Catalogue(channels, hidden, text, source)


def _channel(number: int, record: Mapping[str, Any]) -> Channel:
    name = str(record.get("name", ""))
    where = f"channel {name!r}"
    _known(record, ("name", "colour", "paint", "roles", "sea", "rules", "map"), where)
    roles = record.get("roles", [])
    if not isinstance(roles, list) or any(role not in ROLES for role in roles):
        raise CatalogueError(f"{where}: `roles` must be a list of {', '.join(ROLES)}, not {roles}")
    paint = record.get("paint", _paint(roles))
    if not _is_number(paint):
        raise CatalogueError(f"{where}: `paint` must be a number, not {paint!r}")
    look = record.get("map")
    return Channel(
        name=name,
        colour=_colour(record.get("colour"), where),
        paint=paint,
        roles=frozenset(roles),
        sea=record.get("sea") is True,
        rules=tuple(_rule(number, name, rule) for rule in _tables(record, "rules", where)),
        look=None if look is None else _look(look, paint, f"{where}, map"),
    )


def _paint(roles: Iterable[str]) -> int:
    """Return the order of a channel that says none: ways over water over land, buildings on top."""
    return max((PAINT[role] for role in roles if role in PAINT), default=PAINT_BETWEEN)


def _look(table: Any, paint: float, where: str) -> Look:
    pairs, orders = ("colour", "outline", "dot"), ("area_order", "line_order", "dot_order")
    numbers = (*orders, "area_from")
    _known(table, (*pairs, *numbers, "lines"), where)
    colour = _pair(table["colour"], where) if "colour" in table else None
    given: dict[str, Any] = {key: _pair(table[key], where) for key in pairs if key in table}
    return Look(
        **(dict.fromkeys(orders, paint) | _numbers(table, numbers, where) | given),
        lines=tuple(_line_look(line, colour, where) for line in _tables(table, "lines", where)),
    )


def _line_look(table: Any, colour: Pair | None, where: str) -> LineLook:
    pairs = ("colour", "casing")
    numbers = ("width_m", "from_zoom", "px", "of_ground", "cased_from")
    _known(table, (*pairs, *numbers), where)
    given: dict[str, Any] = {key: _pair(table[key], where) for key in pairs if key in table}
    if colour is not None:
        given.setdefault("colour", colour)
    try:
        return LineLook(**given, **_numbers(table, numbers, where))
    except TypeError as error:
        raise CatalogueError(f"{where}: lines need colour, width_m, from_zoom and px") from error


def _tables(table: Mapping[str, Any], key: str, where: str) -> list[Mapping[str, Any]]:
    found = table.get(key, [])
    if not isinstance(found, list) or not all(isinstance(one, Mapping) for one in found):
        raise CatalogueError(f"{where}: `{key}` must be a list of tables")
    return found


def _known(table: Any, keys: tuple[str, ...], where: str) -> None:
    """Raise `CatalogueError` unless `table` is a table of these keys: no typing error is silent."""
    if not isinstance(table, Mapping):
        raise CatalogueError(f"{where}: {table!r} must be a table")
    unknown = sorted(table.keys() - set(keys))
    if unknown:
        raise CatalogueError(f"{where}: no key {unknown[0]!r}, there are {', '.join(keys)}")


def _numbers(table: Mapping[str, Any], keys: Iterable[str], where: str) -> dict[str, Any]:
    given = {key: table[key] for key in keys if key in table}
    for key, value in given.items():
        if not _is_number(value):
            raise CatalogueError(f"{where}: `{key}` must be a number, not {value!r}")
    return given


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _colour(value: Any, where: str) -> str:
    if not isinstance(value, str) or not COLOUR.fullmatch(value):
        raise CatalogueError(f'{where}: `colour` must be like "#d6603c", not {value!r}')
    return value


def _pair(value: Any, where: str) -> Pair:
    if (
        not isinstance(value, list)
        or len(value) != 2
        or not all(isinstance(one, str) and MAP_COLOUR.fullmatch(one) for one in value)
    ):
        raise CatalogueError(f'{where}: {value!r} must be two colours, as ["#d6603c", "#93703c"]')
    return value[0], value[1]


def _rule(channel: int, name: str, record: Mapping[str, Any]) -> Rule:
    on, width = record.get("on"), record.get("width_m")
    where = f"channel {name!r}, rule {dict(record)!r}"
    _known(record, ("on", "width_m", "tags", "without"), where)
    if on not in KINDS:
        raise CatalogueError(f"{where}: `on` must be one of {', '.join(KINDS)}")
    if (
        not isinstance(width, int | float)
        or isinstance(width, bool)
        or not 0 <= width <= 1000
        or (width == 0) != (on == "area")
    ):
        raise CatalogueError(f"{where}: `width_m` must be metres up to 1000, and 0 for areas alone")
    return Rule(str(on), *_tags_of(record, where), channel, float(width))


def _hidden(record: Mapping[str, Any]) -> list[Match]:
    where = f"hidden, rule {dict(record)!r}"
    _known(record, ("on", "tags", "without"), where)
    kinds = record.get("on")
    if not isinstance(kinds, list) or not kinds or any(on not in KINDS for on in kinds):
        raise CatalogueError(f"{where}: `on` must be a list of {', '.join(KINDS)}")
    return [Match(on, *_tags_of(record, where)) for on in kinds]


def _tags_of(record: Mapping[str, Any], where: str) -> tuple[Conditions, Conditions]:
    tags = record.get("tags")
    if not isinstance(tags, Mapping) or not tags:
        raise CatalogueError(f"{where}: `tags` must name at least one key")
    return _conditions(tags, where), _conditions(record.get("without", {}), where)


def _conditions(table: Any, where: str) -> Conditions:
    if not isinstance(table, Mapping):
        raise CatalogueError(f"{where}: `without` must be a table of keys")
    return tuple((str(key), _values(values, where)) for key, values in table.items())


def _values(values: Any, where: str) -> frozenset[str] | None:
    if values == "*":
        return None
    if (
        not isinstance(values, Iterable)
        or isinstance(values, str)
        or not all(isinstance(v, str) for v in values)
    ):
        raise CatalogueError(f'{where}: values must be a list of strings or "*"')
    return frozenset(values)
