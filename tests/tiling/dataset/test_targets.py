"""Targets: counts of tags around places, beside brute force."""

from functools import cache
from multiprocessing import active_children
from pathlib import Path
from shutil import copy

import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely
from click.testing import CliRunner
from numpy.typing import NDArray

from tiling.catalogue.catalogue import load_catalogue
from tiling.cli.tile import tile_command
from tiling.dataset.dataset import TARGETS, TileDataset
from tiling.dataset.targets import Count, Definition, Mean, add_targets, make_targets
from tiling.errors import DatasetError, ExtractError
from tiling.geo.geodesy import ground_distance_m
from tiling.osm.extract import OsmObject, read_objects

AT = np.array([[43.7384, 43.7325, 43.7450], [7.4246, 7.4180, 7.4300]])
CATALOGUE = load_catalogue()


@cache
def objects_of(pbf: Path, key: str) -> list[OsmObject]:
    """The points and areas with a key."""
    return [item for item in read_objects(pbf, CATALOGUE, [key]) if item.kind != "line"]


def near(pbf: Path, key: str, lat: float, lon: float, radius_m: float) -> list[str]:
    """The values of a key at the objects whose middle lies within a radius."""
    objects = objects_of(pbf, key)
    middles = shapely.centroid(shapely.from_wkb([item.wkb for item in objects]))
    x, y = shapely.get_coordinates(middles).T
    hit = ground_distance_m(lat, lon, y, x) < radius_m
    return [item.tags[key] for item, inside in zip(objects, hit, strict=True) if inside]


def at_of(data: TileDataset) -> NDArray[np.float64]:
    return np.array([data.lat, data.lon])


def column(table: object, name: str) -> NDArray[np.float32]:
    values: NDArray[np.float32] = table[name].to_numpy()  # type: ignore[index]
    return values


def test_counts_and_means_are_those_of_brute_force(monaco_pbf: Path) -> None:
    definition = Definition(
        (
            Count("shop", {"shop": None}, (100.0, 250.0)),
            Count("food", {"amenity": frozenset({"restaurant", "cafe"})}, (250.0,)),
        ),
        (Mean("levels", "building:levels", 100.0, 60),),
        "",
    )
    table = make_targets([monaco_pbf], CATALOGUE, AT, definition)
    assert table.column_names == [
        "shop within 100 m", "shop within 250 m", "food within 250 m", "levels",
    ]  # fmt: skip
    for row, (lat, lon) in enumerate(zip(*AT.tolist(), strict=True)):
        for radius in (100, 250):
            shops = len(near(monaco_pbf, "shop", lat, lon, radius))
            assert np.expm1(column(table, f"shop within {radius} m")[row]) == pytest.approx(shops)
        food = near(monaco_pbf, "amenity", lat, lon, 250)
        count = sum(value in ("restaurant", "cafe") for value in food)
        assert np.expm1(column(table, "food within 250 m")[row]) == pytest.approx(count, rel=1e-4)
        levels = [float(each) for each in near(monaco_pbf, "building:levels", lat, lon, 100)]
        levels = [each for each in levels if 1 <= each <= 60]
        if len(levels) < 2:
            assert np.isnan(column(table, "levels")[row])
        else:
            mean = np.log(levels).mean()
            assert column(table, "levels")[row] == pytest.approx(mean, rel=1e-4)
    assert np.expm1(column(table, "shop within 250 m")).max() > 10


def test_what_ships_counts_every_target_somewhere(monaco_pbf: Path) -> None:
    definition = Definition.shipped()
    table = make_targets([monaco_pbf], CATALOGUE, AT, definition)
    assert len(table.column_names) == len(set(table.column_names)) > 90
    seen = [name for name in table.column_names if np.nan_to_num(column(table, name)).any()]
    assert len(seen) > 50


