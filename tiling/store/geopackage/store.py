"""The kind of store in a GeoPackage file."""

import hashlib
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from tiling.catalogue.catalogue import Catalogue
from tiling.errors import UserError
from tiling.osm.gather.gather import Progress
from tiling.store.changes import Changes
from tiling.store.geopackage.source import GeoPackageSource
from tiling.store.store import FileStore, ImportOptions, ImportSummary, UpdateSummary, answer_s

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
        if options.reader is not None:
            raise UserError("--reader goes with --store postgresql://...")
        from tiling.store.geopackage.import_ import import_extracts

        return import_extracts(extracts, self.path, catalogue, progress, options)

    def takes_updates(self) -> bool:
        """Tell whether its extract is kept."""
        from tiling.store.geopackage.update import takes_updates

        return takes_updates(self.path)

    def update(self, changes: Path) -> UpdateSummary:
        """Apply a file of changes to the kept extract, and import that again."""
        return self._apply(changes, None)

    def _apply(self, changes: Path, until: datetime | None) -> UpdateSummary:
        from tiling.store.geopackage.update import apply_changes

        return apply_changes(self.path, self.content_hash(), changes, until)

    def replicate(self, url: str) -> UpdateSummary:
        """Apply all changes of a replication server that the store lacks."""
        from tiling.store.geopackage.update import apply_replication

        return apply_replication(self.path, url, self._apply)

    def replication_url(self) -> str | None:
        """Return what the kept extract says."""
        from tiling.store.geopackage.update import replication_url

        return replication_url(self.path)

    def changes_since(self, content: str) -> Changes:
        """Return what updates changed since the store had this content hash."""
        from tiling.store.geopackage.update import changes_since

        known = changes_since(self.path, content)
        return super().changes_since(content) if known is None else known
