"""Options that several commands share."""

import json
import os
from pathlib import Path
from typing import Any

import click

from tiling.errors import StoreError, UserError
from tiling.values import Box

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
            raise click.BadParameter(
                "stores have different passwords: put them into ~/.pgpass", ctx, param
            )
        os.environ["PGPASSWORD"] = password
    return database.location


def without_passwords(
    ctx: click.Context, param: click.Parameter, stores: tuple[str, ...]
) -> tuple[str, ...]:
    """Do the same for an option that is repeated."""
    return tuple(without_password(ctx, param, store) for store in stores)


FolderPath = click.Path(file_okay=False, path_type=Path)


FilePath = click.Path(dir_okay=False, path_type=Path)


store_option = click.option(
    "--store",
    required=True,
    callback=without_password,
    help="Feature store, made by `loc2vec import`.",
)


json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")


def read_box(ctx: click.Context, param: click.Parameter, value: str | None) -> Box | None:
    """Read --bbox; a usage error says what is wrong with it."""
    from tiling.geo.grid import parse_box

    try:
        return None if value is None else parse_box(value)
    except UserError as error:
        raise click.BadParameter(str(error), ctx, param) from error


def print_result(facts: dict[str, Any], as_json: bool, sentence: str) -> None:
    """Print `facts` as JSON, or a sentence for people."""
    click.echo(json.dumps(facts) if as_json else sentence)
