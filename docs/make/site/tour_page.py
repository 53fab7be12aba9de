"""The tutorial: the notebook as it was run, with its pictures."""

from collections.abc import Iterator
from pathlib import Path

from nbconvert import MarkdownExporter

TOUR = "docs/tour.ipynb"


def tour_page(notebook: Path) -> Iterator[tuple[str, str | bytes]]:
    """Yield the page and its pictures, each with its path on the site."""
    exporter = MarkdownExporter()  # type: ignore[no-untyped-call]
    body, resources = exporter.from_filename(str(notebook))
    yield "tour.md", body
    yield from resources["outputs"].items()
