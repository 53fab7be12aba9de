"""The commands and the Python code that the documentation shows."""

import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import click

from service.cli.main import main

ROOT = Path(__file__).parent.parent
# Not docs/log: its commands are those of their day.
FOLDERS = ("docs", "docs/concepts", "docs/howto")
PAGES = (
    *sorted(ROOT.glob("[A-Z]*.md")),
    *sorted(page for folder in FOLDERS for page in (ROOT / folder).glob("*.md")),
)
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`((?:loc2vec|make) [^`]+)`")
SHELL = ("bash", "console")
VARIABLE = re.compile(r"\w+=")


class Block(NamedTuple):
    """A fenced block: its page, the number of its first line, its language and its text."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return where(self.page, self.line)


class Command(NamedTuple):
    """One command: where it stands, and its words, the program first."""

    at: str
    words: tuple[str, ...]


def where(page: Path, line: int) -> str:
    """Return the name of a line, as compilers write it."""
    return f"{page.relative_to(ROOT)}:{line}"


def blocks(*languages: str) -> list[Block]:
    """Return the fenced blocks of these languages ("" for none), page by page."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in BLOCK.finditer(text):
            if match[1] in languages:
                line = text.count("\n", 0, match.start()) + 2
                found.append(Block(page, line, match[1], match[2]))
    return found


def commands(block: Block) -> Iterator[Command]:
    """Yield the commands of a block, also those joined by `&&`; `[...]` is taken as given."""
    waiting, first = "", 0
    for number, line in enumerate(block.text.splitlines(), block.line):
        shown = line if block.language != "console" or waiting else _after_prompt(line)
        first = first if waiting else number
        waiting += shown.removesuffix("\\")
        if not shown.endswith("\\"):
            for words in _split(waiting):
                yield Command(where(block.page, first), tuple(words))
            waiting = ""


def _after_prompt(line: str) -> str:
    return line.removeprefix("$ ") if line.startswith("$ ") else ""


def _split(line: str) -> Iterator[list[str]]:
    words = shlex.split(re.sub(r"\[(--[^\]]*)\]", r"\1", line), comments=True)
    while words:
        end = next((at for at, word in enumerate(words) if word in ("&&", "|")), len(words))
        part = [word.removesuffix(";") for word in words[:end]]
        while part and VARIABLE.match(part[0]):
            del part[0]
        if part:
            yield part
        words = words[end + 1 :]


def shell_commands() -> list[Command]:
    """Return the commands of all shell blocks, and those of blocks that begin with `loc2vec`."""
    plain = [block for block in blocks("") if block.text.startswith("loc2vec ")]
    return [command for block in (*blocks(*SHELL), *plain) for command in commands(block)]


def inline_commands() -> list[Command]:
    """Return what stands as `loc2vec ...` or `make ...` inside of sentences."""
    found = []
    for page in PAGES:
        for number, line in enumerate(_prose(page).splitlines(), 1):
            for text in INLINE.findall(line):
                words = shlex.split(text, comments=True)
                found.append(Command(where(page, number), tuple(words)))
    return found


def _prose(page: Path) -> str:
    text = page.read_text(encoding="utf-8")
    return BLOCK.sub(lambda match: "\n" * match[0].count("\n"), text)


def arguments_of_loc2vec(words: Sequence[str]) -> list[str] | None:
    """Return the arguments that `loc2vec` gets, also in a container or below torchrun.

    >>> arguments_of_loc2vec("torchrun --nproc-per-node 4 -m loc2vec train --places 80".split())
    ['train', '--places', '80']
    >>> arguments_of_loc2vec("docker compose run --rm train tile --out tiles".split())
    ['tile', '--out', 'tiles']
    """
    if words[0] == "loc2vec":
        return list(words[1:])
    if "-m" in words and words[words.index("-m") + 1] == "loc2vec":
        return list(words[words.index("-m") + 2 :])
    if words[0] in ("docker", "compose-gpu") and "--rm" in words:
        return list(words[words.index("--rm") + 2 :])  # behind the name of the container
    return None


def check(arguments: Sequence[str], whole: bool = True) -> None:
    """Fail unless commands and options exist; of a `whole` command values and number count, too.

    Raises `click.UsageError`. Files need not exist.
    """
    command, left = _find(arguments)
    context = click.Context(command, info_name=command.name)
    try:
        given, positional, _ = command.make_parser(context).parse_args(left)
    except click.BadOptionUsage:  # an option that a sentence names without its value
        if whole:
            raise
        return
    if not whole:
        return
    if positional:
        raise click.UsageError(f"too many arguments: {positional}")
    for parameter in command.get_params(context):
        value = given.get(parameter.name)
        absent = value is None or value is getattr(click.core, "UNSET", None) or value == ()
        if absent and parameter.required:
            raise click.MissingParameter(param=parameter, ctx=context)
        if not absent and not isinstance(parameter.type, click.Path | click.File):
            parameter.type_cast_value(context, value)


def _find(arguments: Sequence[str]) -> tuple[click.Command, list[str]]:
    """Return the command that the arguments begin with, and the others."""
    command: click.Command = main
    left = list(arguments)
    while isinstance(command, click.Group) and left and not left[0].startswith("-"):
        context = click.Context(command, info_name=command.name)
        _, found, left = command.resolve_command(context, left)
        assert found is not None
        command = found
    return command, left
