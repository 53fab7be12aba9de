"""The tour runs from its first cell to its last, and what is committed was made by running it."""

import re
from pathlib import Path

import nbformat
from nbclient import NotebookClient

TOUR = Path(__file__).parent.parent / "docs" / "tour.ipynb"


def shown(cell: nbformat.NotebookNode) -> list[str]:
    """Return the kinds of a cell's outputs; what is written in several pieces is one stream."""
    kinds = [output.output_type for output in cell.get("outputs", [])]
    return [
        kind
        for kind, before in zip(kinds, ["", *kinds], strict=False)
        if kind != "stream" or before != "stream"
    ]


def test_the_tour_runs() -> None:
    notebook = nbformat.read(TOUR, as_version=4)
    committed = [shown(cell) for cell in notebook.cells]
    NotebookClient(
        notebook,
        timeout=200,
        kernel_name="python3",
        resources={"metadata": {"path": str(TOUR.parent.parent)}},
    ).execute()
    assert [shown(cell) for cell in notebook.cells] == committed
    pictures = [
        o
        for cell in notebook.cells
        for o in cell.get("outputs", [])
        if "image/png" in o.get("data", {})
    ]
    assert len(pictures) >= 5


def test_the_committed_tour_shows_no_path_of_a_machine() -> None:
    text = TOUR.read_text(encoding="utf-8")
    without_pictures = re.sub(r'"image/png": "[^"]*"', "", text)
    assert not re.search(r"/(tmp|home|root|work|Users)/", without_pictures)
    assert "Traceback" not in text
    assert len(text) < 700_000
