"""What benchmarks print: rows of numbers, as a table or as JSON."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field


@dataclass(frozen=True)
class Row:
    """One way of doing the work: its rate, the ratio to the first way, and further columns."""

    method: str
    tiles_per_s: float
    ratio: float
    more: Mapping[str, float] = field(default_factory=dict)


def rows_of(
    rates: Mapping[str, float], more: Mapping[str, Mapping[str, float]] | None = None
) -> list[Row]:
    """Turn tiles per second by method into rows; the first method is the measure of the others."""
    first = next(iter(rates.values()))
    return [
        Row(name, round(rate, 1), round(rate / first, 2), (more or {}).get(name, {}))
        for name, rate in rates.items()
    ]


def show(title: str, rows: Sequence[Row], as_json: bool) -> None:
    """Print the rows."""
    if as_json:
        print(json.dumps([asdict(row) for row in rows]))
        return
    print(
        f"{title:<46}{'tiles/s':>10}{'ratio':>8}" + "".join(f"{name:>13}" for name in rows[0].more)
    )
    for row in rows:
        extra = "".join(f"{value:>13.2%}" for value in row.more.values())
        print(f"{row.method:<46}{row.tiles_per_s:>10.1f}{row.ratio:>8.2f}{extra}")
