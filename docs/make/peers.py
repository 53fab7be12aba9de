"""Peers: srai's CountEmbedder, Hex2Vec and GeoVex on H3 cells, of the same extracts and tags.

    python -m venv build/peers-venv && build/peers-venv/bin/pip install -e '.[evaluate]' -r
    docs/make/peers.txt build/peers-venv/bin/python docs/make/peers.py extracts/*.osm.pbf
    --without newport_gb --report REPORT --out PEERS

https://github.com/kraina-ai/srai (Hex2Vec: arXiv 2111.00970; GeoVex: Donghi and Morvan 2023). A
cell counts the objects that touch it by each tag that our channels draw. srai's own list of tags
holds those that are to be predicted, too, so it is not used. As tasks blank channels, the vectors
are made once for each set of blanked channels. Each set has a folder of its own: PEERS/with-all,
PEERS/without-11, PEERS/without-6-7-8-9-10-11. docs/make/add_peers.py reads them. Hex2Vec and GeoVex
are fitted with srai's own settings (three epochs). They see `--fit` cells with a building, drawn at
random from all extracts but those of `--without`. Vectors are those of the cells that hold a place
of a report of `loc2vec evaluate`, and stand there.
"""

import time
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

import click
import geopandas as gpd
import h3
import numpy as np
import pandas as pd
import pytorch_lightning as lightning
import shapely
from numpy.typing import NDArray
from peer_files import folder_of, places_of, write_peer
from srai.embedders import CountEmbedder, GeoVexEmbedder, Hex2VecEmbedder
from srai.h3 import h3_to_geoseries, ring_buffer_h3_indexes
from srai.joiners import IntersectionJoiner
from srai.neighbourhoods import H3Neighbourhood

from tiling.catalogue.catalogue import load_catalogue
from tiling.osm.extract import OsmObject, read_objects

RADIUS = 4  # rings of neighbours that GeoVex reads: srai's own setting
EPOCHS = 3  # likewise
TRAINER = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "max_epochs": EPOCHS,
}

Tables = tuple[gpd.GeoDataFrame, gpd.GeoDataFrame, pd.DataFrame]  # regions, features, joint


def drawn_objects(path: Path) -> list[OsmObject]:
    """Read the objects of an extract that are drawn."""
    catalogue = load_catalogue()
    return [item for item in read_objects(path, catalogue, sorted(catalogue.keys)) if item.drawn]


def features_of(objects: Iterable[OsmObject], blank: Sequence[int]) -> gpd.GeoDataFrame:
    """Return objects with a column for each key of their tags, outside the channels of `blank`."""
    rows, wkb = [], []
    for item in objects:
        tags = [tag.partition("=") for channel, tag in item.drawn if channel not in blank]
        if tags:
            rows.append({key: value or "yes" for key, _, value in tags})
            wkb.append(item.wkb)
    return gpd.GeoDataFrame(pd.DataFrame(rows), geometry=shapely.from_wkb(wkb), crs="EPSG:4326")


def cells_of(lon_lat: NDArray[np.float64], resolution: int) -> list[str]:
    """Return the cell of each point, [n, 2]."""
    return [h3.latlng_to_cell(lat, lon, resolution) for lon, lat in lon_lat.tolist()]


def built(features: gpd.GeoDataFrame, resolution: int) -> set[str]:
    """Return the cells that the middle of a building lies in."""
    middles = shapely.centroid(features.geometry[features["building"].notna()].to_numpy())
    return set(cells_of(shapely.get_coordinates(middles), resolution))


def joined(cells: Iterable[str], features: gpd.GeoDataFrame) -> Tables:
    """Return srai's three tables for these cells."""
    indexes = sorted(cells)
    regions = gpd.GeoDataFrame(
        geometry=h3_to_geoseries(indexes).to_numpy(), index=indexes, crs="EPSG:4326"
    )
    regions.index.name, features.index.name = "region_id", "feature_id"
    return regions, features, IntersectionJoiner().transform(regions, features)


def counts(_seen: set[str], wanted: set[str], features: gpd.GeoDataFrame) -> pd.DataFrame:
    """Return log(1 + n) of the tags of each cell."""
    return np.log1p(CountEmbedder().transform(*joined(wanted, features)))


def hex2vec(seen: set[str], wanted: set[str], features: gpd.GeoDataFrame) -> pd.DataFrame:
    """Fit Hex2Vec on the cells that were `seen`, and embed those that are `wanted`."""
    tables, fitting = joined(wanted, features), joined(seen, features)
    embedder = Hex2VecEmbedder(
        expected_output_features=list(CountEmbedder().transform(*tables).columns)
    )
    embedder.fit(*fitting, H3Neighbourhood(fitting[0]), trainer_kwargs=TRAINER)
    return embedder.transform(*tables)


def geovex(seen: set[str], wanted: set[str], features: gpd.GeoDataFrame) -> pd.DataFrame:
    """Fit GeoVex on the cells `seen` and the rings around them, and embed those `wanted`."""
    tags = list(CountEmbedder().transform(*joined(wanted, features)).columns)
    embedder = GeoVexEmbedder(
        tags, neighbourhood_radius=RADIUS, convolutional_layer_size=min(256, len(tags))
    )
    with_rings = joined(ring_buffer_h3_indexes(seen, RADIUS), features)
    embedder.fit(*with_rings, H3Neighbourhood(with_rings[0]), trainer_kwargs=TRAINER)
    return embedder.transform(*joined(ring_buffer_h3_indexes(wanted, RADIUS), features))


PEERS = {"srai counts": counts, "srai Hex2Vec": hex2vec, "srai GeoVex": geovex}


@click.command()
@click.argument("extracts", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--without", multiple=True, help="An extract that is embedded, but not fitted on.")
@click.option(
    "--report",
    type=click.Path(path_type=Path, exists=True),
    required=True,
    help="Of `loc2vec evaluate`.",
)
@click.option(
    "--peer",
    "peers",
    multiple=True,
    type=click.Choice(list(PEERS)),
    default=list(PEERS),
    show_default=True,
)
@click.option(
    "--fit", default=2000, show_default=True, help="Cells that Hex2Vec and GeoVex are fitted on."
)
@click.option("--resolution", default=9, show_default=True, help="Of the H3 cells.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write.")
def main(
    extracts: tuple[Path, ...],
    without: tuple[str, ...],
    report: Path,
    peers: tuple[str, ...],
    fit: int,
    resolution: int,
    out: Path,
) -> None:
    """Embed the cells of a report's places by srai."""
    warnings.simplefilter("ignore")  # of geopandas and lightning, about how srai uses them
    objects = {path.name.split(".")[0]: drawn_objects(path) for path in extracts}
    for blank, places in places_of(report).items():
        towns = {town: features_of(found, blank) for town, found in objects.items()}
        every = set().union(
            *(built(found, resolution) for town, found in towns.items() if town not in without)
        )
        seen = set(np.random.default_rng(0).permutation(sorted(every))[:fit].tolist())
        features = pd.concat(towns.values(), ignore_index=True)
        cells = cells_of(places, resolution)
        print(
            f"{folder_of(blank)}: {len(features)} objects, "
            f"fitted on {len(seen)} of {len(every)} cells",
            flush=True,
        )
        for name in peers:
            began = time.process_time()
            lightning.seed_everything(0)
            table = PEERS[name](seen, set(cells), features)
            write_peer(out, blank, name, places, table.loc[cells].to_numpy(np.float32))
            print(f"{name}: {time.process_time() - began:.0f} s of CPU", flush=True)


if __name__ == "__main__":
    main()
