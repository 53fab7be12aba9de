"""The commands of README.md and docs/ exist, and those that need nothing else run."""

import ast
import importlib
import re
import shlex
import shutil
import tomllib
from collections.abc import Mapping
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from service.cli.main import main
from tests.commands import (
    ROOT,
    SHELL,
    Block,
    Command,
    arguments_of_loc2vec,
    blocks,
    check,
    commands,
    inline_commands,
    shell_commands,
)

COMMANDS = shell_commands()
# Instead of the values of the page, so that a command ends within seconds.
LESS: Mapping[str, str] = {
    "--locations": "20",
    "--steps": "2",
    "--grid": "300",
    "--places": "4",
    "--count": "40",
}
# Files that the blocks begin with.
EXTRACTS = ("helsinki.osm.pbf", "monaco.osm.pbf", "2020.osm.pbf", "2024.osm.pbf")
STORES = ("helsinki.gpkg", "monaco.gpkg", "before.gpkg", "after.gpkg")
LESS_OF: Mapping[str, tuple[str, ...]] = {
    "train": ("--places", "4", "--pairs", "1", "--steps", "2"),
    "explore": ("--places", "60"),
    "changes": ("--grid", "300"),
}
# First words of the blocks that run here, each chain in a folder, and what it leaves there.
CHAINS = {
    "a region of one's own": (
        (
            ". .venv/bin/activate",
            "loc2vec tile  --store helsinki.gpkg --out tiles --locations 2000",
            "loc2vec train --tiles tiles --out runs/vit",
        ),
        ("vectors.parquet", "helsinki.index", "runs/first/report.html", "runs/vit/best"),
    ),
    "places of one's own": (
        (
            "loc2vec tile --store helsinki.gpkg --out tiles --points shops.csv",
            "loc2vec embed --store monaco.gpkg --points shops.csv",
        ),
        ("tiles/places.parquet", "shops.parquet"),
    ),
    "explore": (
        ("$ pip install 'loc2vec[explore]'", "$ loc2vec explore clusters"),
        ("walk.png", "walk.html", "kinds.index"),
    ),
    "changes": (("loc2vec changes before.gpkg",), ("changes.parquet", "changes.tif")),
}
# Why the other blocks of commands do not run here, by a part of their text. Some run elsewhere.
NOT_RUN = {
    r"^make ": "it sets up an environment; CI runs `make test`",
    r"^version=": "it marks a release",
    r"docker|^EXTRACTS=": "it needs Docker: `make stack-test`",
    r"^(pip|python3 -m venv)": "it installs packages",
    r"127\.0\.0\.1": "it asks a service: tests/service/test_docs.py asks it, too",
    r"loc2vec (fetch|import monaco) |--follow": "it asks a provider",
    r"s3://|torchrun|--shard": "it needs more machines",
    r"OTEL": "it needs a collector",
    r"postgresql://": "it needs a database: test_table.py and test_postgis.py",
    r"changes\.osc|--only-changed": "it needs changes: tests/tiling/store/geopackage",
    r"newport|porto|uden|TOWNS|a\.osm|all\.gpkg|extracts/|region\.": "its extracts are not bundled",
    r"2020\.osm|stays\.csv|sales\.csv|theirs\.parquet": "its files are the reader's",
    r"my\.toml": "tests/service/test_own_catalogue.py goes this way",
    r"--radii|--tile-radius|geocell": "it trains again: tests/loc2vec/train",
}
# What these blocks hold beside: what does not end, needs a network, or more than Monaco.
NOT_HERE = re.compile(
    r"^(loc2vec serve|pip |\. )|s3://|extracts\.gpkg|--validation|--tiles wide|ray"
)


def ids(command: Command) -> str:
    return command.at


@pytest.mark.parametrize("command", COMMANDS, ids=ids)
def test_a_command_of_the_docs_is_understood(command: Command) -> None:
    arguments = arguments_of_loc2vec(command.words)
    if arguments is not None:
        understood(command, arguments, whole="..." not in arguments)
    elif command.words[0] == "make":
        assert_targets(command)
    elif Path(command.words[0]).name.startswith("python"):
        assert_script(command)
    elif Path(command.words[0]).name == "pip":
        assert_extras(command)


