"""Tiles per CPU second: our renderer beside the naive way, in one run, on the same places.

The naive way is what one writes first: twelve Mapnik maps over the store itself for every tile,
each with a query of its own. The symbolizers turn the map, and the box shifts it. Roads are as wide
as on the ground. So the tiles are the same, which is checked before the clock starts.

    python benchmarks/render.py --store region.gpkg [--json]
"""

import math
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from xml.sax.saxutils import escape

import click
import mapnik
import numpy as np
from table import Row, rows_of, show

from tiling.dataset.job import TileJob
from tiling.dataset.places import Places, sample_places
from tiling.dataset.poses import place_poses
from tiling.geo.geodesy import MetresPerDegree, box_around
from tiling.geo.grid import grid
from tiling.render.batch import CHUNK
from tiling.render.renderer import Renderer
from tiling.store.store import Store
from tiling.values import TILE_RADIUS_M, TILE_SIZE, LonLat, Pose

PX_PER_M = TILE_SIZE / (2 * TILE_RADIUS_M)
TURN = f"rotate(@turn,{TILE_SIZE / 2},{TILE_SIZE / 2})"
QUERY = "SELECT geom, width_m FROM features WHERE channel = {channel}"
STYLE = f"""
<Map srs="epsg:4326" background-color="black" buffer-size="{{buffer}}">
  <Style name="channel">
    <Rule>
      <Filter>[mapnik::geometry_type] = polygon</Filter>
      <PolygonSymbolizer fill="white" geometry-transform="{TURN}"/>
    </Rule>
    <Rule>
      <Filter>[mapnik::geometry_type] = linestring</Filter>
      <LineSymbolizer stroke="white" stroke-width="[width_m] * {PX_PER_M}" stroke-linejoin="round"
                      stroke-linecap="round" geometry-transform="{TURN}"/>
    </Rule>
    <Rule>
      <Filter>[mapnik::geometry_type] = point</Filter>
      <MarkersSymbolizer fill="white" stroke-width="0" width="[width_m] * {2 * PX_PER_M}"
                         height="[width_m] * {2 * PX_PER_M}" allow-overlap="true"
                         geometry-transform="{TURN}"/>
    </Rule>
  </Style>
  <Layer name="features" srs="epsg:4326">
    <StyleName>channel</StyleName>
    <Datasource>
      <Parameter name="type">ogr</Parameter>
      <Parameter name="file">{{store}}</Parameter>
      <Parameter name="layer_by_sql">{QUERY}</Parameter>
    </Datasource>
  </Layer>
</Map>"""
GRID_STEPS_M = (100, 50, 25)
GRID_RADIUS_M = 1000.0
Draw = Callable[[int], int]  # draws number n, returns how many tiles that was
ALIKE = 1.0  # of 255, the mean difference that antialiasing and the shape of drawn points may make


class NaiveRenderer:
    """Twelve maps, twelve queries."""

    def __init__(self, store: Path, reach_m: float, channels: int = 12) -> None:
        self._maps = [_naive_map(store, channel, reach_m) for channel in range(channels)]
        self._image = mapnik.Image(TILE_SIZE, TILE_SIZE)

    def tile(self, pose: Pose) -> np.ndarray:
        """Draw one tile, uint8 [12, size, size]."""
        box = _box(pose)
        pixels = np.empty((len(self._maps), TILE_SIZE, TILE_SIZE), np.uint8)
        for out, each in zip(pixels, self._maps, strict=True):
            each.zoom_to_box(box)
            mapnik.render_with_vars(each, self._image, {"turn": -pose.rotation_deg})
            out[:] = np.frombuffer(self._image.to_string(), np.uint8).reshape(
                TILE_SIZE, TILE_SIZE, 4
            )[:, :, 0]
        return pixels


def _naive_map(store: Path, channel: int, reach_m: float) -> mapnik.Map:
    built = mapnik.Map(TILE_SIZE, TILE_SIZE)
    corners_and_widths = TILE_SIZE * (math.sqrt(2) - 1) / 2 + reach_m * PX_PER_M
    mapnik.load_map_from_string(
        built,
        STYLE.format(
            store=escape(str(store)), channel=channel, buffer=math.ceil(corners_and_widths)
        ),
    )
    built.aspect_fix_mode = mapnik.aspect_fix_mode.RESPECT
    return built


