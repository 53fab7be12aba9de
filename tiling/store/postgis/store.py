"""The kind of store in a PostGIS database."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from tiling.catalogue.catalogue import Catalogue
from tiling.errors import StoreError
from tiling.osm.gather.gather import Progress
from tiling.store.changes import Changes
from tiling.store.postgis.database import Database, pool_of
from tiling.store.postgis.source import PostgisSource
from tiling.store.store import PATIENCE_S, ImportOptions, ImportSummary, Store, UpdateSummary

_CONTENT = "SELECT content FROM loc2vec.updates ORDER BY number DESC LIMIT 1"
_IS_SLIM = "SELECT to_regclass('loc2vec_raw.named') IS NOT NULL"
_REPLICATION = "SELECT replication FROM loc2vec.updates WHERE number = 0"
_CHANGED = """
SELECT reach_m, ST_AsBinary(geom, 'NDR') FROM loc2vec.updates AS past
LEFT JOIN loc2vec.changed ON changed.number > past.number WHERE past.content = %s
"""


class PostgisStore(Store):
    """The schema `loc2vec` of a database at a URL such as postgresql://USER@HOST:PORT/DATABASE."""

    kind = "a PostGIS store"

    def __init__(self, given: str) -> None:
        """Raise `StoreError` for a malformed URL."""
        super().__init__(given)
        self.database = Database(given)

    @property
    def location(self) -> str:
        """Return the URL without its password."""
        return self.database.location

    @property
    def secrets(self) -> Mapping[str, str]:
        """Return libpq's variable for the password of the URL, if it has one."""
        return self.database.secrets

    @property
    def name(self) -> str:
        """Return the name of the database."""
        return self.database.name

    def _open(self, patience_s: float, only: str | None) -> PostgisSource:
        return PostgisSource(pool_of(self._given), patience_s, only)

    def content_hash(self) -> str:
        """Return the hash of what was imported and of all updates since."""
        return self.revision()

    def revision(self, patience_s: float = PATIENCE_S) -> str:
        """Return the content hash, which the database keeps."""
        return str(pool_of(self._given).ask(_CONTENT, None, patience_s)[0][0])

    def changes_since(self, content: str) -> Changes:
        """Return what updates changed since the store had this content hash."""
        rows = pool_of(self._given).ask(_CHANGED, (content,), PATIENCE_S)
        if not rows:
            raise StoreError(
                f"{self.location} was imported anew since, or is another store: "
                "embed all places again"
            )
        changed = [row for row in rows if row[1] is not None]
        return Changes.of([row[0] for row in changed], [bytes(row[1]) for row in changed])

    def import_extracts(
        self,
        extracts: Sequence[Path],
        catalogue: Catalogue,
        progress: Progress = lambda objects, share: None,
        options: ImportOptions = ImportOptions(),  # noqa: B008 - it is frozen
    ) -> ImportSummary:
        """Fill the database; raises `StoreError` when it does not allow it.

        Without a reader, the roles that may read the store before may read the new one.
        """
        from tiling.store.postgis.import_ import import_extracts

        return import_extracts(self.database, extracts, catalogue, progress, options)

    def takes_updates(self) -> bool:
        """Tell whether the raw tables are there."""
        return bool(pool_of(self._given).ask(_IS_SLIM, None, PATIENCE_S)[0][0])

    def update(self, changes: Path) -> UpdateSummary:
        """Apply a file of changes with osm2pgsql, by the catalogue of the store."""
        from tiling.store.postgis.update import apply_changes

        return apply_changes(self.database, changes)

    def replicate(self, url: str) -> UpdateSummary:
        """Apply all changes of a replication server that the store lacks."""
        from tiling.store.postgis.update import apply_replication

        return apply_replication(self.database, url)

    def replication_url(self) -> str | None:
        """Return what the extract said when it was imported."""
        rows = pool_of(self._given).ask(_REPLICATION, None, PATIENCE_S)
        return None if rows[0][0] is None else str(rows[0][0])
