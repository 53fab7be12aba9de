"""Tiles per CPU second: our renderer beside the naive way, in one run.

The naive way is what one writes first: twelve Mapnik maps over the store itself, each with a query
of its own, for every tile. Ours is one query a place and four RGB pictures a tile.

    python benchmarks/render.py --store region.gpkg [--json]
"""

import time
from collections.abc import Callable
from pathlib import Path

import click
import mapnik
import numpy as np
from table import Row, rows_of, show

from tiling.geodesy import box_around
from tiling.job import TileJob, place_poses
from tiling.places import Places, draw_places
from tiling.render import Renderer
from tiling.sources.registry import open_source
from tiling.values import LonLat

RADIUS_M, SIZE = 100.0, 128


class NaiveRenderer:
    """Twelve maps, twelve queries: unturned tiles alone, so it even does less."""

    def __init__(self, store: Path, channels: int = 12) -> None:
        self._maps = [self._map(store, channel) for channel in range(channels)]
        self._image = mapnik.Image(SIZE, SIZE)

    @staticmethod
    def _map(store: Path, channel: int) -> mapnik.Map:
        area, line = mapnik.PolygonSymbolizer(), mapnik.LineSymbolizer()
        area.fill = line.stroke = mapnik.Color("white")
        line.stroke_width = mapnik.Expression(f"[width_m]*{SIZE / (2 * RADIUS_M)}")
        style = mapnik.Style()
        for symbolizer, kind in ((area, "polygon"), (line, "linestring")):
            rule = mapnik.Rule()
            rule.filter = mapnik.Expression(f"[mapnik::geometry_type]={kind}")
            rule.symbolizers.append(symbolizer)
            style.rules.append(rule)
        built = mapnik.Map(SIZE, SIZE, "+proj=longlat +datum=WGS84")
        built.background = mapnik.Color("black")
        built.aspect_fix_mode = mapnik.aspect_fix_mode.RESPECT
        built.buffer_size = 32
        built.append_style("channel", style)
        layer = mapnik.Layer("features", "+proj=longlat +datum=WGS84")
        query = f"SELECT geom, width_m FROM features WHERE channel = {channel}"  # noqa: S608 - an int
        layer.datasource = mapnik.Ogr(file=str(store), layer_by_sql=query)
        layer.styles.append("channel")
        built.layers.append(layer)
        return built

    def tile(self, place: LonLat) -> np.ndarray:
        """Draw the unturned tile of a place, uint8 [12, size, size]."""
        west, south, east, north = box_around(place, RADIUS_M)
        pixels = np.empty((len(self._maps), SIZE, SIZE), np.uint8)
        for out, each in zip(pixels, self._maps, strict=True):
            each.zoom_to_box(mapnik.Box2d(west, south, east, north))
            self._image.clear()
            mapnik.render(each, self._image)
            out[:] = np.frombuffer(self._image.to_string(), np.uint8).reshape(SIZE, SIZE, 4)[:, :, 0]
        return pixels


def rate(draw: Callable[[int], int], seconds: float) -> float:
    """Call draw(0), draw(1), ... for some seconds; return the tiles per CPU second."""
    start, tiles, number = time.process_time(), 0, 0
    while time.process_time() - start < seconds:
        tiles += draw(number)
        number += 1
    return tiles / (time.process_time() - start)


def measure(store: Path, seconds: float) -> list[Row]:
    """Measure the ways in turn, on the same places."""
    with open_source(store) as source:
        places = draw_places([source], 200, TileJob(()).margin_m, seed=0)
        renderer, naive = Renderer(source), NaiveRenderer(store)
        check(renderer, naive, at(places, 0))

        def ours(positives: int) -> Callable[[int], int]:
            job = TileJob((), positives)

            def draw(number: int) -> int:
                place = at(places, number)
                return len(renderer.tiles(place, place_poses(job, place.lat, place.lon, number)))

            return draw

        rates = {
            "naive: 12 maps, 12 queries a tile": rate(lambda number: len([naive.tile(at(places, number))]), seconds),
            "ours: 1 tile a place": rate(ours(0), seconds),
            "ours: 21 tiles a place, turned and shifted": rate(ours(20), seconds),
        }
    return rows_of(rates)


def at(places: Places, number: int) -> LonLat:
    """Return place `number`, going round."""
    row = number % len(places)
    return LonLat(float(places.lon[row]), float(places.lat[row]))


def check(renderer: Renderer, naive: NaiveRenderer, place: LonLat) -> None:
    """Refuse to compare ways that do not draw the same."""
    ours = renderer.tiles(place, place_poses(TileJob((), 0), place.lat, place.lon, 0))[0, 4].astype(int)
    difference = np.abs(ours - naive.tile(place)[4]).mean()
    if difference > 2 or ours.mean() < 5:
        raise click.ClickException(f"the two ways draw different buildings: mean difference {difference:.2f} of 255")


@click.command()
@click.option("--store", type=click.Path(path_type=Path), required=True)
@click.option("--seconds", default=5.0, show_default=True, help="For each way.")
@click.option("--json", "as_json", is_flag=True)
def main(store: Path, seconds: float, as_json: bool) -> None:
    """Print tiles per second per core."""
    show("one core (CPU time)", measure(store, seconds), as_json)


if __name__ == "__main__":
    main()