@pytest.fixture(scope="module")
def tiles(monaco_store: Path, monaco_pbf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("targets") / "tiles"
    arguments = ["--store", str(monaco_store), "--out", str(out), "--locations", "5"]
    more = ["--positives", "2", "--close-positives", "1", "--workers", "0"]
    found = CliRunner().invoke(tile_command, [*arguments, *more, "--targets", str(monaco_pbf)])
    assert found.exit_code == 0, found.output
    return out


def test_the_command_writes_them_beside_the_tiles(tiles: Path, monaco_pbf: Path) -> None:
    data = TileDataset.open(tiles)
    assert data.targets is not None
    assert data.targets.num_rows == 5
    expected = make_targets([monaco_pbf], CATALOGUE, at_of(data), Definition.shipped())
    for name in expected.column_names:
        np.testing.assert_array_equal(column(data.targets, name), column(expected, name))
    about = pq.read_schema(tiles / TARGETS).metadata
    assert about[b"extracts"].startswith(b"monaco.osm.pbf ")
    assert b"OpenStreetMap" in about[b"attribution"]


def test_they_are_the_same_bytes_each_time(tiles: Path, monaco_pbf: Path) -> None:
    before = (tiles / TARGETS).read_bytes()
    add_targets(tiles, [monaco_pbf])
    assert (tiles / TARGETS).read_bytes() == before


def test_several_processes_count_the_same(tiles: Path, monaco_pbf: Path, tmp_path: Path) -> None:
    data = TileDataset.open(tiles)
    other = tmp_path / "other.osm.pbf"
    copy(monaco_pbf, other)
    extracts = [monaco_pbf, other]
    alone, together = (
        make_targets(extracts, CATALOGUE, at_of(data), Definition.shipped(), workers)
        for workers in (0, 2)
    )
    for name in alone.column_names:
        np.testing.assert_array_equal(column(together, name), column(alone, name))
    once = make_targets([monaco_pbf], CATALOGUE, at_of(data), Definition.shipped())
    twice = "building within 100 m"
    assert np.expm1(column(alone, twice)).sum() == pytest.approx(
        2 * np.expm1(column(once, twice)).sum()
    )


def test_an_extract_that_cannot_be_read_ends_the_counting(monaco_pbf: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.osm.pbf"
    broken.write_bytes(monaco_pbf.read_bytes()[:20_000])
    with pytest.raises(ExtractError, match="broken"):
        make_targets([broken, monaco_pbf], CATALOGUE, AT, Definition.shipped(), 2)
    assert not active_children()


def test_a_file_that_is_no_extract_is_refused_before_a_tile_is_drawn(
    monaco_store: Path, tmp_path: Path
) -> None:
    wrong = tmp_path / "places.csv"
    wrong.write_text("lat,lon\n43.7,7.4\n")
    out = tmp_path / "tiles"
    arguments = ["--store", str(monaco_store), "--out", str(out), "--locations", "3"]
    found = CliRunner().invoke(tile_command, [*arguments, "--targets", str(wrong)])
    assert isinstance(found.exception, ExtractError)
    assert "places.csv" in str(found.exception)
    assert not out.exists()


def test_close_positives_are_shifted_by_15_m_at_most(tiles: Path) -> None:
    data = TileDataset.open(tiles)
    shifts = np.array(
        [
            [
                max(abs(pose.shift_x_m), abs(pose.shift_y_m))
                for pose in (data.pose(n, 1), data.pose(n, 2))
            ]
            for n in range(5)
        ]
    )
    assert shifts[:, 0].max() <= 15 < shifts[:, 1].max()


def test_more_close_positives_than_positives_are_refused(monaco_store: Path) -> None:
    arguments = ["--store", str(monaco_store), "--out", "x", "--locations", "5", "--positives", "2"]
    found = CliRunner().invoke(tile_command, [*arguments, "--close-positives", "3"])
    assert found.exit_code == 2
    assert "--close-positives 3 is more than --positives 2" in found.output


def test_an_unfinished_dataset_gets_no_targets(tmp_path: Path, monaco_pbf: Path) -> None:
    with pytest.raises(DatasetError, match="holds no tile dataset"):
        add_targets(tmp_path, [monaco_pbf])
