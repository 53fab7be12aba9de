"""The console command `loc2vec`: the commands of the three packages under one name."""

import difflib
import importlib
from typing import NamedTuple

import click

from tiling.cli.group import CommandGroup


class Entry(NamedTuple):
    """Where a command is defined, and its line in the list of commands.

    The line stands here so that `loc2vec --help` need not import PyTorch to read it.
    """

    module: str
    name: str
    help: str


COMMANDS = {
    "fetch": Entry(
        "tiling.cli.fetch", "fetch_command", "Fetch the extract of a region by its name."
    ),
    "import": Entry(
        "tiling.cli.import_",
        "import_command",
        "Import OSM extracts (.osm.pbf) into one feature store.",
    ),
    "update": Entry(
        "tiling.cli.update",
        "update_command",
        "Apply OSM changes to a store, and say what changed.",
    ),
    "tile": Entry("tiling.cli.tile", "tile_command", "Draw a dataset of tiles to train on."),
    "train": Entry("loc2vec.train.cli", "train_command", "Train an encoder on a tile dataset."),
    "embed": Entry(
        "loc2vec.embed.cli", "embed_command", "Turn the places of a file or a grid into vectors."
    ),
    "changes": Entry(
        "loc2vec.embed.changes.cli",
        "changes_command",
        "Tell what changed between two states of a map, and where.",
    ),
    "index": Entry(
        "service.cli.index",
        "index_command",
        "Make vectors searchable for `loc2vec serve --index`.",
    ),
    "serve": Entry(
        "service.cli.serve",
        "serve_command",
        "Answer over HTTP with embeddings, neighbours and tiles.",
    ),
    "evaluate": Entry(
        "loc2vec.evaluation.cli",
        "evaluate_command",
        "Measure models beside baselines on undrawn labels.",
    ),
    "predict": Entry(
        "loc2vec.predict.cli",
        "predict_command",
        "Learn from a few labelled places, and map the same everywhere.",
    ),
    "explore": Entry(
        "service.explore.cli",
        "explore_command",
        "Show what was learned: maps, clouds, walks, filters.",
    ),
    "trips": Entry(
        "loc2vec.trips.cli",
        "trips_command",
        "Tell how somebody travelled from the vectors on the way.",
    ),
    "demo": Entry(
        "service.cli.demo",
        "demo_command",
        "Go the whole way with the bundled extract of Monaco.",
    ),
}


class Commands(CommandGroup):
    """Commands that are imported when they are needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the way from extract to answers."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        command: click.Command = getattr(importlib.import_module(entry.module), entry.name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that `args` begin with; a mistyped name brings up the nearest ones."""
        near = difflib.get_close_matches(args[0], COMMANDS) if args[0] not in COMMANDS else []
        if near:
            ctx.fail(f"no command {args[0]!r}: did you mean {' or '.join(near)}?")
        return super().resolve_command(ctx, args)


@click.group(
    cls=Commands,
    epilog="Example: loc2vec demo",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="loc2vec", prog_name="loc2vec")
def main() -> None:
    """Any place on Earth as 16 numbers, learned from OpenStreetMap."""
