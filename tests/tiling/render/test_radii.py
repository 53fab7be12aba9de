"""Tiles of other radii, and of several at once."""

import json
from pathlib import Path

import numpy as np
import pytest
import shapely
from click.testing import CliRunner

from tiling.catalogue.catalogue import load_catalogue
from tiling.cli.tile import tile_command
from tiling.dataset.dataset import TileDataset
from tiling.dataset.job import TileJob, run_job
from tiling.geo.geodesy import MetresPerDegree
from tiling.render.renderer import Renderer
from tiling.store.changes import Changes
from tiling.store.source import FeatureSource
from tiling.store.store import Store
from tiling.values import LonLat, Pose, TileGeometry

PLACE = LonLat(7.4246, 43.7384)
POSES = [Pose(PLACE.lat, PLACE.lon), Pose(PLACE.lat, PLACE.lon, 33.0, 40.0, -25.0)]
NARROW, WIDE, BOTH = TileGeometry(), TileGeometry(radius_m=400.0), TileGeometry(wider_m=(400.0,))


def test_a_wider_tile_shows_the_same_ground_smaller(monaco: FeatureSource) -> None:
    narrow, wide = (
        Renderer(monaco, TileGeometry(radius_m=radius)).tiles(PLACE, POSES) for radius in (100, 200)
    )
    small = narrow.reshape(2, 12, 64, 2, 64, 2).mean((3, 5))
    difference = np.abs(wide[..., 32:96, 32:96] - small)
    assert narrow.any((0, 2, 3)).sum() > 4
    assert difference.mean() < 1  # of 255: only the antialiasing differs


def test_two_radii_are_the_pictures_of_each_side_by_side(monaco: FeatureSource) -> None:
    both = Renderer(monaco, BOTH)
    expected = np.concatenate(
        [Renderer(monaco, each).tiles(PLACE, POSES) for each in (NARROW, WIDE)], axis=1
    )
    assert np.array_equal(both.tiles(PLACE, POSES), expected)
    assert both.tiles(PLACE, []).shape == (0, 24, 128, 128)
    assert len(both.channels) == 24
    assert (both.channels[0], both.channels[12]) == ("major roads", "major roads, 400 m")


def test_a_row_of_a_grid_shares_pictures_in_every_scale(monaco: FeatureSource) -> None:
    step = 50 / MetresPerDegree.at(PLACE.lat).x
    row = [LonLat(PLACE.lon + number * step, PLACE.lat) for number in range(4)]
    alone = [Renderer(monaco, BOTH).tiles(place, [Pose(place.lat, place.lon)])[0] for place in row]
    apart = np.abs(Renderer(monaco, BOTH).north_up(row).astype(int) - alone)
    assert apart[:, :12].mean() < 0.1
    assert apart[:, 12:].mean() < 5  # half a pixel off at most (`test_wide.py`)


def test_every_geometry_has_a_fingerprint_of_its_own() -> None:
    catalogue = load_catalogue()
    geometries = [NARROW, WIDE, BOTH, TileGeometry(radius_m=400.0, wider_m=(100.0,))]
    assert len({catalogue.fingerprint(geometry) for geometry in geometries}) == 4
    assert catalogue.fingerprint(
        TileGeometry(**json.loads(json.dumps(BOTH.as_values())))
    ) == catalogue.fingerprint(BOTH)
    # as datasets and models of one scale have it
    assert NARROW.as_values() == {"size": 128, "radius_m": 100.0}


def test_a_dataset_of_two_radii(monaco_store: Path, tmp_path: Path) -> None:
    job = TileJob((Store.at(monaco_store),), positives=1, geometry=BOTH, locations=3)
    run_job(job, tmp_path / "tiles")
    data = TileDataset.open(tmp_path / "tiles")
    assert (data.geometry, len(data.channels)) == (BOTH, 24)
    assert data.tiles(np.arange(3), np.ones(3, int)).shape == (3, 24, 128, 128)
    assert job.margin_m == TileJob((), geometry=WIDE).margin_m


def test_changes_within_the_widest_scale_count() -> None:
    at = np.array([[7.4246, 43.7384]])
    point = shapely.to_wkb(shapely.Point(7.4246, 43.7384 + 300 / 111_000))
    changes = Changes.of([0.0], [point])
    assert not changes.meet(at, NARROW).any()
    assert changes.meet(at, BOTH).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--radii", "100;400"), "'100;400' is not a list of metres such as 100,400"),
        (("--radii", "400,100"), "the radii must rise"),
        (("--radii", "100,100"), "the radii must rise"),
        (("--radii", "1,400"), "from 10 to 1000 m"),
        (("--tile-radius", "5"), "not in the range"),
        (("--tile-radius", "200", "--radii", "100,400"), "one of them"),
    ],
)
def test_wrong_radii_are_usage_errors(
    monaco_store: Path, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    base = ["--store", str(monaco_store), "--out", str(tmp_path / "tiles"), "--locations", "3"]
    result = CliRunner().invoke(tile_command, [*base, *options])
    assert result.exit_code == 2
    assert message in result.stderr


def test_the_radius_of_the_command_is_that_of_the_dataset(
    monaco_store: Path, tmp_path: Path
) -> None:
    base = ["--store", str(monaco_store), "--locations", "2", "--positives", "1", "--workers", "0"]
    for name, options in {"wide": ("--tile-radius", "200"), "both": ("--radii", "100,400")}.items():
        result = CliRunner().invoke(tile_command, [*base, "--out", str(tmp_path / name), *options])
        assert result.exit_code == 0, result.output
    assert TileDataset.open(tmp_path / "wide").geometry == TileGeometry(radius_m=200.0)
    assert TileDataset.open(tmp_path / "both").geometry == BOTH
