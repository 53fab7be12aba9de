"""`loc2vec explore clusters`."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from service.explore.options import Output, SpaceOptions, grid_option, seed_option, space_options
from tiling.cli.options import FilePath, WholeRange

if TYPE_CHECKING:
    from loc2vec.embed.files import Vectors


@click.command(
    "clusters",
    epilog="Example: loc2vec explore clusters monaco.osm.pbf --store monaco.gpkg --kinds 6",
)
@click.argument("extracts", nargs=-1, type=FilePath)
@space_options
@grid_option
@click.option("--kinds", "count", type=WholeRange(2, 7), default=6, show_default=True)
@click.option(
    "--method", type=click.Choice(["k-means", "hdbscan"]), default="k-means", show_default=True
)
@click.option("--title", help="What the region is called, by default as the store.")
@seed_option
def clusters_command(
    extracts: tuple[Path, ...], metres: float | None, title: str | None, space: SpaceOptions,
    output: Output, **options: Any,
) -> None:  # fmt: skip
    """Divide places into kinds, named by the channels of their tiles and the tags of EXTRACTS.

    Writes the places with their kinds as GeoParquet and GeoJSON, too.
    """
    from loc2vec.explore.clusters import kinds_of
    from tiling.osm.extract import read_objects
    from tiling.osm.words import KEYS

    with space.open(metres) as opened:
        by = opened.catalogue
        objects = [item for path in extracts for item in read_objects(path, by, KEYS)]
        found = kinds_of(opened, title or opened.title, objects=objects, **options)
        kinds = [
            {"name": kind.name, "sentence": kind.sentence, "places": len(kind.rows)}
            for kind in found.kinds
        ]
        facts = {"kinds": kinds, "none": int((found.label < 0).sum())}
        lines = [f"{kind['places']:6,}  {kind['sentence']} ({kind['name']})" for kind in kinds]
        output.finish(
            found, facts, lines, lambda path: _write_places(path, opened.vectors, found.columns)
        )


def _write_places(path: Path, vectors: "Vectors", columns: Mapping[str, list[Any]]) -> list[Path]:
    """Write places with some columns for a GIS: PATH.parquet (GeoParquet) and PATH.geojson.

    Returns what was written.
    """
    import pyarrow as pa

    from tiling.files.atomic import write_json
    from tiling.files.geoparquet import write_points
    from tiling.values import ATTRIBUTION

    parquet, geojson = (path.with_name(path.name + suffix) for suffix in (".parquet", ".geojson"))
    about = {"model": vectors.model, "attribution": ATTRIBUTION}
    table = pa.table({"lat": vectors.lat, "lon": vectors.lon, **columns})
    write_points(parquet, table, vectors.lat, vectors.lon, about)
    features = [
        {
            "type": "Feature",
            "geometry": {"type": "Point", "coordinates": [row.pop("lon"), row.pop("lat")]},
            "properties": row,
        }
        for row in table.to_pylist()
    ]
    write_json(geojson, {"type": "FeatureCollection", **about, "features": features})
    return [parquet, geojson]
