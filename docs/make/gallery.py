"""Make docs/gallery.md and its pictures: `make gallery`, or `make gallery EXTRACTS="a.osm.pbf b.osm.pbf"`.

A figure is made where the store holds the extract that it is about; of two figures of one name, the
first that can be is. What an earlier run left in --work - store, index, pictures - is used again.
"""

import argparse
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from loc2vec.embed.batch import embed
from loc2vec.embed.files import write_vectors
from loc2vec.encoder import LocationEncoder
from service.explore.open import sample_evenly
from service.index.index import NeighborIndex
from tiling.catalogue import load_catalogue
from tiling.errors import UserError
from tiling.files.atomic import write_text
from tiling.store.store import Store
from tiling.values import ATTRIBUTION

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"
SMALL = 6  # extracts, the smallest, whose ways are looked at
PLACES_EACH = 600  # of the sample, of each extract


class Figure(NamedTuple):
    """A figure: its file, the extract it is about ("" for any), its title, the command, and what is seen in it.

    In the command STORE, INDEX and MODEL stand for the options, EXTRACT for the file of that
    extract, SMALL for some.
    """

    name: str
    about: str
    title: str
    command: str
    caption: str


FIGURES = (
    Figure(
        "map",
        "monaco",
        "The map",
        "map STORE MODEL --bbox 7.4085,43.7230,7.4440,43.7520 --grid 40 --title Monaco",
        "Every place of a 40 m grid in the colours of its vector, over the streets; the tiles say what the ends "
        "of each component are. Streets and houses are blue, the old town on its rock and the quarter round "
        "the stadium pink, the hillside brown, the sea green; the rim of the extract, where the map is empty, is a "
        "kind of its own (gold). The command writes a GeoTIFF and map tiles, too.",
    ),
    Figure(
        "pca",
        "newport_gb",
        "The space, by principal components",
        "pca STORE INDEX MODEL --count 700",
        "From the dense centres on one side to scattered houses and empty land on the other, with parks and woods"
        " below: the space has no islands, kinds of place run into each other. The page that the command writes "
        "can be turned.",
    ),
    Figure(
        "pca",
        "",
        "The space, by principal components",
        "pca STORE INDEX MODEL --count 700",
        "Every point is the tile of its place; the page that the command writes can be turned.",
    ),
    Figure(
        "tsne",
        "newport_gb",
        "The space, by t-SNE",
        "tsne STORE INDEX MODEL --count 700",
        "The same places by t-SNE, which looks after neighbourhoods: centres, suburbs, woods and waterfronts gather.",
    ),
    Figure(
        "tsne",
        "",
        "The space, by t-SNE",
        "tsne STORE INDEX MODEL --count 700",
        "The same places by t-SNE, which looks after neighbourhoods.",
    ),
    Figure(
        "lda",
        "",
        "Classes of way",
        "lda SMALL STORE MODEL --per-class 200",
        "Places that the directions were not fitted on. Motorways and railways lie apart, residential streets and "
        "footpaths overlap: what runs through the same blocks looks alike from 200 m. Ways are drawn in the tiles, so "
        "this shows what the vectors keep, not what they guess.",
    ),
    Figure(
        "walk",
        "newport_gb",
        "Random walks",
        "walk 51.58,-2.99 STORE INDEX MODEL --min-distance-m 50000",
        "From a terraced quarter of Newport, which no model was trained on, each step to one of the five places "
        "nearest in the space that are at least 50 km away: streets closely built with long houses, in seven "
        "countries. A walk drifts with every step: the first one ends among blocks of flats in Ankara.",
    ),
    Figure(
        "walk",
        "monaco",
        "Random walks",
        "walk 'Rue Grimaldi' STORE INDEX MODEL --min-distance-m 300",
        "Each step goes to one of the five places nearest in the space that are at least 300 m away.",
    ),
    Figure(
        "interpolate",
        "porto_pt",
        "From a suburb to a city",
        "interpolate 'Sun City West' 41.1504,-8.6056 STORE INDEX MODEL",
        "Equal steps from a suburb in Arizona to a street in Porto: the streets grow wider, the houses join and fill "
        "the block. Half-way there is no real place near the line (d 3.89): a main road by a channel stands for it.",
    ),
    Figure(
        "interpolate",
        "monaco",
        "Between two places",
        "interpolate 43.7384,7.4246 43.7277,7.4157 STORE INDEX MODEL",
        "Equal steps between two vectors, each shown as the nearest real place.",
    ),
    Figure(
        "arithmetic",
        "dreieich_de",
        "Sums of places",
        "arithmetic '49.5207,11.2648 - 50.0157,11.5052 + 50.0083,8.7111' STORE INDEX MODEL",
        "Houses in the green, less houses without it, plus closer rows: closer rows in the green. No operand, and "
        "nothing within 200 m of one, may be an answer. It is chosen among many: most sums do not come out so clean.",
    ),
    Figure(
        "arithmetic",
        "monaco",
        "Sums of places",
        "arithmetic '43.7384,7.4246 - 43.7347,7.4213 + 43.7277,7.4157' STORE INDEX MODEL",
        "Three places of one small town leave little to find: with more extracts sums say more.",
    ),
    Figure(
        "clusters",
        "monaco",
        "Kinds of place",
        "clusters EXTRACT STORE MODEL --bbox 7.4085,43.7230,7.4440,43.7520 --grid 50 --title Monaco",
        "k-means of a 50 m grid, named by the tags that are near the places of a kind more often than near all. The "
        "sea, the hillside, two kinds of street, and the rock and gardens by the water come apart; the empty rim of "
        "the extract has nothing of its own, and its name says little. The command writes GeoParquet and GeoJSON, too.",
    ),
    Figure(
        "equal-histograms",
        "newport_gb",
        "As much of everything, and yet of another kind",
        "equal-histograms STORE INDEX MODEL --pairs 6",
        "What a table of land cover cannot tell apart, and the vectors can: single houses and blocks, a street that "
        "winds and a grid, a suburb and a village.",
    ),
    Figure(
        "equal-histograms",
        "",
        "As much of everything, and yet of another kind",
        "equal-histograms STORE INDEX MODEL --pairs 6",
        "What a table of land cover cannot tell apart, and the vectors can.",
    ),
    Figure(
        "why",
        "monaco",
        "Why two places are alike or different",
        "why 43.7347,7.4213 43.7384,7.4246 STORE MODEL",
        "Each channel is emptied in both tiles at once, and the distance taken again: paths and buildings bring these "
        "two together, residential and civic land sets them apart.",
    ),
    Figure(
        "saliency",
        "monaco",
        "What a vector depends on",
        "saliency 'Rue Grimaldi' STORE MODEL",
        "Squares of 38 m and whole channels are emptied. Buildings count most, and most where they are unlike the"
        " rest; the maps are blurred by the size of the squares.",
    ),
    Figure(
        "filters-low",
        "",
        "What filters of a low layer look for",
        "filters MODEL --layer features.7 --count 32",
        "The third convolution sees ten pixels, 16 m: edges and corners at which one channel gives way to "
        "another. None is dead. Colours stand for other channels in each picture.",
    ),
    Figure(
        "filters-high",
        "",
        "What filters of a high layer look for",
        "filters MODEL --layer features.22 --count 64",
        "The last convolution sees 48 pixels, 75 m: stripes, grids and rings of buildings, paths and rails; one"
        " of the 64 is dead. These are no places: there is nothing like them on a map, and much of it is noise.",
    ),
)