@pytest.mark.parametrize("command", inline_commands(), ids=ids)
def test_a_command_within_a_sentence_is_understood(command: Command) -> None:
    if command.words[0] == "make":
        assert_targets(command)
    else:
        understood(command, command.words[1:], whole=False)


def understood(command: Command, arguments: list[str] | tuple[str, ...], whole: bool) -> None:
    try:
        check(arguments, whole)
    except click.UsageError as error:
        pytest.fail(f"{command.at}: {shlex.join(command.words)}: {error.format_message()}")


def assert_targets(command: Command) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][\w-]*):", makefile, re.MULTILINE))
    for word in command.words[1:]:
        if "=" not in word:
            assert word in targets, f"{command.at}: the Makefile has no target {word}"


def assert_script(command: Command) -> None:
    """The script is there and knows the options; modules of others are not looked at."""
    script = command.words[1]
    if script.startswith("-"):
        return
    assert (ROOT / script).is_file(), f"{command.at}: there is no {script}"
    text = (ROOT / script).read_text(encoding="utf-8")
    for word in command.words[2:]:
        if word.startswith("--"):
            assert f'"{word}"' in text, f"{command.at}: {script} has no option {word}"


def assert_extras(command: Command) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for extra in re.findall(r"\[([\w,-]+)\]", shlex.join(command.words)):
        known = project["optional-dependencies"]
        assert set(extra.split(",")) <= known.keys(), f"{command.at}: no extra {extra}"


@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_python_of_the_docs_compiles_and_its_imports_resolve(block: Block) -> None:
    for node in ast.walk(ast.parse(block.text, filename=str(block))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                importlib.import_module(alias.name)
        elif isinstance(node, ast.ImportFrom):
            module = importlib.import_module(str(node.module))
            for alias in node.names:
                assert hasattr(module, alias.name), f"{block}: {node.module} has no {alias.name}"


@pytest.fixture
def here(
    monaco_pbf: Path, monaco_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """An empty folder with the files that the docs speak of, all of Monaco."""
    for name in EXTRACTS:
        shutil.copy(monaco_pbf, tmp_path / name)
    for name in STORES:
        shutil.copy(monaco_store, tmp_path / name)
    (tmp_path / "shops.csv").write_text("lat,lon,kind\n43.7384,7.4246,bakery\n43.7347,7.4213,bar\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.timeout(900)
@pytest.mark.parametrize("chain", CHAINS)
def test_blocks_of_the_readme_run(here: Path, chain: str) -> None:
    starts, made = CHAINS[chain]
    for start in starts:
        (block,) = (each for each in blocks(*SHELL) if each.text.startswith(start))
        done = [run(command) for command in commands(block)]
        assert any(done), f"{block}: nothing of it runs"
    for name in made:
        assert (here / name).exists(), name


def test_each_block_of_commands_runs_or_says_why_not() -> None:
    starts = tuple(start for chain, _ in CHAINS.values() for start in chain)
    waiting = [block for block in blocks(*SHELL) if not block.text.startswith(starts)]
    reasons = {str(block): reason(block) for block in waiting}
    assert [block for block, told in reasons.items() if not told] == []
    assert set(reasons.values()) == set(NOT_RUN.values())


def reason(block: Block) -> str:
    """Return why a block does not run here, "" if nobody said."""
    found = (why for part, why in NOT_RUN.items() if re.search(part, block.text))
    return next(found, "")


def run(command: Command) -> bool:
    """Run a command with less to do; tell whether it is one that can be run here."""
    arguments = arguments_of_loc2vec(command.words)
    if arguments is None or NOT_HERE.search(shlex.join(command.words)):
        return False
    for at, word in enumerate(arguments[:-1]):
        arguments[at + 1] = LESS.get(word, arguments[at + 1])
    arguments += LESS_OF.get(arguments[0], ())
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, f"{command.at}: {result.output}{result.exception or ''}"
    return True


def test_the_python_of_the_readme_prints_what_it_says(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, *_ = blocks("python")
    printed = next(block for block in blocks("") if block.line > first.line)
    exec(compile(first.text, str(first), "exec"), {})  # noqa: S102 - our own page
    assert capsys.readouterr().out == printed.text
