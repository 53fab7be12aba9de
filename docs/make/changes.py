"""The strongest changes of a page of `loc2vec changes` as one picture, for docs/gallery.md.

python docs/make/changes.py changes.html --out docs/gallery/changes-uden.webp
"""

import base64
import html
import io
import re
import textwrap
from pathlib import Path

import click
from PIL import Image, ImageDraw, ImageFont

ROW = re.compile(r"<h2>(\d+\. [^<]*)</h2>(.*?)(?=<h2>|</body>|$)", re.DOTALL)
PICTURE = re.compile(r'<img src="data:image/\w+;base64,([^"]+)" alt="(?:before|after)')
SIDE, GAP, TEXT, COLUMNS = 128, 8, 56, 2


def rows_of(text: str) -> list[tuple[str, list[Image.Image]]]:
    """Return the titles of the changes, and their tiles before and after."""
    found = []
    for title, body in ROW.findall(text):
        data = [base64.b64decode(each) for each in PICTURE.findall(body)[:2]]
        pictures = [Image.open(io.BytesIO(each)).convert("RGB") for each in data]
        if len(pictures) == 2:
            found.append((html.unescape(title), pictures))
    return found


@click.command()
@click.argument("page", type=click.Path(exists=True, path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True)
def main(page: Path, out: Path) -> None:
    """Write the picture."""
    rows = rows_of(page.read_text(encoding="utf-8"))
    wide, high = 2 * SIDE + 3 * GAP, SIDE + TEXT + GAP
    sheet = Image.new("RGB", (COLUMNS * wide, -(-len(rows) // COLUMNS) * high + GAP), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for number, (title, pictures) in enumerate(rows):
        x, y = number % COLUMNS * wide + GAP, number // COLUMNS * high + GAP
        pen.text((x, y), textwrap.fill(title, 46), (40, 40, 40), font)
        for place, picture in enumerate(pictures):
            sheet.paste(picture.resize((SIDE, SIDE)), (x + place * (SIDE + GAP), y + TEXT - GAP))
    sheet.save(out, quality=80)
    print(f"{len(rows)} changes in {out}")


if __name__ == "__main__":
    main()
