"""Options that several commands share."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tiling.errors import StoreError, UserError
from tiling.values import Box

if TYPE_CHECKING:
    from tiling.store.store import Store


class StoreType(click.ParamType["Store"]):
    """The location of a store."""

    name = "STORE"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> "Store":
        """Return the store.

        The password of a URL moves to the environment, so that nothing shows or keeps it.
        """
        from tiling.store.store import Store

        if isinstance(value, Store):
            return value
        try:
            store = Store.at(value)
        except StoreError as error:
            self.fail(str(error), param, ctx)
        hide_secrets(store.secrets, param, ctx)
        return Store.at(store.location)


def hide_secrets(
    secrets: Mapping[str, str], param: click.Parameter | None, ctx: click.Context | None
) -> None:
    """Move the secrets of a URL to the environment; a usage error where two differ."""
    meta = {} if ctx is None else ctx.meta
    for name, secret in secrets.items():
        if meta.setdefault(f"tiling.{name}", secret) != secret:
            raise click.BadParameter(
                "stores have different passwords: put them into ~/.pgpass", ctx, param
            )
        os.environ[name] = secret


class NumberRange(click.FloatRange):
    """A number within bounds; what is none is called so."""

    name = "number"


class WholeRange(click.IntRange):
    """A whole number within bounds; what is none is called so."""

    name = "whole number"


FolderPath = click.Path(file_okay=False, path_type=Path)


FilePath = click.Path(dir_okay=False, path_type=Path)


store_option = click.option(
    "--store",
    required=True,
    type=StoreType(),
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
