"""Where peers read places and write vectors: one folder for each set of blanked channels.

A task blanks the channels that draw its answer, for every method; so a peer makes vectors without
these channels, too.
"""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from loc2vec.embed.files import Vectors, write_vectors
from loc2vec.evaluation.tasks.osm import RECIPES
from tiling.catalogue.catalogue import load_catalogue

Blank = tuple[int, ...]  # channels


def folder_of(blank: Blank) -> str:
    """Return the folder of the vectors that do not know of these channels."""
    return "without-" + "-".join(map(str, blank)) if blank else "with-all"


def file_of_task(report: Path, name: str) -> Path:
    """Return where a report of `loc2vec evaluate` keeps the places of a task."""
    return report / "places" / f"{name.replace(' ', '-')}.parquet"


def places_of(report: Path) -> dict[Blank, NDArray[np.float64]]:
    """Return the places (lon, lat) float64 [n, 2] of a report, by what their tasks blank."""
    found: dict[Blank, list[NDArray[np.float64]]] = {}
    for name, recipe in RECIPES.items():
        path = file_of_task(report, name)
        if path.exists():
            table = pq.read_table(path, columns=["lon", "lat"])
            found.setdefault(load_catalogue().with_role(*recipe.blank), []).append(
                np.stack([table["lon"].to_numpy(), table["lat"].to_numpy()], 1)
            )
    return {blank: np.unique(np.concatenate(parts), axis=0) for blank, parts in found.items()}


def write_peer(
    out: Path, blank: Blank, name: str, places: NDArray[np.float64], vectors: NDArray[np.float32]
) -> None:
    """Write the vectors of places as `loc2vec evaluate --vectors` reads them."""
    path = out / folder_of(blank) / f"{name}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_vectors(path, Vectors(places[:, 1], places[:, 0], vectors, None, name, ""))
    print(f"{path}: {len(vectors)} vectors of {vectors.shape[1]}", flush=True)
