"""Feature stores: one class for each kind, found by `Store.at` from a location."""

import pkgutil
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import ClassVar, NamedTuple, Self
from urllib.parse import unquote

from tiling.catalogue.catalogue import Catalogue
from tiling.errors import (
    CatalogueError,
    ExtractError,
    FingerprintError,
    StoreError,
    StoreReplacedError,
    UserError,
)
from tiling.files.atomic import require_file, sha256_of
from tiling.osm.gather.gather import Gathered, Progress
from tiling.store.changes import Changes
from tiling.store.source import FeatureSource
from tiling.values import Box, TileGeometry

PATIENCE_S = 30.0  # with a store that is away: a database restarts in a few seconds
HANGS_S, HANGS_LONG_S = 5.0, 900.0  # a query that takes longer: for a client, for a job
SECRETS = ("password", "sslpassword")  # in the query of a URL


def answer_s(patience_s: float) -> float:
    """Return after how many seconds a query is given up, which depends on who waits for it.

    A service has less patience with a store that is away than jobs have, which ask larger queries.
    """
    return HANGS_S if patience_s < PATIENCE_S else HANGS_LONG_S


class StoreKind(NamedTuple):
    """A row of the registry: a pattern of locations, and the class of their store."""

    locations: str
    store: str  # "module:class", imported when the first location matches


# The first row whose pattern matches the beginning of a location counts.
KINDS = [
    StoreKind("postgres(ql)?://", "tiling.store.postgis.store:PostgisStore"),
    StoreKind("(?!.*://)", "tiling.store.geopackage.store:GeoPackageStore"),  # any path
]


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """How a store is made.

    `allow_loss`: also when many objects cannot be built. `slim` keeps what updates need. Only
    PostGIS takes `reader`, a role that may read the store.
    """

    allow_loss: bool = False
    slim: bool = False
    reader: str | None = None


@dataclass(frozen=True, slots=True)
class ImportSummary:
    """What an import did: the features in the store, in all and by channel, and their bounds.

    `lost` counts the objects that could not be built, by the reason; `regions` are the names of the
    extracts.
    """

    features: int
    by_channel: dict[str, int]
    lost: dict[str, int]
    bounds: Box
    regions: tuple[str, ...]

    @classmethod
    def of(cls, found: Gathered, catalogue: Catalogue) -> Self:
        """Return the summary of a store that holds all that was gathered."""
        counts = found.stage.counts()
        return cls(
            sum(counts.values()),
            {name: counts.get(channel, 0) for channel, name in enumerate(catalogue.channels)},
            dict(found.lost),
            found.bounds,
            tuple(record.name for record in found.extracts),
        )


@dataclass(frozen=True, slots=True)
class UpdateSummary:
    """What an update did: how many features came and went, and where."""

    came: int
    went: int
    changes: Changes

    @classmethod
    def of(cls, parts: Iterable[Self]) -> Self:
        """Return several updates as one."""
        every = list(parts)
        changes = Changes.joined(part.changes for part in every)
        return cls(sum(p.came for p in every), sum(p.went for p in every), changes)


