"""The kind of store in a GeoPackage file."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from tiling.catalogue import Catalogue
from tiling.errors import UserError
from tiling.osm.gather.gather import Progress
from tiling.store.geopackage.source import GeoPackageSource
from tiling.store.store import FileStore, ImportOptions, ImportSummary, answer_s

HEADER = 100  # bytes of SQLite's header (https://sqlite.org/fileformat.html#the_database_header)
# What opening a file to write changes in it, as QGIS does: the journal's version, two counters of
# changes, and the version of SQLite.
VOLATILE = (slice(18, 20), slice(24, 28), slice(92, 100))


class GeoPackageStore(FileStore):
    """A GeoPackage file; it needs no server, and any number of processes may read it."""

    kind = "a GeoPackage"

    def _open(self, patience_s: float, only: str | None) -> GeoPackageSource:
        return GeoPackageSource(self.path, answer_s(patience_s))

    @classmethod
    def hash_of(cls, path: Path) -> str:
        """Return the SHA-256 of the file without what merely opening it changes."""
        with path.open("rb") as file:
            header = bytearray(file.read(HEADER))
            for part in VOLATILE:
                header[part] = bytes(len(header[part]))
            whole = hashlib.sha256(header)
            while chunk := file.read(1 << 20):
                whole.update(chunk)
        return whole.hexdigest()

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
