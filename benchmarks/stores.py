"""PostGIS beside GeoPackage: the cost of an import, of a query, and of rendering tiles.

Peak memory is that of the import, of all that it starts and of the database server (each page
once), read every 0.1 s. CPU seconds are those of the rendering process and of the server. The
server must run on this machine.

    python benchmarks/stores.py --database postgresql://loc2vec@localhost/bench REGION.osm.pbf
    [MORE.osm.pbf ...]
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import click

from tiling.dataset.job import TileJob
from tiling.dataset.places import sample_places
from tiling.dataset.poses import place_poses
from tiling.errors import StoreError
from tiling.geo.geodesy import box_around
from tiling.render.renderer import Renderer
from tiling.store.postgis.database import Database
from tiling.store.source import FeatureSource
from tiling.store.store import Store
from tiling.values import LonLat

N_PLACES = 200


def stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the third on; none when the process has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def below(roots: set[int]) -> list[int]:
    """Return the processes `roots` and all that they started."""
    parents = {
        int(folder.name): int((stat(int(folder.name)) or ["", "0"])[1])
        for folder in Path("/proc").glob("[0-9]*")
    }
    found = set(roots)
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return sorted(found)


def cpu_s(server: int | None) -> float:
    """Return the CPU seconds of this process and of the database's."""
    fields = [stat(pid) for pid in (below({server}) if server else [])]
    # its own, and of its children that have ended
    ticks = sum(sum(map(int, each[11:15])) for each in fields if each)
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def children_cpu_s() -> float:
    """Return the CPU seconds of the processes that this one started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class PeakMemory(threading.Thread):
    """Watches the memory of processes and of all that they start."""

    def __init__(self, roots: set[int]) -> None:
        super().__init__(daemon=True)
        self._roots, self._peak = roots, 0
        self._over = threading.Event()

    def run(self) -> None:
        """Look until it is over."""
        while not self._over.wait(0.1):
            self._peak = max(self._peak, sum(map(_proportional_kb, below(self._roots))))

    def stop(self) -> int:
        """Return the peak in kB."""
        self._over.set()
        self.join()
        return self._peak


def _proportional_kb(pid: int) -> int:
    """Return the memory of a process, with its share of what it shares with others."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")), 0)


def imported(extracts: tuple[Path, ...], store: str, server: int | None) -> dict[str, float]:
    """Import in a process of its own; return seconds and megabytes."""
    command = [
        sys.executable,
        "-m",
        "loc2vec",
        "import",
        *map(str, extracts),
        "--store",
        store,
        "--json",
    ]
    start, cpu = time.perf_counter(), cpu_s(server) + children_cpu_s()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    memory = PeakMemory({process.pid} | ({server} if server else set()))
    memory.start()
    out, _ = process.communicate()
    seconds, peak = time.perf_counter() - start, memory.stop()
    cpu = cpu_s(server) + children_cpu_s() - cpu
    if process.returncode:
        raise click.ClickException(f"the import into {store} failed")
    return {
        "import_s": round(seconds, 1),
        "import_cpu_s": round(cpu, 1),
        "peak_mb": round(peak / 1024),
        "features": json.loads(out)["features"],
    }


def queried(source: FeatureSource, places: list[LonLat], radius_m: float) -> dict[str, float]:
    """Ask for the features about each place; return features a place and queries a second."""
    boxes = [box_around(place, radius_m) for place in places]
    found = [len(source.features(box)) for box in boxes]  # and the caches are warm
    start = time.perf_counter()
    for box in boxes:
        source.features(box)
    per_s = len(boxes) / (time.perf_counter() - start)
    return {"features_a_place": round(sum(found) / len(found), 1), "queries_per_s": round(per_s, 1)}


def drawn(source: FeatureSource, places: list[LonLat], positives: int, server: int | None) -> float:
    """Render the places; return the tiles per second of a core."""
    renderer = Renderer(source)
    start, tiles = cpu_s(server), 0
    for number, place in enumerate(places):
        tiles += len(renderer.tiles(place, place_poses(place, number, positives, seed=0)))
    return round(tiles / (cpu_s(server) - start), 1)


def postmaster(database: str) -> int:
    """Return the process of the database server."""
    connection = Database(database).connect()
    backend: int = connection.info.backend_pid
    server = int(stat(backend)[1])
    connection.close()
    return server


def require_empty(store: Store) -> None:
    """End unless the database holds no store: an import would replace the user's."""
    try:
        store.open(patience_s=0).close()
    except StoreError as error:
        if "holds no store" in str(error):
            return
        raise click.ClickException(str(error)) from error
    raise click.ClickException(
        f"{store} holds a store, which the benchmark would replace: give an empty database"
    )


@click.command()
@click.argument("extracts", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--database", required=True, help="URL of an empty database.")
@click.option("--import-only", is_flag=True)
@click.option("--json", "as_json", is_flag=True)
def main(extracts: tuple[Path, ...], database: str, import_only: bool, as_json: bool) -> None:
    """Print one column a store."""
    require_empty(Store.at(database))
    with tempfile.TemporaryDirectory() as folder:
        locations = {"GeoPackage": str(Path(folder) / "store.gpkg"), "PostGIS": database}
        servers = {"GeoPackage": None, "PostGIS": postmaster(database)}
        table = {
            name: imported(extracts, store, servers[name]) for name, store in locations.items()
        }
        if not import_only:
            with Store.at(locations["GeoPackage"]).open() as source:
                drawing = sample_places([source], N_PLACES, TileJob(()).margin_m, seed=0)
            places = [
                LonLat(*p) for p in zip(drawing.lon.tolist(), drawing.lat.tolist(), strict=True)
            ]
            for name, store in locations.items():
                with Store.at(store).open() as source:
                    table[name] |= queried(source, places, TileJob(()).margin_m)
                    table[name]["tiles_per_cpu_s_1_a_place"] = drawn(
                        source, places, 0, servers[name]
                    )
                    table[name]["tiles_per_cpu_s_21_a_place"] = drawn(
                        source, places[:60], 20, servers[name]
                    )
    if as_json:
        print(json.dumps(table))
        return
    print(
        f"{len(extracts)} extract(s), {os.cpu_count()} CPUs".ljust(34)
        + "".join(f"{name:>14}" for name in table)
    )
    for row in table["PostGIS"]:
        print(
            row.replace("_", " ").ljust(34) + "".join(f"{table[name][row]:>14,}" for name in table)
        )


if __name__ == "__main__":
    main()
