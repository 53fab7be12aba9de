"""What the commands of `loc2vec explore` share: options, and how a figure is written and told."""

import functools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from loc2vec.model.options import model_option
from tiling.cli.options import (
    FilePath,
    FolderPath,
    NumberRange,
    WholeRange,
    json_option,
    read_box,
    store_option,
)
from tiling.cli.progress import progress_bar
from tiling.errors import UserError
from tiling.files.outputs import require_output
from tiling.values import Box

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from loc2vec.explore.space import Ground, Space
    from loc2vec.paper.plot import Shown
    from loc2vec.paper.strips import View
    from tiling.store.store import Store

Command = Callable[..., None]

PLACES = 2000
SUFFIXES = (".png", ".html", ".tif", ".webp")  # which --out may have
WRITTEN = (*SUFFIXES, ".parquet", ".geojson")
TILES = "-tiles"  # what is added to the name of a folder of map tiles


@dataclass(frozen=True)
class SpaceOptions:
    """Which places are looked at: those of an index, or of the store."""

    store: "Store"
    model: str
    index: Path | None
    places: int
    box: Box | None

    @contextmanager
    def open(self, metres: float | None = None) -> "Iterator[Space]":
        """Open the space; with `metres`, places of a grid so far apart are embedded."""
        from service.explore.open import open_space

        with (
            progress_bar("embed", "places", disable=self.index is not None) as bar,
            open_space(
                self.store, self.model, self.places, self.index, self.box, metres, bar.update
            ) as opened,
        ):
            bar.close()
            yield opened


@dataclass(frozen=True)
class GroundOptions:
    """What single places are looked at with: no index."""

    store: "Store"
    model: str

    def open(self) -> "AbstractContextManager[Ground]":
        """Open the store and the model."""
        from service.explore.open import open_ground

        return open_ground(self.store, self.model)


@dataclass(frozen=True)
class Output:
    """Where a figure is written, and how it is told."""

    out: Path | None
    as_json: bool

    @property
    def target(self) -> Path:
        """The path to which suffixes are added: OUT without its own, or the command's name."""
        path = self.out or Path(str(click.get_current_context().command.name))
        return path.with_suffix("") if path.suffix in SUFFIXES else path

    def require(self, inputs: Iterable[Path]) -> None:
        """Raise `UserError` where any file that a figure may have cannot be, or is an input."""
        given = list(inputs)
        for suffix in WRITTEN:
            require_output(self.target.with_name(self.target.name + suffix), *given)
        tiles = self.target.with_name(self.target.name + TILES)
        for path in given:
            if path.exists() and tiles.resolve() in (path.resolve(), *path.resolve().parents):
                raise UserError(
                    f"{path} is read by this command and would be lost: name another --out"
                )
        if tiles.is_dir() and not all(zoom.name.isdigit() for zoom in tiles.iterdir()):
            raise UserError(f"{tiles} is no folder of map tiles: name another --out")

    def finish(
        self, shown: "Shown", facts: dict[str, Any], lines: Sequence[str],
        more: Callable[[Path], Sequence[Path]] = lambda path: (),
    ) -> None:  # fmt: skip
        """Write a figure, and print facts as JSON or lines for people, with all files written.

        `more` writes further files at a path to which suffixes are added. All files appear when
        the last one is whole, or none of them.
        """
        from loc2vec.paper.plot import save
        from tiling.files.atomic import replacing_together

        with replacing_together(self.target.absolute()) as apart:
            whole = [*save(shown, apart), *more(apart)]
        files = [self.target.with_name(file.name) for file in whole]
        if self.as_json:
            click.echo(json.dumps({**facts, "files": [str(file) for file in files]}))
        else:
            click.echo("\n".join([*lines, *(f"written: {file}" for file in files)]))


def place_facts(view: "View") -> dict[str, Any]:
    """Return a place for JSON."""
    return {"name": view.name, "lat": view.place.lat, "lon": view.place.lon}


def _gathered(name: str, kind: type, command: Command) -> Command:
    """Hand the options that are the fields of a dataclass to a command as one argument."""
    keys = [field.name for field in fields(kind)]

    @functools.wraps(command)
    def gathered(**given: Any) -> None:
        value = kind(**{key: given.pop(key) for key in keys})
        command(**given, **{name: value})

    return gathered


def _with_options(command: Command, *options: Callable[[Command], Command]) -> Command:
    """Add options, the last on top."""
    for option in options:
        command = option(command)
    return command


def output_options(command: Command) -> Command:
    """Add --out and --json, which a command gets as `output`."""
    out = click.option(
        "--out",
        type=FilePath,
        help="What to write, without a suffix: OUT.png, OUT.html, ...; "
        "by default the command's name.",
    )
    return _with_options(_gathered("output", Output, _checked(command)), json_option, out)


def _checked(command: Command) -> Command:
    """Refuse an output that any file given to a command would be lost for, before it begins."""

    @functools.wraps(command)
    def checked(output: Output, **given: Any) -> None:
        output.require(_paths(given.values()))
        command(output=output, **given)

    return checked


def _paths(values: Iterable[Any]) -> Iterator[Path]:
    """Yield all paths among the values of options: files, folders, stores."""
    for value in values:
        if isinstance(value, Path):
            yield value
        elif isinstance(value, tuple):
            yield from _paths(value)
        elif isinstance(value, SpaceOptions | GroundOptions):
            yield from _paths(vars(value).values())
        elif location := getattr(value, "location", None):  # of a store
            yield Path(location)


def space_options(command: Command) -> Command:
    """Add what commands on a store and an index take: they get `space` and `output`."""
    places = click.option(
        "--places", type=WholeRange(min=1), default=PLACES, show_default=True,
        help="How many places to sample from the store where no --index is given.",
    )  # fmt: skip
    box = click.option(
        "--bbox", "box", callback=read_box, metavar="W,S,E,N",
        help="Only places in this box, degrees.",
    )  # fmt: skip
    index = click.option(
        "--index", type=FolderPath, help="Index folder; without one, --places are embedded now."
    )
    command = output_options(_gathered("space", SpaceOptions, command))
    return _with_options(command, box, places, index, model_option, store_option)


def ground_options(command: Command) -> Command:
    """Add what commands on single places take: they get `ground` and `output`."""
    command = output_options(_gathered("ground", GroundOptions, command))
    return _with_options(command, model_option, store_option)


def count_option(default: int) -> Callable[[Command], Command]:
    """Add how many places are shown."""
    return click.option(
        "--count", type=WholeRange(min=1), default=default, show_default=True,
        help="How many places to show.",
    )  # fmt: skip


seed_option = click.option("--seed", type=WholeRange(min=0), default=0, show_default=True)
apart_option = click.option(
    "--min-distance-m", "apart_m", type=NumberRange(min=0), default=200.0, show_default=True,
    help="How far on the ground the results lie from the places that were given.",
)  # fmt: skip
grid_option = click.option(
    "--grid", "metres", type=NumberRange(min=1), help="Or embed places this many metres apart."
)
