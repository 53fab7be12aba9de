"""Providers of extracts: one TOML file each, shipped or of the user's own."""

import tomllib
from importlib import resources
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tiling.errors import UserError
from tiling.files.atomic import require_file

WEB = "^https?://"


class Provider(BaseModel):
    """Who offers extracts, and where its index of regions is (docs/fetch.md)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern="^[a-z0-9][a-z0-9_-]{0,63}$")  # of its folder in the cache
    index: str = Field(pattern=WEB)
    geocoder: str | None = Field(None, pattern=WEB)
    attribution: str = ""


def load_provider(name: str) -> Provider:
    """Return a provider by its shipped name, or by the path of a TOML file.

    Raises `UserError` for a file that is missing or malformed.
    """
    shipped = resources.files("tiling.osm.fetch").joinpath(f"{Path(name).name}.toml")
    if name.endswith(".toml"):
        require_file(Path(name), UserError, "give the TOML file of a provider")
        text = Path(name).read_bytes()
    elif shipped.is_file():
        text = shipped.read_bytes()
    else:
        raise UserError(f"no provider is called {name!r}: give geofabrik, or a file.toml")
    try:
        return Provider(**tomllib.loads(text.decode()))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UserError(f"provider {name}: {where}: {first['msg']}") from error
    except ValueError as error:  # no TOML, or no UTF-8
        raise UserError(f"provider {name} is no TOML: {error}") from error
