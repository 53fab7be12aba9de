"""Put the table of encoders into docs/encoders.md.

    python docs/make/publish_encoders.py build/encoders/nce-100/table.md

benchmarks/encoders.py writes the table. `make encoders PUBLISH=1` runs both.
"""

from pathlib import Path

import click
from page import made, publish

PAGE = Path(__file__).parent.parent / "encoders.md"
BEGIN, END = "<!-- encoders: written by `make encoders` -->", "<!-- end of encoders -->"


@click.command()
@click.argument("table", type=click.Path(path_type=Path, exists=True))
def main(table: Path) -> None:
    """Replace the table of docs/encoders.md."""
    publish(PAGE, BEGIN, END, f"\n{made(table)}\n\n{table.read_text(encoding='utf-8')}")


if __name__ == "__main__":
    main()
