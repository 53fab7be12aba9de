"""An import beside ogr2ogr and osm2pgsql: CPU time and memory, and how they grow.

Give extracts of several sizes, best of the same kind of ground. ogr2ogr writes the points, lines
and areas into a GeoPackage, with columns for the keys that the catalogue names. With a database
both `loc2vec import` and plain osm2pgsql fill it, and the CPU time of the server counts.

    python benchmarks/imports.py 5mb.osm.pbf 10mb.osm.pbf 20mb.osm.pbf 40mb.osm.pbf
        [--database postgresql://loc2vec@localhost/bench]
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import click
from growth import Row, run, show, used
from stores import cpu_s, postmaster, require_empty

from tiling.catalogue.catalogue import Catalogue, load_catalogue
from tiling.osm.names import NAME
from tiling.store.postgis.database import Database
from tiling.store.postgis.import_ import STORE
from tiling.store.postgis.statements import execute
from tiling.store.store import Store

# The layers of GDAL's OSM driver, and the kinds of our rules.
LAYERS = {"points": "point", "lines": "line", "multipolygons": "area"}
TABLES = ", ".join(f"planet_osm_{kind}" for kind in ("point", "line", "polygon", "roads"))

Used = tuple[float, float]  # CPU seconds, peak MB
Way = Callable[[Path, Path], Used]  # of importing an extract, with an empty folder
Pair = Mapping[str, Way]  # ours, and the one beside it


def into_file(extract: Path, folder: Path) -> Used:
    """Import into a GeoPackage."""
    return run("import", extract, "--store", folder / "store.gpkg")


def translated(extract: Path, folder: Path) -> Used:
    """Let ogr2ogr write points, lines and areas, with a column for each key that the rules name."""
    settings = folder / "osmconf.ini"
    settings.write_text(osmconf(load_catalogue()))
    options = ["-q", "-f", "GPKG", "-oo", f"CONFIG_FILE={settings}"]
    # Mapnik's PROJ_LIB, which is set here, holds no database of reference systems.
    command = ["env", "-u", "PROJ_LIB", "ogr2ogr", *options]
    return used([*command, str(folder / "theirs.gpkg"), str(extract), *LAYERS])


def osmconf(catalogue: Catalogue) -> str:
    """Return settings of GDAL's OSM driver, by which it writes what we draw or name.

    It also writes objects with other keys: a condition on each costs it more than it saves.
    """
    # Most closed highways are no areas.
    areas = (key for key in catalogue.first_keys_on("area") if key != "highway")
    lines = [f"closed_ways_are_polygons={','.join(areas)}"]
    for layer, kind in LAYERS.items():
        columns = ",".join((NAME, *catalogue.first_keys_on(kind)))
        lines += [f"[{layer}]", "osm_id=yes", f"attributes={columns}", "other_tags=no"]
    return "\n".join([*lines, ""])


def filled(url: str, fill: Callable[[Path], Used], emptied: str) -> Way:
    """Return the way to fill a database, whose server counts; then `emptied` empties it."""
    database, server = Database(url), postmaster(url)

    def way(extract: Path, _folder: Path) -> Used:
        before = cpu_s(server)
        client, peak = fill(extract)
        served = cpu_s(server) - before
        connection = database.connect()
        execute(connection, emptied)
        connection.commit()
        connection.close()
        return client + served, peak

    return way


def into_database(url: str) -> Pair:
    """Return how we fill a database, and plain osm2pgsql."""
    environment = {**os.environ, **Database(url).environment()}
    theirs = ["osm2pgsql", "--create", "--log-level=error"]
    ours = filled(
        url, lambda extract: run("import", extract, "--store", url), f"DROP SCHEMA {STORE} CASCADE"
    )
    beside = filled(
        url, lambda extract: used([*theirs, str(extract)], environment), f"DROP TABLE {TABLES}"
    )
    return {"import, PostGIS": ours, "osm2pgsql": beside}


def measured(extracts: Sequence[Path], pair: Pair) -> list[Row]:
    """Measure two ways on each extract, one after the other."""
    rows = []
    for extract in sorted(extracts, key=lambda path: path.stat().st_size):
        for name, way in pair.items():
            with tempfile.TemporaryDirectory() as folder:
                cost = way(extract, Path(folder))
            rows.append(Row(name, "MB", extract.stat().st_size / 1e6, *cost))
    return rows


@click.command()
@click.argument("extracts", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--database", help="URL of an empty database: measures PostGIS as well.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def main(extracts: tuple[Path, ...], database: str | None, as_json: bool) -> None:
    """Measure imports of EXTRACTS of several sizes, ours beside those of other programs."""
    pairs: list[Pair] = [{"import, GeoPackage": into_file, "ogr2ogr": translated}]
    if database is not None:
        require_empty(Store.at(database))
        pairs.append(into_database(database))
    rows: list[Row] = []
    for pair in pairs:
        beside = list(pair)[1]
        if shutil.which(beside) is None:
            click.echo(f"{beside} is not here, so nothing is compared with it", err=True)
            continue
        rows += measured(extracts, pair)
    show(rows, as_json)
    if not as_json:
        for ours, theirs in zip(rows[::2], rows[1::2], strict=True):
            ratio = ours.cpu_s / theirs.cpu_s
            click.echo(f"{ours.amount:.1f} MB: {ratio:.2f} times the CPU of {theirs.step}")


if __name__ == "__main__":
    main()
