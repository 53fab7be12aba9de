"""`loc2vec fetch`, and extracts that other commands take by name."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from tqdm import tqdm

from tiling.cli.options import json_option, print_result
from tiling.errors import PlaceError, StoppedError
from tiling.osm.file import is_named_as_osm
from tiling.values import ATTRIBUTION, LonLat, check_place

if TYPE_CHECKING:
    from tiling.osm.fetch.download import Facts
    from tiling.osm.fetch.fetch import Fetcher

LICENCE = "https://www.openstreetmap.org/copyright"

provider_option = click.option(
    "--provider", default="geofabrik", show_default=True, envvar="LOC2VEC_PROVIDER",
    metavar="NAME|FILE", help="Who offers extracts by name; a TOML file for one of your own.",
)  # fmt: skip


class ExtractType(click.ParamType[Path | str]):
    """The path of an extract, or the name of a region to fetch."""

    name = "EXTRACT"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Path | str:
        """Return a path for what is a file or is named as one, else the name."""
        path = Path(value)
        return path if path.is_file() or is_named_as_osm(path) else str(value)


class PlaceType(click.ParamType[LonLat]):
    """A place as LAT,LON in degrees."""

    name = "LAT,LON"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> LonLat:
        """Return the place."""
        if isinstance(value, LonLat):
            return value
        try:
            lat, lon = map(float, str(value).split(","))
            return check_place(lat, lon)
        except ValueError:
            self.fail(f"{value!r} is no place such as 43.73,7.42", param, ctx)
        except PlaceError as error:
            self.fail(str(error), param, ctx)


@click.command("fetch", epilog="Example: loc2vec fetch monaco")
@click.argument("name", required=False)
@click.option("--around", type=PlaceType(), help="Or: the smallest region around a place.")
@provider_option
@json_option
def fetch_command(name: str | None, around: LonLat | None, provider: str, as_json: bool) -> None:
    """Fetch the extract of a region by its name, and print its path.

    The name is that of a region (monaco, europe/monaco, MC) or of a place in it. What is in the
    cache is fetched again when the provider has a newer one. A download that was stopped goes on.
    """
    if (name is None) == (around is None):
        raise click.UsageError("give the name of a region or place, or --around LAT,LON")
    with _fetcher(provider) as fetcher:
        region = (
            fetcher.called(name) if name is not None else fetcher.around(around or LonLat(0, 0))
        )
        found = fetcher.fetch(region)
    facts = {
        "path": str(found.path),
        "region": region.path,
        "name": region.name,
        "bytes": found.facts.size,
        "date": found.facts.date,
        "fetched": found.fresh,
        "attribution": ATTRIBUTION,
    }
    print_result(facts, as_json, str(found.path))


def fetched(extracts: Iterable[Path | str], provider: str) -> tuple[Path, ...]:
    """Return the paths of extracts; those that are given by name are fetched."""
    every = list(extracts)
    if not any(isinstance(extract, str) for extract in every):
        return tuple(Path(extract) for extract in every)
    with _fetcher(provider) as fetcher:
        return tuple(
            fetcher.fetch(fetcher.called(extract)).path if isinstance(extract, str) else extract
            for extract in every
        )


@contextmanager
def _fetcher(provider: str) -> "Iterator[Fetcher]":
    """Give what fetches from a provider, with a bar; Ctrl-C keeps what came."""
    from tiling.osm.fetch.fetch import Fetcher
    from tiling.osm.fetch.provider import load_provider
    from tiling.osm.fetch.server import Server

    by = load_provider(provider)
    with _Bar() as bar:
        try:
            yield Fetcher(by, Server(_tell), bar)
        except KeyboardInterrupt:
            raise StoppedError("stopped: the same command goes on from there") from None
    _tell(f"{ATTRIBUTION} ({LICENCE}); {by.attribution}".rstrip("; "))


def _tell(line: str) -> None:
    tqdm.write(line, file=sys.stderr)


class _Bar:
    """Shows the size and date of a file, and how much of it has come, on standard error."""

    def __init__(self) -> None:
        self._bar: tqdm | None = None

    def __enter__(self) -> "_Bar":
        return self

    def __exit__(self, *exc: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def begins(self, facts: "Facts", there: int) -> None:
        """Begin a bar, or go on with the one of a file that was cut off."""
        if self._bar is None or self._bar.desc != facts.url:
            self.__exit__()
            size = "of unknown size" if facts.size is None else f"{facts.size / 1e6:,.1f} MB"
            _tell(f"{facts.url}: {size}, {facts.date or 'no date'}")
            self._bar = tqdm(total=facts.size, unit="B", unit_scale=True)
        self._bar.n = there
        self._bar.refresh()

    def came(self, size: int) -> None:
        """Count bytes."""
        if self._bar is not None:
            self._bar.update(size)
