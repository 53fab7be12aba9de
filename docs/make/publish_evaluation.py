"""Put the tables of an evaluation into README.md and docs/.

    python docs/make/publish_evaluation.py --report build/evaluation [--town newport_gb]

With `--town` also what was measured of this town alone, as the one that is held out. Where there is
a report in REPORT/TOWN, also across its own blocks. In README.md and docs/evaluation.md the tables
stand between two markers; `make evaluate-docs` runs this after `loc2vec evaluate`.
"""

from pathlib import Path

import click
from page import made, publish

from loc2vec.evaluation.report.summary import Grid, Values, summary
from loc2vec.evaluation.report.table import (
    facts,
    grid,
    margins,
    markdown,
    of_town,
    table,
    town_grid,
)
from tiling.files.atomic import read_json, write_text

ROOT = Path(__file__).parent.parent.parent
BEGIN, END = "<!-- evaluation: written by `make evaluate-docs` -->", "<!-- end of evaluation -->"
RIVALS = ("channel means", "means of scales and middle", "tag counts")

Pieces = list[tuple[str, Grid]]


@click.command()
@click.option(
    "--report",
    type=click.Path(path_type=Path),
    required=True,
    help="What `loc2vec evaluate --out` wrote.",
)
@click.option("--town", help="Tell the scores of this town alone as well.")
def main(report: Path, town: str | None) -> None:
    """Write the tables."""
    values = read_json(report / "results.json")
    within = report / (town or "") / "results.json"
    alone = read_json(within) if town and within.exists() else None
    beside = ahead(values, alone, town)
    publish(ROOT / "README.md", BEGIN, END, f"\n{markdown(short(values))}\n")
    stamp = made(report / "results.json")
    publish(ROOT / "docs" / "evaluation.md", BEGIN, END, f"\n{stamp}\n{blocks(beside)}")
    heading = (
        "# The evaluation in full\n\n"
        "`make evaluate-docs` writes this page. "
        "[Evaluation](evaluation.md) explains the method.\n\n"
        f"{stamp}\n\n"
    )
    more = blocks(of_one(values, alone, town)) if town else ""
    write_text(ROOT / "docs" / "evaluation_table.md", f"{heading}{table(values)}\n{more}")
    sample = "\n".join(f"- {facts(task)}" for task in values["tasks"])
    print(
        f"README.md, docs/evaluation.md and docs/evaluation_table.md hold the tables of\n{sample}"
    )


def short(values: Values) -> Grid:
    """Return the lines of the summary that are of models, and of the baselines in RIVALS."""
    head, *rows = summary(values)
    return [
        head,
        *(row for row in rows if values["methods"][row[0]] == "model" or row[0] in RIVALS),
    ]


def ahead(values: Values, alone: Values | None, town: str | None) -> Pieces:
    """Return the tables that compare the models with the baselines."""
    pieces = [
        ("Across towns", margins(values, "towns")),
        ("The mean of the towns' own scores, each held out", margins(values, "towns", of_town())),
        ("Across blocks of 1 km, all towns", margins(values, "blocks")),
    ]
    if town:
        pieces.append((f"{town} alone, held out", margins(values, "towns", of_town(town))))
    if alone:
        pieces.append((f"{town} alone, across its blocks", margins(alone, "blocks")))
    return pieces


def of_one(values: Values, alone: Values | None, town: str) -> Pieces:
    """Return the tables of one town."""
    pieces = [(f"Tested on {town} alone, trained on other towns", town_grid(values, town))]
    if alone:
        across = f"{town} alone across its blocks of 1 km"
        pieces.append((f"{across}, logistic or ridge regression", grid(alone, "blocks", "linear")))
        pieces.append((f"{across}, nearest neighbours", grid(alone, "blocks", "knn")))
    return pieces


def blocks(pieces: Pieces) -> str:
    """Write tables below their titles; those without rows are left out."""
    return "".join(f"\n{title}:\n\n{markdown(rows)}\n" for title, rows in pieces if rows)


if __name__ == "__main__":
    main()