def _box(pose: Pose) -> mapnik.Box2d:
    """Return the degrees under a tile before the map is turned about its middle."""
    scale, angle = MetresPerDegree.at(pose.lat), math.radians(pose.rotation_deg)
    x = pose.lon - (math.cos(angle) * pose.shift_x_m + math.sin(angle) * pose.shift_y_m) / scale.x
    y = pose.lat + (math.sin(angle) * pose.shift_x_m - math.cos(angle) * pose.shift_y_m) / scale.y
    dx, dy = TILE_RADIUS_M / scale.x, TILE_RADIUS_M / scale.y
    return mapnik.Box2d(x - dx, y - dy, x + dx, y + dy)


def rate(draw: Draw, seconds: float) -> float:
    """Call draw(0), draw(1), ... for some seconds; return the tiles per CPU second."""
    start, tiles, number = time.process_time(), 0, 0
    while time.process_time() - start < seconds:
        tiles += draw(number)
        number += 1
    return tiles / (time.process_time() - start)


def measure(store: Path, seconds: float) -> list[Row]:
    """Measure the ways in turn."""
    with Store.at(store).open() as source:
        places = sample_places([source], 200, TileJob(()).margin_m, seed=0)
        renderer, naive = Renderer(source), NaiveRenderer(store, source.catalogue.reach_m)
        check(renderer, naive, [poses_at(places, number, positives=4) for number in range(10)])

        def one_by_one(positives: int) -> Draw:
            return lambda number: len(
                [naive.tile(pose) for pose in poses_at(places, number, positives)]
            )

        def together(positives: int) -> Draw:
            def draw(number: int) -> int:
                poses = poses_at(places, number, positives)
                return len(renderer.tiles(LonLat(poses[0].lon, poses[0].lat), poses))

            return draw

        rates = {
            "naive: 21 tiles a place": rate(one_by_one(20), seconds),
            "naive: 1 tile a place, not turned": rate(one_by_one(0), seconds),
            "ours: 21 tiles a place": rate(together(20), seconds),
            "ours: 1 tile a place, not turned": rate(together(0), seconds),
        }
        for step in GRID_STEPS_M:
            singly, in_rows = grid_ways(renderer, places, step)
            rates[f"ours: grid of {step} m, one by one"] = rate(singly, seconds)
            rates[f"ours: grid of {step} m, rows as pictures"] = rate(in_rows, seconds)
    return rows_of(rates)


def grid_ways(renderer: Renderer, places: Places, step_m: float) -> tuple[Draw, Draw]:
    """Return two ways to render a grid about the middle of the places.

    It comes in chunks, as in `loc2vec embed --grid`.
    """
    middle = LonLat(float(np.median(places.lon)), float(np.median(places.lat)))
    lon_lat = grid(renderer.source.coverage, step_m, box_around(middle, GRID_RADIUS_M)).tolist()
    cells = [LonLat(*row) for row in lon_lat]
    chunks = [cells[start : start + CHUNK] for start in range(0, len(cells), CHUNK)]

    def singly(number: int) -> int:
        return len([renderer.tile(Pose(p.lat, p.lon)) for p in chunks[number % len(chunks)]])

    return singly, lambda number: len(renderer.north_up(chunks[number % len(chunks)]))


def poses_at(places: Places, number: int, positives: int) -> list[Pose]:
    """Return the poses of place `number`, modulo their count: the anchor's, then its positives'."""
    row = number % len(places)
    place = LonLat(float(places.lon[row]), float(places.lat[row]))
    return place_poses(place, row, positives, seed=0)


def check(renderer: Renderer, naive: NaiveRenderer, places: Iterable[list[Pose]]) -> None:
    """Fail if the two ways render other tiles, or blank ones."""
    for poses in places:
        for pose in poses:
            ours = renderer.tile(pose).pixels.astype(int)
            difference = np.abs(ours - naive.tile(pose)).mean(axis=(1, 2))
            if difference.max() > ALIKE or not ours.any():
                raise click.ClickException(
                    f"{pose}: the two ways differ by {difference.round(2)} of 255 in the channels"
                )


@click.command()
@click.option("--store", type=click.Path(path_type=Path), required=True)
@click.option("--seconds", default=5.0, show_default=True, help="For each way.")
@click.option("--json", "as_json", is_flag=True)
def main(store: Path, seconds: float, as_json: bool) -> None:
    """Print tiles per second per core."""
    show("one core (CPU time)", measure(store, seconds), as_json)


if __name__ == "__main__":
    main()