class Store(ABC):
    """A feature store, by its location.

    It holds no file and no connection, so it is cheap to make, to compare and to pickle.
    """

    kind: ClassVar[str]  # its name in messages

    def __init__(self, given: str) -> None:
        """`given`: the location, perhaps with a password, which `location` leaves out."""
        self._given = given

    @staticmethod
    def at(location: str | Path) -> "Store":
        """Return the store at a location; it need not exist yet.

        Raises `StoreError` for a location of no kind.
        """
        for kind in KINDS:
            if re.match(kind.locations, str(location)):
                store: Store = pkgutil.resolve_name(kind.store)(str(location))
                return store
        shown = without_secrets(str(location))
        raise StoreError(f"{shown}: a store is a file (region.gpkg) or postgresql://...")

    @property
    def location(self) -> str:
        """Return the location without secrets."""
        return self._given

    @property
    def secrets(self) -> Mapping[str, str]:
        """Return what `location` leaves out, as environment variables."""
        return {}

    @property
    @abstractmethod
    def name(self) -> str:
        """Return a short name: the file's or the database's."""

    def absolute(self) -> Self:
        """Return this store with a location that is valid in any working directory."""
        return self

    def open(self, patience_s: float = PATIENCE_S, only: str | None = None) -> FeatureSource:
        """Open the store for reading.

        `patience_s`: for how many seconds a query is repeated while the database is away. `only`:
        the only accepted `revision`; `StoreReplacedError` is raised for another one. An open file
        stays what it was when it is replaced. A database is checked at every query.

        Raises `StoreError` when the store is missing or no store, `FingerprintError` when it was
        made with another catalogue, `StoreUnavailableError` when its database does not answer.
        """
        try:
            source = self._open_whole(patience_s, only)
        except UserError:
            self._check_revision(patience_s, only)  # damaged, foreign: it is another one
            raise
        try:
            self._check_revision(patience_s, only)
        except BaseException:
            source.close()
            raise
        return source

    def _open_whole(self, patience_s: float, only: str | None) -> FeatureSource:
        """Open the store by its own catalogue."""
        source = self._open(patience_s, only)
        source.store = self
        try:
            source.catalogue.check(self.location, source.fingerprint, TileGeometry())
        except BaseException:
            source.close()
            raise
        return source

    def _check_revision(self, patience_s: float, only: str | None) -> None:
        """Raise `StoreReplacedError` unless the store is of the revision `only` or that is None."""
        try:
            same = only is None or only == self.revision(patience_s)
        except StoreError:  # it is gone
            same = False
        if not same:
            raise StoreReplacedError(f"{self.location} was replaced while it was opened")

    @abstractmethod
    def _open(self, patience_s: float, only: str | None) -> FeatureSource:
        """Open the store, whatever catalogue it was made with."""

    @abstractmethod
    def content_hash(self) -> str:
        """Return the hash that identifies the content."""

    @abstractmethod
    def revision(self, patience_s: float = PATIENCE_S) -> str:
        """Return a string that changes whenever the store is replaced or updated; it is cheap.

        Raises `StoreError` when the store is missing, `StoreUnavailableError` when its database
        does not answer.
        """

    def changes_since(self, content: str) -> Changes:
        """Return what changed since the store had the content hash `content`.

        Raises `StoreError` when the store does not know.
        """
        if content == self.content_hash():
            return Changes.of([], [])
        raise StoreError(
            f"{self.location} is another file now, which does not say what changed: "
            "embed all places again"
        )

    def holds(self, extracts: Sequence[Path], catalogue: Catalogue, slim: bool = False) -> bool:
        """Tell whether the store was made from just these extracts, with this catalogue.

        `slim`: and takes updates.

        Raises `ExtractError` when an extract is missing.
        """
        for path in extracts:
            require_file(path, ExtractError, "give the path of an .osm.pbf extract")
        try:
            with self.open() as source:
                hashes = sorted(map(sha256_of, extracts))
                same = source.catalogue == catalogue and sorted(source.extract_hashes) == hashes
                return same and (not slim or self.takes_updates())
        except (StoreError, FingerprintError, CatalogueError):
            return False

    def import_extracts(
        self,
        extracts: Sequence[Path],
        catalogue: Catalogue,
        progress: Progress = lambda objects, share: None,
        options: ImportOptions = ImportOptions(),
    ) -> ImportSummary:
        """Make the store from extracts; at the end it replaces the one before as a whole.

        `progress` is told how many objects were read since it was told last, and which share of the
        work is done.

        Raises `ExtractError` for an extract that cannot be read, `LossError` when much of it cannot
        be built, `UserError` when the store cannot be written.
        """
        raise UserError(f"{self.kind} is only read: import into a GeoPackage or postgresql://...")

    def takes_updates(self) -> bool:
        """Tell whether the store was imported with `slim`."""
        return False

    def update(self, changes: Path) -> UpdateSummary:
        """Apply a file of changes, .osc or .osc.gz.

        Raises `StoreError` for a store that was not imported with `slim`, and `ExtractError` for an
        unreadable file. Raises `UserError` for a kind of store that is not updated.
        """
        raise self._never_updated()

    def replicate(self, url: str) -> UpdateSummary:
        """Apply all changes that a replication server has and the store has not, as `update`."""
        raise self._never_updated()

    def replication_url(self) -> str | None:
        """Return the URL of the replication server of its extract, None when it names none."""
        raise self._never_updated()

    def _never_updated(self) -> UserError:
        return UserError(f"{self.kind} is not updated: import the new extract in its place")

    @property
    def _key(self) -> tuple[type["Store"], str]:
        return type(self), self._given

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Store) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def __str__(self) -> str:
        return self.location

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.location!r})"


class FileStore(Store):
    """A store in one file."""

    @property
    def path(self) -> Path:
        """Return the path of the file."""
        return Path(self._given)

    @property
    def name(self) -> str:
        """Return the name of the file without its suffix."""
        return self.path.stem

    def absolute(self) -> Self:
        """Return the store at the absolute path."""
        return type(self)(str(self.path.absolute()))

    def content_hash(self) -> str:
        """Return the SHA-256 of what the file holds."""
        return _content_hash(type(self), self.path, self.revision())

    @classmethod
    def hash_of(cls, path: Path) -> str:
        """Return the SHA-256 of what a file of this kind holds: by default of all its bytes."""
        return sha256_of(path)

    def revision(self, patience_s: float = PATIENCE_S) -> str:
        """Return the file's device, inode, size and time of change."""
        advice = f"make a store with `loc2vec import REGION.osm.pbf --store {self.path}`"
        require_file(self.path, StoreError, advice)
        status = self.path.stat()
        return f"{status.st_dev}-{status.st_ino}-{status.st_size}-{status.st_mtime_ns}"


@lru_cache(maxsize=64)
def _content_hash(kind: type[FileStore], path: Path, revision: str) -> str:
    return kind.hash_of(path)  # another revision is hashed again


def without_secrets(location: str) -> str:
    """Return a URL without its password, for people and files.

    >>> without_secrets("postgresql://me:secret@db/osm?sslmode=require&password=secret")
    'postgresql://me@db/osm?sslmode=require'
    """
    scheme, _, rest = location.partition("://")
    rest, _, query = rest.partition("?")
    authority, slash, path = rest.partition("/")
    user, at, hosts = authority.rpartition("@")
    shown = f"{scheme}://{user.partition(':')[0]}{at}{hosts}{slash}{path}"
    kept = [
        item for item in query.split("&") if item and unquote(item.partition("=")[0]) not in SECRETS
    ]
    return f"{shown}?{'&'.join(kept)}" if kept else shown
