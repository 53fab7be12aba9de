"""What the command line of `loc2vec embed` says."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tiling.cli.options import hide_secrets
from tiling.errors import StoreError
from tiling.files.outputs import require_output
from tiling.files.write import require_ending
from tiling.machine import cpu_count
from tiling.values import Box

if TYPE_CHECKING:
    from loc2vec.embed.parts import EmbedJob
    from loc2vec.embed.table import VectorTable
    from tiling.store.store import Store

RASTERS = (".tif", ".tiff")


class FileOrTable(click.ParamType["Path | VectorTable"]):
    """The path of a file or folder, or the URL of a table of PostgreSQL."""

    name = "PATH|URL"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> "Path | VectorTable":
        """Return a path or a table, whose password moves to the environment."""
        from loc2vec.embed.table import VectorTable

        if isinstance(value, Path | VectorTable):
            return value
        if not str(value).startswith(("postgresql://", "postgres://")):
            return Path(value)
        try:
            table = VectorTable(value)
        except StoreError as error:
            self.fail(str(error), param, ctx)
        hide_secrets(table.database.secrets, param, ctx)
        return VectorTable(table.location)


@dataclass(frozen=True)
class Options:
    """What the command line says; the options explain each."""

    store: "Store"
    model: str
    points: Path | None
    metres: float | None
    bbox: Box | None
    earlier: Path | None
    out: Path
    workers: int | None
    share: tuple[int, int] | None
    engine: str
    ray_address: str | None
    fast: bool
    as_json: bool

    @property
    def raster(self) -> bool:
        """Whether a raster is written."""
        return self.out.suffix.lower() in RASTERS

    @property
    def job(self) -> "EmbedJob":
        """What is embedded, and how."""
        from loc2vec.embed.parts import EmbedJob

        return EmbedJob(self.store, self.model, self.metres, self.bbox, self.points, self.fast)

    @property
    def processes(self) -> int:
        """How many processes render."""
        return cpu_count() if self.workers is None else self.workers

    def check(self) -> None:
        """Raise an error for options that do not fit each other, and for a bad --out."""
        self.check_places(self.earlier is not None)
        if self.raster and self.metres is None:
            raise click.UsageError("a raster (.tif) goes with --grid")
        spread = self.share is not None or self.engine != "local"
        if self.out.suffix and spread:
            raise click.UsageError("--shard and --engine go with a folder: an --out without ending")
        if not self.out.suffix and self.earlier is not None:
            raise click.UsageError("--only-changed goes with a file: --out NAME.parquet")
        if self.ray_address is not None and self.engine != "ray":
            raise click.UsageError("--ray-address goes with --engine ray")
        if self.out.suffix:
            require_ending(self.out, *RASTERS)
            require_output(self.out, self.points, Path(self.store.location))

    def check_places(self, earlier: bool) -> None:
        """Raise an error unless the places are given once; `earlier`: by earlier vectors."""
        if sum([self.points is not None, self.metres is not None, earlier]) != 1:
            raise click.UsageError("give one of --points, --grid and --only-changed")
        if self.bbox is not None and self.metres is None:
            raise click.UsageError("--bbox goes with --grid")
