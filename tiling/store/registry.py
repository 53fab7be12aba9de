"""Opening a feature store by its location: a GeoPackage file, or the URL of a PostGIS database."""

from collections.abc import Sequence
from pathlib import Path

from tiling.catalogue import Catalogue, load_catalogue
from tiling.errors import ExtractError, FingerprintError, StoreError, StoreReplacedError
from tiling.files.atomic import require_file, sha256_of
from tiling.store.base import FeatureSource
from tiling.store.changes import Changes
from tiling.store.geopackage import GeoPackageSource
from tiling.store.postgis import PATIENCE_S, SCHEMES, PostgisSource, without_secrets
from tiling.values import TileGeometry, check_fingerprint


def is_database(location: str | Path) -> bool:
    """Tell whether a location is the URL of a database.

    >>> is_database("postgresql://localhost/osm"), is_database("region.gpkg")
    (True, False)
    """
    return str(location).startswith(SCHEMES)


def open_source(
    location: str | Path,
    catalogue: Catalogue | None = None,
    patience_s: float = PATIENCE_S,
    only: str | None = None,
) -> FeatureSource:
    """Open the store at `location`.

    A database that is away is asked again for up to `patience_s` seconds.

    `only`: the `revision` that alone will do. With another one `StoreReplacedError` is raised: a
    file is the one that was opened for as long as it is open, whatever takes its place; of a
    database it is seen at every question.

    Raises `StoreError` when the store is missing or none of ours, `FingerprintError` when it was
    made with another catalogue, `StoreUnavailableError` when its database does not answer.
    """
    source: FeatureSource
    if is_database(location):
        source = PostgisSource(str(location), patience_s, only)
    elif "://" in str(location):
        raise StoreError(
            f"{without_secrets(str(location))}: a store is a file (region.gpkg) or postgresql://..."
        )
    else:
        source = GeoPackageSource(Path(location))
    source.catalogue = catalogue or load_catalogue()
    try:
        expected = source.catalogue.fingerprint(TileGeometry())
        check_fingerprint(source.location, source.fingerprint, expected)
        if only not in (None, revision(location, patience_s)):
            raise StoreReplacedError(f"{source.location} was replaced while it was opened")
    except BaseException:
        source.close()
        raise
    return source


def holds(
    location: str | Path, extracts: Sequence[Path], catalogue: Catalogue | None = None
) -> bool:
    """Tell whether the store at `location` was made of just these extracts, with this catalogue.

    Raises `ExtractError` when an extract is missing.
    """
    for path in extracts:
        require_file(path, ExtractError, "give the path of an .osm.pbf extract")
    try:
        with open_source(location, catalogue) as source:
            return source.has_names and sorted(source.extract_hashes) == sorted(
                map(sha256_of, extracts)
            )
    except (StoreError, FingerprintError):
        return False


def content_hash(location: str | Path) -> str:
    """Return what identifies the content of a store: the hash of the file, or the one its database keeps."""
    if is_database(location):
        with PostgisSource(str(location)) as source:
            return source.content_hash()
    return sha256_of(Path(location))


def revision(location: str | Path, patience_s: float = PATIENCE_S) -> str:
    """Return what changes when the store is replaced or updated.

    Unlike `content_hash` it costs nothing to ask.

    Raises `StoreError` when the store is missing, `StoreUnavailableError` when its database does
    not answer.
    """
    if is_database(location):
        with PostgisSource(str(location), patience_s) as source:
            return source.content_hash()
    path = Path(location)
    require_file(
        path, StoreError, f"make a store with `loc2vec import REGION.osm.pbf --store {path}`"
    )
    status = path.stat()
    return f"{status.st_dev}-{status.st_ino}-{status.st_size}-{status.st_mtime_ns}"


def changes_since(location: str | Path, content: str) -> Changes:
    """Return what changed in a store since it had the content hash `content`.

    `StoreError` when nobody knows.
    """
    if not is_database(location):
        if content == content_hash(location):
            return Changes.of([], [])
        raise StoreError(
            f"{location} is another file now, which does not say what changed: embed all places again"
        )
    with PostgisSource(str(location)) as source:
        return source.changes_since(content)


def store_name(location: str | Path) -> str:
    """Return a short name of the store at `location`, without any password: the file's or the database's.

    >>> store_name("maps/region.gpkg"), store_name("postgresql://me:secret@db/osm?sslmode=require")
    ('region', 'osm')
    """
    return Path(
        without_secrets(str(location)).partition("?")[0] if is_database(location) else location
    ).stem
