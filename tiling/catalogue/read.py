"""Read the channels of a catalogue from its TOML document; no typing error is silent."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from tiling.catalogue.channel import (
    KINDS,
    ROLES,
    Channel,
    Conditions,
    LineLook,
    Look,
    Match,
    Pair,
    Rule,
)
from tiling.errors import CatalogueError
from tiling.values import N_CHANNELS

# Where a channel without `paint` stands, by its first role here; any other channel lies between.
PAINT = {"building": 12, "way": 8, "land use": 1}
PAINT_BETWEEN = 7
COLOUR = re.compile(r"#[0-9a-f]{6}")
MAP_COLOUR = re.compile(r"#[0-9a-f]{6}([0-9a-f]{2})?")  # the last two: opacity


def read_channels(document: Mapping[str, Any]) -> tuple[tuple[Channel, ...], tuple[Match, ...]]:
    """Return the twelve channels of a catalogue, and what it hides.

    `CatalogueError` if they break the rules.
    """
    _known(document, ("channel", "hidden"), "top level")
    records = _tables(document, "channel", "top level")
    if len(records) != N_CHANNELS:
        raise CatalogueError(f"{len(records)} channels, must be {N_CHANNELS}")
    channels = tuple(_channel(number, record) for number, record in enumerate(records))
    sea = sum(channel.sea for channel in channels)
    if sea != 1:
        raise CatalogueError(f"{sea} channels have sea = true, must be one")
    if len({channel.name for channel in channels} - {""}) != N_CHANNELS:
        raise CatalogueError("channel names must be given and distinct")
    hidden = _tables(document, "hidden", "top level")
    return channels, tuple(match for record in hidden for match in _hidden(record))


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
