"""Running osm2pgsql: a program in its place tells how it was called, and fails in each way."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tiling.catalogue.catalogue import load_catalogue
from tiling.errors import ExtractError, UserError, WriteError
from tiling.osm.names import KEYS
from tiling.osm.osm2pgsql import lua_settings, lua_string, require_osm2pgsql, run_osm2pgsql

Program = Callable[[str], Path]


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """Put a shell script in the place of osm2pgsql, alone on the path with the shell's own."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/bin:/usr/bin")

    def write(script: str) -> Path:
        path = folder / "osm2pgsql"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return folder

    return write


@pytest.mark.parametrize("version", ["1.8.0", "1.11.0 (hash)", "1.99"])
def test_a_version_whose_tables_are_known_will_do(program: Program, version: str) -> None:
    program(f"echo 'osm2pgsql version {version}' >&2")
    require_osm2pgsql()


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ("osm2pgsql version 1.7.2", "osm2pgsql 1.7 is installed: 1.8 or newer"),
        ("osm2pgsql version 2.0.0", "osm2pgsql 2.0 is installed"),
        ("osm2pgsql version 0.96", "osm2pgsql 0.96 is installed"),
        ("hello", "osm2pgsql of no known version is installed"),
    ],
)
def test_another_version_is_refused(program: Program, told: str, message: str) -> None:
    program(f"echo '{told}'")
    with pytest.raises(UserError, match=re.escape(message)):
        require_osm2pgsql()


def test_without_the_program_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="not installed: apt install osm2pgsql, or import into a"):
        require_osm2pgsql()


def run(path: Path) -> None:
    secret = {"PGHOST": "db", "PGPASSWORD": "secret"}
    run_osm2pgsql(path, load_catalogue(), "raw", secret, ["--create"])


def test_it_is_called_with_the_style_the_schema_and_the_settings(
    program: Program, tmp_path: Path
) -> None:
    folder = program(
        f'for each in "$@"; do echo "$each"; done > {tmp_path}/called\n'
        f'echo "$PGHOST $PGPASSWORD" > {tmp_path}/environment\n'
        f'cp "$LOC2VEC_SETTINGS" {tmp_path}/settings.lua\n'
        'test -f "$(echo "$2" | cut -d= -f2)" || test -f "$(echo "$3" | cut -d= -f2)"'
    )
    run(tmp_path / "region.osm.pbf")
    called = (tmp_path / "called").read_text().splitlines()
    assert called[-2:] == ["--create", str(tmp_path / "region.osm.pbf")]
    assert {"--slim", "--output=flex", "--middle-schema=raw"} <= set(called)
    assert [each.endswith("/osm2pgsql.lua") for each in called if "--style=" in each] == [True]
    assert "secret" not in (tmp_path / "called").read_text()
    assert (tmp_path / "environment").read_text() == "db secret\n"
    assert (tmp_path / "settings.lua").read_text() == lua_settings(load_catalogue(), "raw")
    assert folder.exists()


@pytest.mark.parametrize(
    ("log", "error", "message"),
    [
        (
            "2024 ERROR: File is truncated.",
            ExtractError,
            r"cannot read .*\(File is truncated\): is",
        ),
        (
            "ERROR: Connecting to database failed.",
            WriteError,
            "could not write region.osm.pbf into",
        ),
        ("ERROR: DB copy thread failed", WriteError, "DB copy thread failed"),
        ("ERROR: Failed to execute Lua function", WriteError, "Lua function"),
        ("only this", ExtractError, r"\(only this\)"),
        ("ERROR: two\n  lines", ExtractError, r"\(two lines\)"),
        ("", ExtractError, "it said nothing"),
    ],
)
def test_a_failure_is_the_file_s_or_the_database_s(
    program: Program, tmp_path: Path, log: str, error: type[Exception], message: str
) -> None:
    (tmp_path / "log").write_text(log)
    program(f"cat {tmp_path}/log >&2; exit 1")
    with pytest.raises(error, match=message):
        run(tmp_path / "region.osm.pbf")


def test_every_text_is_a_string_of_lua() -> None:
    texts = ["", "plain_0", 'quote"]]--', "back\\slash", "new\nline", "Zürich 東京", "\x00\x7f"]
    for text in texts:
        literal = lua_string(text)
        assert re.fullmatch(r'"(?:[A-Za-z0-9_]|\\\d{3})*"', literal)
        said = re.sub(rb"\\(\d{3})", lambda found: bytes([int(found[1])]), literal[1:-1].encode())
        assert said.decode() == text


def test_the_settings_hold_every_rule_and_every_tag_of_names() -> None:
    catalogue = load_catalogue()
    settings = lua_settings(catalogue, "raw")
    assert settings.count("channel = ") == len(catalogue.rules)
    assert settings.count("on = ") == len(catalogue.rules) + len(catalogue.hidden)
    assert settings.startswith('return { schema = "raw", name_keys = { "name", ')
    assert all(lua_string(key) in settings for key in KEYS)
    assert (
        'channel = 0, width_m = 18.0, on = "line", tags = { { key = "highway", values = '
        '{ ["motorway"] = true, ["trunk"] = true } } }, without = {  }' in settings
    )
    assert (
        'on = "point", tags = { { key = "parking", values = { ["underground"] = true } } }, '
        'without = { { key = "building" } }' in settings
    )
    assert 'tags = { { key = "building" } }' in settings, "no values means any value"
