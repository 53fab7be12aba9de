"""How a page of the docs takes in a text that a program made."""

from pathlib import Path

import click

from tiling.files.atomic import write_text


def publish(path: Path, begin: str, end: str, text: str) -> None:
    """Replace what stands between two lines of a page by `text`."""
    before, begun, rest = path.read_text(encoding="utf-8").partition(begin)
    _, ended, after = rest.partition(end)
    if not (begun and ended):
        raise click.ClickException(
            f"{path} lacks the lines between which the tables go: {begin} and {end}"
        )
    write_text(path, f"{before}{begin}\n{text}\n{end}{after}")
