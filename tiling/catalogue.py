"""The channel catalogue: which OSM tags are drawn in which of the twelve channels. It is data, not code."""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from tiling.errors import CatalogueError
from tiling.values import N_CHANNELS, TileGeometry, fingerprint

KINDS = ("line", "area", "point")
Tags = Mapping[str, str]
Conditions = tuple[tuple[str, frozenset[str] | None], ...]  # key -> values, None = any value


@dataclass(frozen=True, slots=True)
class Rule:
    """Draw objects with these tags in `channel`, as a line of a width, a point of a radius or an area."""

    channel: int
    on: str
    width_m: float
    tags: Conditions
    without: Conditions

    def fits(self, tags: Tags) -> bool:
        """Tell whether the rule draws an object with these tags."""
        return all(_holds(tags, key, values) for key, values in self.tags) and not any(
            _holds(tags, key, values) for key, values in self.without
        )


def _holds(tags: Tags, key: str, values: frozenset[str] | None) -> bool:
    value = tags.get(key)
    return value is not None and (values is None or value in values)


@dataclass(frozen=True)
class Catalogue:
    """Twelve channel names, the rules in order, and the channel that takes the sea."""

    channels: tuple[str, ...]
    rules: tuple[Rule, ...]
    sea_channel: int

    def fingerprint(self, geometry: TileGeometry) -> str:
        """Hash the catalogue together with the tile geometry it is drawn with."""
        rules = [
            (
                r.channel,
                r.on,
                r.width_m,
                *(_printable(conditions) for conditions in (r.tags, r.without)),
            )
            for r in self.rules
        ]
        return fingerprint(
            self.channels,
            rules,
            self.sea_channel,
            geometry.size,
            geometry.radius_m,
            *geometry.wider_m,
        )

    def channels_of(self, geometry: TileGeometry) -> tuple[str, ...]:
        """Return the names of a tile's channels: those of each scale after the first say how far it reaches."""
        return self.channels + tuple(
            f"{name}, {radius:g} m" for radius in geometry.wider_m for name in self.channels
        )

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """Return the OSM keys that any rule asks for."""
        return tuple(sorted({key for rule in self.rules for key, _ in rule.tags}))

    @cached_property
    def reach_m(self) -> float:
        """Return how far, in metres, anything is drawn beyond its geometry."""
        return max(rule.width_m if rule.on == "point" else rule.width_m / 2 for rule in self.rules)

    @cached_property
    def _by_key(self) -> dict[tuple[str, str], list[tuple[int, Rule]]]:
        """Numbered rules by kind and first key, so that an object meets only the few that can fit."""
        table: dict[tuple[str, str], list[tuple[int, Rule]]] = {}
        for number, rule in enumerate(self.rules):
            table.setdefault((rule.on, rule.tags[0][0]), []).append((number, rule))
        return table

    def draw(self, on: str, tags: Tags) -> list[tuple[int, float]]:
        """Return (channel, width_m) for each channel that an object of kind `on` falls in."""
        first: dict[int, float] = {}
        for rule in self._fitting(on, tags):
            first.setdefault(rule.channel, rule.width_m)
        return sorted(first.items())

    def reasons(self, on: str, tags: Tags) -> tuple[tuple[int, str], ...]:
        """Return (channel, tag) for each tag that draws an object of kind `on`.

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
        return [fitting[number] for number in sorted(fitting)]


def _printable(conditions: Conditions) -> list[tuple[str, list[str]]]:
    return [(key, ["*"] if values is None else sorted(values)) for key, values in conditions]


def load_catalogue(path: Path | None = None) -> Catalogue:
    """Read a catalogue from a TOML file, by default the one that ships.

    `CatalogueError` if it breaks the rules.
    """
    return _shipped() if path is None else _read(path)


@cache
def _shipped() -> Catalogue:
    return _read(resources.files("tiling").joinpath("catalogue.toml"))


def _read(source: Traversable) -> Catalogue:
    try:
        document = tomllib.loads(source.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CatalogueError(f"cannot read the catalogue {source}: {error}") from error
    channels = document.get("channel", [])
    if len(channels) != N_CHANNELS:
        raise CatalogueError(f"{source}: {len(channels)} channels, must be {N_CHANNELS}")
    sea = [index for index, channel in enumerate(channels) if channel.get("sea")]
    if len(sea) != 1:
        raise CatalogueError(f"{source}: {len(sea)} channels have sea = true, must be one")
    names = tuple(str(channel.get("name", "")) for channel in channels)
    if len(set(names)) != N_CHANNELS or not all(names):
        raise CatalogueError(f"{source}: channel names must be given and distinct")
    rules = (
        _rule(index, names[index], rule)
        for index, channel in enumerate(channels)
        for rule in channel.get("rules", [])
    )
    return Catalogue(names, tuple(rules), sea[0])


def _rule(channel: int, name: str, record: Mapping[str, Any]) -> Rule:
    on, width, tags = record.get("on"), record.get("width_m"), record.get("tags")
    where = f"channel {name!r}, rule {dict(record)!r}"
    if on not in KINDS:
        raise CatalogueError(f"{where}: `on` must be one of {', '.join(KINDS)}")
    if (
        not isinstance(width, int | float)
        or isinstance(width, bool)
        or not 0 <= width <= 1000
        or (width == 0) != (on == "area")
    ):
        raise CatalogueError(f"{where}: `width_m` must be metres up to 1000, and 0 for areas alone")
    if not isinstance(tags, Mapping) or not tags:
        raise CatalogueError(f"{where}: `tags` must name at least one key")
    return Rule(
        channel,
        str(on),
        float(width),
        _conditions(tags, where),
        _conditions(record.get("without", {}), where),
    )


def _conditions(table: Mapping[str, Any], where: str) -> Conditions:
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
