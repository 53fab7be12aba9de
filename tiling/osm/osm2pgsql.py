"""Running osm2pgsql with a style (osm2pgsql.lua) that interprets the channel catalogue."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

from tiling.catalogue.catalogue import Catalogue
from tiling.catalogue.channel import Conditions, Match
from tiling.errors import ExtractError, UserError, WriteError
from tiling.osm.file import osm_format
from tiling.osm.names import KEYS

PROGRAM = "osm2pgsql"
# 1.8 is the first with schemas for all tables; 2.0 has other tables of raw objects.
OLDEST, TOO_NEW = (1, 8), (2, 0)
CACHE_MB = 256  # of node positions; the database is read for the others


def require_osm2pgsql() -> None:
    """Raise `UserError` unless osm2pgsql is installed, in a version whose raw tables we know."""
    if shutil.which(PROGRAM) is None:
        raise UserError(
            "osm2pgsql is not installed: apt install osm2pgsql, "
            "or import into a GeoPackage (region.gpkg)"
        )
    told = subprocess.run([PROGRAM, "--version"], capture_output=True, text=True)  # noqa: S603
    found = re.search(r"osm2pgsql version (\d+)\.(\d+)", told.stdout + told.stderr)
    if found is None or not OLDEST <= (int(found[1]), int(found[2])) < TOO_NEW:
        version = ".".join(found.groups()) if found else "of no known version"
        raise UserError(
            f"osm2pgsql {version} is installed: 1.8 or newer, and older than 2.0, is needed"
        )


def run_osm2pgsql(
    path: Path,
    catalogue: Catalogue,
    schema: str,
    environment: Mapping[str, str],
    options: Sequence[str],
) -> None:
    """Read `path` into the tables `drawn`, `named` and `coastline` of `schema`, and the raw tables.

    `environment` names the database (PGHOST, PGPASSWORD, ...), because a command line shows in the
    list of processes. Raises `ExtractError` when the file is at fault, else `WriteError`.
    """
    with (
        tempfile.TemporaryDirectory(prefix="loc2vec-") as folder,
        resources.as_file(_style()) as style,
    ):
        settings = Path(folder) / "settings.lua"
        settings.write_text(lua_settings(catalogue, schema), encoding="ascii")
        command = [
            PROGRAM, "--slim", "--output=flex", f"--style={style}", f"--middle-schema={schema}",
            f"--cache={CACHE_MB}", "--log-progress=false",
            f"--input-reader={osm_format(path) or 'auto'}", *options, str(path.absolute()),
        ]  # fmt: skip
        done = subprocess.run(  # noqa: S603 - no shell, and the path is absolute
            command,
            env={**os.environ, **environment, "LOC2VEC_SETTINGS": str(settings)},
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            text=True, errors="replace",
        )  # fmt: skip
    if done.returncode:
        raise _failure(path, done.stderr)


def _style() -> resources.abc.Traversable:
    return resources.files("tiling.osm").joinpath("osm2pgsql.lua")


def _failure(path: Path, log: str) -> Exception:
    _, _, told = log.partition("ERROR: ")
    reason = " ".join((told or log).split()).rstrip(".") or "it said nothing"
    if any(word in reason for word in ("DB", "atabase", "COPY", "SQL", "Lua", "connection")):
        return WriteError(f"osm2pgsql could not write {path.name} into the database: {reason}")
    return ExtractError(f"cannot read {path.name} ({reason}): is it a complete OSM file?")


def lua_settings(catalogue: Catalogue, schema: str) -> str:
    """Return the Lua settings of osm2pgsql.lua: the catalogue, and the tags of names."""
    rules = ",\n".join(
        f"  {{ channel = {rule.channel}, width_m = {rule.width_m!r}, {_lua_match(rule)} }}"
        for rule in catalogue.rules
    )
    hidden = ",\n".join(f"  {{ {_lua_match(match)} }}" for match in catalogue.hidden)
    keys = ", ".join(map(lua_string, KEYS))
    head = f"schema = {lua_string(schema)}, name_keys = {{ {keys} }}"
    return f"return {{ {head}, rules = {{\n{rules}\n}}, hidden = {{\n{hidden}\n}} }}\n"


def _lua_match(match: Match) -> str:
    tags, without = _lua_conditions(match.tags), _lua_conditions(match.without)
    return f"on = {lua_string(match.on)}, tags = {tags}, without = {without}"


def _lua_conditions(conditions: Conditions) -> str:
    return "{ " + ", ".join(_lua_condition(key, values) for key, values in conditions) + " }"


def _lua_condition(key: str, values: frozenset[str] | None) -> str:
    if values is None:
        return f"{{ key = {lua_string(key)} }}"
    members = ", ".join(f"[{lua_string(value)}] = true" for value in sorted(values))
    return f"{{ key = {lua_string(key)}, values = {{ {members} }} }}"


def lua_string(text: str) -> str:
    r"""Return a Lua string literal, which nothing in `text` can break out of.

    Every byte but letters, digits and underscores is written as its number.

    >>> lua_string('a"]]')
    '"a\\034\\093\\093"'
    """
    plain = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_"
    return (
        '"'
        + "".join(chr(byte) if byte in plain else f"\\{byte:03d}" for byte in text.encode())
        + '"'
    )