def main() -> None:
    """Make the gallery."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("extracts", nargs="+", type=Path)
    parser.add_argument("--model", default="loc2vec-16-nce")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "gallery")
    parser.add_argument(
        "--only",
        nargs="+",
        default=[],
        metavar="FIGURE",
        help="make these pictures anew, no others",
    )
    given = parser.parse_args()
    store = _store(given.extracts, given.work)
    index = _index(store, given.model, given.work)
    with store.open() as source:
        regions = set(source.regions)
    known = {path.name.split(".")[0]: path for path in given.extracts}
    chosen: dict[str, Figure] = {}
    for figure in FIGURES:
        if not figure.about or figure.about in regions:
            chosen.setdefault(figure.name, figure)
    for figure in tqdm(chosen.values(), unit=" figures"):
        if given.only and figure.name not in given.only:
            continue
        options = {
            "STORE": ["--store", str(store)],
            "INDEX": ["--index", str(index)],
            "MODEL": ["--model", given.model],
            "EXTRACT": [str(known.get(figure.about))],
            "SMALL": [
                str(path)
                for path in sorted(given.extracts, key=lambda path: path.stat().st_size)[:SMALL]
            ],
        }
        _make(figure, options, given.work / "figures")
    write_text(DOCS / "gallery.md", _page(list(chosen.values()), given.model, len(regions)))


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
        vectors = embed(store, encoder, places, 0, bar.update)
    write_vectors(work / f"{model}.parquet", vectors)
    NeighborIndex.build(vectors, folder)
    return folder


def _make(figure: Figure, options: dict[str, list[str]], folder: Path) -> None:
    """Run the command of a figure and put its pictures into docs/gallery."""
    words = [part for word in shlex.split(figure.command) for part in options.get(word, [word])]
    out = folder / figure.name
    command = [sys.executable, "-m", "service.cli.main", "explore", *words, "--out", str(out)]
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
    parts = [
        f"# Gallery\n\nWhat `{model}` has learned, in pictures, from {extracts} OpenStreetMap extract(s). "
        '`make gallery EXTRACTS="..."` makes this page. Each command writes a page (.html) beside the picture, '
        "which needs no network: tiles open into their channels, clouds turn, maps move. With the bundled extract "
        f"alone, those figures are made that Monaco is enough for.\n\nMap data {ATTRIBUTION}. Tiles are 200 m × 200 m, "
        "north up.\n"
    ]
    for figure in figures:
        command = figure.command.replace("SMALL", "*.osm.pbf").replace(
            "EXTRACT", f"{figure.about}.osm.pbf"
        )
        command = command.replace("STORE", "--store extracts.gpkg").replace(
            "INDEX", "--index extracts.index"
        )
        moving = "webp" if figure.name == "pca" else "png"
        parts.append(
            f"## {figure.title}\n\n![{figure.title}](gallery/{figure.name}.{moving})\n\n{figure.caption}\n\n"
            f"```\nloc2vec explore {command.replace('MODEL', f'--model {model}')}\n```\n"
        )
    return "\n".join(parts)


if __name__ == "__main__":
    main()
