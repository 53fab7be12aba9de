"""Print how long the sentences of the docs are, in words, and show those that are too long.

python docs/make/sentences.py              # all pages of the root and of docs/
python docs/make/sentences.py docs/sql.md  # these pages alone
"""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]
FOLDERS = ("docs", "docs/concepts", "docs/howto", "docs/reference", "docs/log")
TOO_LONG = 25  # words
# A small letter begins no sentence, but code may.
END = re.compile(r"(?<=[.!?])[)*\"']*\s+(?=[^a-z])")


class Lengths(NamedTuple):
    """Sentences, and of their words the median, the 90th percentile and the most."""

    number: int
    median: float
    tenth: float
    longest: int


def pages() -> list[Path]:
    """Return the pages that people read, apart from those that the build of the site makes."""
    found = [page for folder in FOLDERS for page in sorted((ROOT / folder).glob("*.md"))]
    return [*sorted(ROOT.glob("[A-Z]*.md")), *found, ROOT / "docs/tour.ipynb"]


def read(page: Path) -> str:
    """Return the Markdown of a page; of a notebook that of its cells."""
    text = page.read_text(encoding="utf-8")
    if page.suffix != ".ipynb":
        return text
    told = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "markdown"]
    return "\n\n".join("".join(cell["source"]) for cell in told)


def prose(text: str) -> list[str]:
    """Return the sentences of the paragraphs and lists of Markdown.

    >>> prose("# A heading\\n\\nIt has `one or two` words. It has more.\\n\\n- an item")
    ['It has `one_or_two` words.', 'It has more.', 'an item']
    """
    return [each for opened, told in _texts(text) if opened == "paragraph_open" for each in told]


def too_long(text: str) -> list[str]:
    """Return the sentences of more than 25 words, also those in tables and headings."""
    return [each for _, told in _texts(text) for each in told if words(each) > TOO_LONG]


def words(sentence: str) -> int:
    """Return the number of words; signs that stand alone are none.

    >>> words("A tile is 200 m wide - or more.")
    8
    """
    return sum(any(sign.isalnum() for sign in word) for word in sentence.split())


def lengths(sentences: Sequence[str]) -> Lengths:
    """Return how long the sentences are.

    >>> lengths(["One.", "It has four words.", "It has two."])
    Lengths(number=3, median=3.0, tenth=3.8, longest=4)
    """
    counts = [words(each) for each in sentences]
    median, tenth = np.percentile(counts, [50, 90]).tolist()
    return Lengths(len(counts), median, round(tenth, 1), max(counts))


def _texts(text: str) -> Iterator[tuple[str, list[str]]]:
    """Yield what opens each part of the text, and its sentences. Blocks of code have none."""
    opened = ""
    for token in MarkdownIt().enable("table").parse(text):
        if token.type == "inline":
            yield opened, [each for each in END.split(_shown(token)) if words(each)]
        opened = token.type


def _shown(token: Token) -> str:
    """Return what a reader sees of a text. Code counts as one word."""
    shown = ""
    for part in token.children or ():
        if part.type == "code_inline":
            shown += "`" + re.sub(r"\s+", "_", part.content) + "`"
        elif part.type == "text":
            shown += part.content
        elif part.type in ("softbreak", "hardbreak"):
            shown += " "
    return " ".join(shown.split())


def _print(name: str, sentences: Sequence[str]) -> None:
    found = lengths(sentences)
    click.echo(f"{found.number:9} {found.median:6.1f} {found.tenth:6.1f} {found.longest:7}  {name}")


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(exists=True, path_type=Path))
def main(paths: tuple[Path, ...]) -> None:
    """Print the lengths of sentences page by page, and the sentences of more than 25 words."""
    chosen = [path.resolve() for path in paths] or pages()
    click.echo("sentences median  tenth longest")
    for page in chosen:
        _print(str(page.relative_to(ROOT)), prose(read(page)))
    _print("all of them", [each for page in chosen for each in prose(read(page))])
    for page in chosen:
        for sentence in too_long(read(page)):
            click.echo(f"{page.relative_to(ROOT)}: {words(sentence)} words: {sentence}")


if __name__ == "__main__":
    main()
