"""Put the tables of an evaluation where people read them: one in README.md, all in docs/evaluation_table.md.

    python benchmarks/publish_evaluation.py --report build/evaluation [--town newport_gb]

The README's table stands between two markers; `make evaluate-docs` runs this after `loc2vec evaluate`.
"""

from pathlib import Path

import click

from loc2vec.evaluation.table import Rows, facts, grid, markdown, table, town_grid
from tiling.files import read_json, write_text

ROOT = Path(__file__).parent.parent
BEGIN, END = "<!-- evaluation: written by `make evaluate-docs` -->", "<!-- end of evaluation -->"


@click.command()
@click.option("--report", type=click.Path(path_type=Path), required=True, help="What `loc2vec evaluate --out` wrote.")
@click.option("--town", help="Tell the scores of this town alone as well.")
def main(report: Path, town: str | None) -> None:
    """Write the tables."""
    values = read_json(report / "results.json")
    across = [("Across towns, logistic or ridge regression", grid(values, "towns", "linear"))]
    alone = [(f"Tested on {town} alone", town_grid(values, town))] if town else []
    readme = ROOT / "README.md"
    before, _, rest = readme.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    write_text(readme, f"{before}{BEGIN}\n{_blocks(across)}\n{END}{after}")
    sample = "\n".join(f"- {facts(task)}" for task in values["tasks"])
    heading = "# The evaluation in full\n\nWritten by `make evaluate-docs`; docs/evaluation.md explains the method.\n\n"
    write_text(ROOT / "docs" / "evaluation_table.md", f"{heading}{table(values)}\n{_blocks(alone)}")
    print(f"{readme.name} and docs/evaluation_table.md hold the tables of\n{sample}")


def _blocks(pieces: list[tuple[str, Rows]]) -> str:
    return "".join(f"\n{title}:\n\n{markdown(rows)}\n" for title, rows in pieces if rows)


if __name__ == "__main__":
    main()
