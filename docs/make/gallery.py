"""Make docs/gallery.md and its pictures of the figures in gallery.toml.

    make gallery
    make gallery EXTRACTS="a.osm.pbf b.osm.pbf"

A figure is made if the store holds the extract that it needs. The store, the index and the pictures
of an earlier run in --work are used again.
"""

import argparse
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from page import made
from tqdm import tqdm

from loc2vec.embed.batch import embed
from loc2vec.embed.files import write_vectors
from loc2vec.encoder import LocationEncoder
from service.explore.open import sample_evenly
from service.index.index import NeighborIndex
from tiling.catalogue.catalogue import load_catalogue
from tiling.errors import UserError
from tiling.files.atomic import write_text
from tiling.store.store import Store
from tiling.values import ATTRIBUTION

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"
FIGURES = Path(__file__).with_name("gallery.toml")
SMALL = 6  # extracts, the smallest, whose ways are looked at
PLACES_EACH = 600  # of the sample, of each extract


HEAD = """\
# Gallery

What `{model}` has learned, in pictures, from {extracts} of OpenStreetMap. \
`make gallery EXTRACTS="..."` makes this page. With the bundled extract alone it makes the figures \
for which Monaco is enough.

Each command writes a page (.html) beside the picture. It needs no network: tiles open into their \
channels, clouds turn, maps move.

{made} Map data {attribution}. Tiles are 200 m × 200 m, north up.

Three towns at two dates, before and after: [What has changed here](changes.md#towns-looked-at).
"""


class Figure(NamedTuple):
    """A figure as it stands in gallery.toml."""

    name: str
    title: str
    command: str
    caption: str
    about: str = ""


def main() -> None:
    """Make the gallery."""
    given = _arguments()
    store = _store(given.extracts, given.work)
    index = _index(store, given.model, given.work)
    with store.open() as source:
        regions = set(source.regions)
    chosen = figures_for(regions)
    options = {
        "STORE": ["--store", str(store)],
        "INDEX": ["--index", str(index)],
        "MODEL": ["--model", given.model],
        "SMALL": [str(path) for path in _smallest(given.extracts)],
    }
    files = {path.name.split(".")[0]: path for path in given.extracts}
    for figure in tqdm(chosen, unit=" figures"):
        if not given.only or figure.name in given.only:
            extract = {"EXTRACT": [str(files.get(figure.about))]}
            _make(figure, options | extract, given.work / "figures")
    write_text(DOCS / "gallery.md", _page(chosen, given.model, len(regions)))


def figures_for(regions: Collection[str]) -> list[Figure]:
    """Return the figures that a store of these regions is enough for, one of each name."""
    chosen: dict[str, Figure] = {}
    for values in tomllib.loads(FIGURES.read_text(encoding="utf-8"))["figure"]:
        figure = Figure(**values)
        if not figure.about or figure.about in regions:
            chosen.setdefault(figure.name, figure)
    return list(chosen.values())


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("extracts", nargs="+", type=Path)
    parser.add_argument("--model", default="loc2vec-16-nce")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "gallery")
    note = "make these pictures anew, no others"
    parser.add_argument("--only", nargs="+", default=[], metavar="FIGURE", help=note)
    return parser.parse_args()


def _smallest(extracts: list[Path]) -> list[Path]:
    return sorted(extracts, key=lambda path: path.stat().st_size)[:SMALL]


def _store(extracts: list[Path], work: Path) -> Store:
    store = Store.at(work / "extracts.gpkg")
    if not store.holds(extracts, load_catalogue()):
        store.import_extracts(extracts, load_catalogue())
    return store


def _index(store: Store, model: str, work: Path) -> Path:
    """Return an index of a sample of the store, even over its extracts."""
    folder = work / f"{model}.index"
    encoder = LocationEncoder.load(model)
    if folder.exists() and NeighborIndex.open(folder).model == encoder.model_id:
        return folder
    with store.open() as source:
        places = sample_evenly(source, PLACES_EACH * len(source.regions))
        with tqdm(total=len(places), unit=" places", desc="embed") as bar:
            vectors = embed(source, encoder, places, 0, bar.update)
    write_vectors(work / f"{model}.parquet", vectors)
    NeighborIndex.build(vectors, folder)
    return folder


def _make(figure: Figure, options: dict[str, list[str]], folder: Path) -> None:
    """Run the command of a figure and put its pictures into docs/gallery."""
    words = [part for word in shlex.split(figure.command) for part in options.get(word, [word])]
    out = folder / figure.name
    command = [sys.executable, "-m", "loc2vec", "explore", *words, "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        raise UserError(f"{figure.name}: {done.stderr.strip().splitlines()[-1]}")
    (DOCS / "gallery").mkdir(exist_ok=True)
    for suffix in (".png", ".webp"):
        if (
            picture := out.with_name(out.name + suffix)
        ).exists() and figure.name + suffix != "tsne.webp":
            shutil.copyfile(picture, DOCS / "gallery" / picture.name)


def _page(figures: list[Figure], model: str, extracts: int) -> str:
    when = made(DOCS / _picture(figures[0]))
    count = f"{extracts} extract{'s' * (extracts != 1)}"
    head = HEAD.format(model=model, extracts=count, attribution=ATTRIBUTION, made=when)
    return "\n".join([head, *(_section(figure, model) for figure in figures)])


def _section(figure: Figure, model: str) -> str:
    shown = {
        "SMALL": "*.osm.pbf",
        "EXTRACT": f"{figure.about}.osm.pbf",
        "STORE": "--store extracts.gpkg",
        "INDEX": "--index extracts.index",
        "MODEL": f"--model {model}",
    }
    command = re.sub("|".join(shown), lambda found: shown[found[0]], figure.command)
    return (
        f"## {figure.title}\n\n![{figure.title}]({_picture(figure)})\n\n{figure.caption}\n\n"
        f"```\nloc2vec explore {command}\n```\n"
    )


def _picture(figure: Figure) -> str:
    return f"gallery/{figure.name}.{'webp' if figure.name == 'pca' else 'png'}"


if __name__ == "__main__":
    main()
