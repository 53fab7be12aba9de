"""Extensions of a database: those that are there, and those that its owner may add."""

from tiling.errors import StoreError
from tiling.store.postgis.database import Connection, Database
from tiling.store.postgis.statements import execute, rows


def has_extension(connection: Connection, name: str) -> bool:
    """Tell whether a database has an extension."""
    return bool(rows(connection, "SELECT FROM pg_extension WHERE extname = %s", (name,)))


def require_extension(database: Database, connection: Connection, name: str, advice: str) -> None:
    """Add an extension unless it is there; raise `StoreError` with `advice` when it cannot be."""
    if has_extension(connection, name):
        return
    try:
        with database.failing():
            execute(connection, f"CREATE EXTENSION {name}")
    except StoreError as error:
        raise StoreError(
            f"{error}: let a superuser run CREATE EXTENSION {name} in it{advice}"
        ) from error
