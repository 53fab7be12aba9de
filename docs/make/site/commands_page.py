"""The reference of commands, from what click knows of them."""

import inspect
from collections.abc import Iterator

import click

from service.cli.main import main

TITLE = """# Commands

`loc2vec COMMAND --help` prints the same. Every command ends with status 0, or with one line that
says what is wrong.
"""


def commands_page() -> str:
    """Return the page in Markdown: each command with its text, its usage and its options."""
    context = click.Context(main, info_name="loc2vec")
    return "\n".join([TITLE, *_commands(main, context, 2)])


def _commands(group: click.Group, parent: click.Context, level: int) -> Iterator[str]:
    for name in group.list_commands(parent):
        command = group.get_command(parent, name)
        if command is None or command.hidden:
            continue
        context = click.Context(command, info_name=name, parent=parent)
        yield f"\n{'#' * level} {context.command_path}\n"
        yield from _described(command, context)
        if isinstance(command, click.Group):
            yield from _commands(command, context, level + 1)


def _described(command: click.Command, context: click.Context) -> Iterator[str]:
    yield _text(command.help)
    usage = " ".join(command.collect_usage_pieces(context))
    yield f"\n```text\n{context.command_path} {usage}\n```\n"
    records = [param.get_help_record(context) for param in command.get_params(context)]
    # The usage names the arguments already.
    rows = [record for record in records if record and record[1] and "--help" not in record[0]]
    if rows:
        yield "| option | meaning |\n|---|---|"
        yield from (f"| `{names}` | {_cell(text)} |" for names, text in rows)
    yield f"\n{_text(command.epilog)}\n"


def _cell(text: str) -> str:
    return text.replace("|", r"\|").replace("<", "&lt;")


def _text(text: str | None) -> str:
    """Return help as Markdown: what click keeps as it is becomes a block of code."""
    paragraphs = inspect.cleandoc(text or "").split("\n\n")
    return "\n\n".join(_paragraph(each) for each in paragraphs)


def _paragraph(text: str) -> str:
    if text.startswith("\b"):
        lines = text.removeprefix("\b").strip("\n").splitlines()
        title, code = lines[0], [line.strip() for line in lines[1:]]
        return f"{title}\n\n```bash\n" + "\n".join(code) + "\n```"
    if text.startswith("Example: "):
        return f"Example:\n\n```bash\n{' '.join(text.removeprefix('Example: ').split())}\n```"
    return text
