"""What a stranger reads is short: README.md, docs/, and what commands say of themselves."""

import doctest
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import sentences

from service.cli.main import main

pytestmark = pytest.mark.untraced  # nearly nothing runs here

ROOT = Path(__file__).parent.parent
LOG = ROOT / "docs/log"
README = ROOT / "README.md"
PAGES = sentences.pages()
# Tables, pictures, headings, code, and what a program writes have lines of any length.
NO_TEXT = re.compile(
    r"<!-- [\w ]+: written by .*?<!-- end of [\w ]+ -->|^```.*?^```|^(?: {4}|[|#<]|!\[)[^\n]*$",
    re.DOTALL | re.MULTILINE,
)
WRITTEN = {ROOT / "docs/gallery.md", ROOT / "docs/evaluation_table.md", ROOT / "docs/tour.ipynb"}
GROUPS = {
    "README.md": [README],
    "docs": [page for page in PAGES if page.parent != LOG],
    "log": [page for page in PAGES if page.parent == LOG],
}


def test_the_examples_of_the_measure_hold() -> None:
    assert doctest.testmod(sentences).failed == 0


def test_tables_and_code_do_not_make_sentences_look_short() -> None:
    text = "It has `a b c` here.\n\n| one | two |\n|---|---|\n| 1 | 2 |\n\n```\ncode\n```\n"
    assert sentences.prose(text) == ["It has `a_b_c` here."]
    assert sentences.too_long(f"| a |\n|---|\n| {'word ' * 26}|\n") != []


@pytest.mark.parametrize("group", GROUPS)
def test_sentences_are_short(group: str) -> None:
    found = [each for page in GROUPS[group] for each in sentences.prose(sentences.read(page))]
    told = sentences.lengths(found)
    assert told.number > 40
    assert told.median <= 12, told
    assert told.tenth <= 22, told


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_sentence_of_a_page_is_too_long(page: Path) -> None:
    assert sentences.too_long(sentences.read(page)) == []


@pytest.mark.parametrize("page", sorted({*PAGES} - WRITTEN), ids=lambda page: page.name)
def test_lines_of_text_fit_a_screen(page: Path) -> None:
    text = NO_TEXT.sub("", page.read_text(encoding="utf-8"))
    assert [line for line in text.splitlines() if len(line) > 100] == []


def test_the_readme_is_read_in_two_minutes() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 150


def helps(command: click.Command, name: str) -> Iterator[tuple[str, str]]:
    """Yield what a command, its options and its own commands say of themselves."""
    yield name, command.help or ""
    for param in command.params:
        if isinstance(param, click.Option):
            yield f"{name} {param.opts[0]}", param.help or ""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for inner in command.list_commands(context):
            found = command.get_command(context, inner)
            assert found is not None
            yield from helps(found, f"{name} {inner}")


def test_no_sentence_of_a_help_is_too_long() -> None:
    found = {name: sentences.too_long(text) for name, text in helps(main, "loc2vec")}
    assert len(found) > 100
    assert {name: told for name, told in found.items() if told} == {}


def test_the_changelog_tells_of_the_version_with_its_date() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    heading = rf"^## \[{re.escape(project['version'])}\] - \d{{4}}-\d\d-\d\d$"
    assert len(re.findall(heading, changelog, re.MULTILINE)) == 1
    assert changelog.count("## [Unreleased]") == 1
