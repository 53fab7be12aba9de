"""The kind of store in a GeoPackage file."""

from collections.abc import Sequence
from pathlib import Path

from tiling.catalogue import Catalogue
from tiling.errors import UserError
from tiling.osm.gather.gather import Progress
from tiling.store.geopackage.source import GeoPackageSource
from tiling.store.store import FileStore, ImportOptions, ImportSummary, answer_s


class GeoPackageStore(FileStore):
    """A GeoPackage file; it needs no server, and any number of processes may read it."""

    kind = "a GeoPackage"

    def _open(self, patience_s: float, only: str | None) -> GeoPackageSource:
        return GeoPackageSource(self.path, answer_s(patience_s))

    def import_extracts(
        self,
        extracts: Sequence[Path],
        catalogue: Catalogue,
        progress: Progress = lambda objects, share: None,
        options: ImportOptions = ImportOptions(),  # noqa: B008 - it is frozen
    ) -> ImportSummary:
        """Write the file; raises `UserError` for what only PostGIS takes."""
        if options.slim or options.reader is not None:
            raise UserError("--slim and --reader go with --store postgresql://...")
        from tiling.store.geopackage.import_ import import_extracts

        return import_extracts(extracts, self.path, catalogue, progress, options.allow_loss)
