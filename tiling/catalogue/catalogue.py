"""A catalogue: which channels an object falls in, their colours, and what hashes them."""

import tomllib
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from tiling.catalogue.channel import Channel, Match, Rule, Tags
from tiling.catalogue.read import read_channels
from tiling.errors import CatalogueError, FingerprintError
from tiling.values import Palette, TileGeometry, fingerprint


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

    def first_keys_on(self, on: str) -> tuple[str, ...]:
        """Return OSM keys of which each object of kind `on` that matches has one.

        >>> load_catalogue().first_keys_on("line")[:3]
        ('aerialway', 'aeroway', 'highway')
        """
        return tuple(sorted({rule.tags[0][0] for rule in self.rules if rule.on == on}))

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
    return _read(resources.files("tiling.catalogue").joinpath("catalogue.toml"))


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
        return Catalogue(*read_channels(tomllib.loads(text)), text, source)
    except tomllib.TOMLDecodeError as error:
        raise CatalogueError(f"cannot read the catalogue {source}: {error}") from error
    except CatalogueError as error:
        raise CatalogueError(f"{source}: {error}") from error
