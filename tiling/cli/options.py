"""Options that several commands share."""

import os

import click

from tiling.errors import StoreError

PASSWORD = "tiling.password"  # noqa: S105 - the name of a note about it


def without_password(ctx: click.Context, param: click.Parameter, store: str) -> str:
    """Move the password of a database's URL to PGPASSWORD, so that nothing shows or keeps it."""
    from tiling.store.registry import is_database

    if not is_database(store):
        return store
    from tiling.store.postgis import Database

    try:
        database = Database(store)
    except StoreError as error:
        raise click.BadParameter(str(error), ctx, param) from error
    password = database.parameters.get("password")
    if password is not None:
        if ctx.meta.setdefault(PASSWORD, password) != password:
            raise click.BadParameter("stores have different passwords: put them into ~/.pgpass", ctx, param)
        os.environ["PGPASSWORD"] = password
    return database.location


def without_passwords(ctx: click.Context, param: click.Parameter, stores: tuple[str, ...]) -> tuple[str, ...]:
    """Do the same for an option that is repeated."""
    return tuple(without_password(ctx, param, store) for store in stores)
