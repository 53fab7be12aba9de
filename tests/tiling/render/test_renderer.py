"""Tiles against an independent drawing, anywhere on Earth."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyproj
import pytest
import shapely

from tests.tiling.render.reference import iou, reference_tile
from tiling.catalogue.catalogue import load_catalogue
from tiling.errors import FingerprintError
from tiling.geo.geodesy import MetresPerDegree, box_around
from tiling.osm.gather.gather import ExtractRecord
from tiling.render.renderer import Renderer, _Scene, _Window
from tiling.store.geopackage.write import write_geopackage
from tiling.store.source import FeatureSource
from tiling.store.store import Store
from tiling.values import Box, Features, LonLat, Pose, TileGeometry

CASINO = LonLat(7.4283, 43.7396)
POSES = (
    (0.0, 0.0, 0.0),
    (30.0, 0.0, 0.0),
    (0.0, 40.0, -20.0),
    (117.0, -60.0, 70.0),
    (245.0, 80.0, 80.0),
)


def poses(place: LonLat) -> list[Pose]:
    return [Pose(place.lat, place.lon, *motion) for motion in POSES]


def worst_iou(source: FeatureSource, place: LonLat) -> float:
    """The least IoU of a channel, each taken over all the poses together."""
    drawn = Renderer(source).tiles(place, poses(place)) / 255
    expected = np.stack([reference_tile(source, pose) for pose in poses(place)])
    return min(iou(drawn[:, channel], expected[:, channel]) for channel in range(12))


@pytest.mark.parametrize("place", [CASINO, LonLat(7.4197, 43.7312), LonLat(7.4157, 43.7277)])
def test_tiles_equal_an_independent_drawing(monaco: FeatureSource, place: LonLat) -> None:
    assert worst_iou(monaco, place) >= 0.99


@pytest.mark.parametrize("channel", range(12), ids=load_catalogue().channels.__getitem__)
def test_every_channel_is_drawn_from_real_data(monaco: FeatureSource, channel: int) -> None:
    renderer, outline = Renderer(monaco), monaco.outline()
    for lon, lat in outline.middle[outline.channel == channel]:
        pose = Pose(lat, lon, 30, 10, -20)
        drawn = renderer.tile(pose).pixels[channel] / 255
        if drawn.mean() > 0.02:
            # one tile: the samples are coarse
            assert iou(drawn, reference_tile(monaco, pose)[channel]) >= 0.98
            return
    pytest.fail("no place shows the channel")


def test_the_reference_would_notice_a_wrong_turn_or_shift(monaco: FeatureSource) -> None:
    expected = reference_tile(monaco, Pose(CASINO.lat, CASINO.lon, 30, 40, -20))
    for wrong in ((-30, 40, -20), (30, -40, -20), (30, 40, 20), (30, 41, -20), (31, 40, -20)):
        drawn = Renderer(monaco).tile(Pose(CASINO.lat, CASINO.lon, *wrong)).pixels / 255
        assert iou(drawn[4], expected[4]) < 0.99, wrong


@pytest.fixture
def moved_to(monaco: FeatureSource, tmp_path: Path) -> Callable[[LonLat], FeatureSource]:
    """Open a store that holds the middle of Monaco, metre by metre, at another place on Earth."""

    def move(place: LonLat) -> FeatureSource:
        features = monaco.features(box_around(CASINO, 400))
        here = pyproj.CRS(f"+proj=aeqd +lat_0={CASINO.lat} +lon_0={CASINO.lon} +ellps=WGS84")
        there = pyproj.CRS(f"+proj=aeqd +lat_0={place.lat} +lon_0={place.lon} +ellps=WGS84")
        out = pyproj.Transformer.from_crs("EPSG:4326", here, always_xy=True)
        back = pyproj.Transformer.from_crs(there, "EPSG:4326", always_xy=True)

        def transplant(xy: np.ndarray) -> np.ndarray:
            return np.stack(back.transform(*out.transform(xy[:, 0], xy[:, 1])), axis=1)

        geometry = shapely.transform(shapely.from_wkb(features.wkb), transplant)
        # OSM itself never holds a way across the antimeridian: leave those that would be.
        bounds = shapely.bounds(geometry)
        whole = bounds[:, 2] - bounds[:, 0] < 180
        wkb = shapely.to_wkb(geometry[whole])
        kept = Features(features.channel[whole], features.width_m[whole], wkb)
        area = shapely.box(place.lon - 0.1, place.lat - 0.1, place.lon + 0.1, place.lat + 0.1)
        store = tmp_path / "moved.gpkg"
        write_geopackage(
            store,
            [kept],
            [],
            [ExtractRecord("moved", "0" * 64, area)],
            load_catalogue(),
        )
        return Store.at(store).open()

    return move


@pytest.mark.parametrize(
    "place",
    [
        # Far north and across the antimeridian are the hardest; the others are the same path.
        pytest.param(LonLat(10, 0), marks=pytest.mark.soak),
        pytest.param(LonLat(25, 60), marks=pytest.mark.soak),
        LonLat(15, 78),
        pytest.param(LonLat(-70, -53), marks=pytest.mark.soak),
        LonLat(180, -17),
        pytest.param(LonLat(-179.9995, 65), marks=pytest.mark.soak),
    ],
    ids=str,
)
def test_200_m_are_200_m_at_any_latitude_and_across_the_antimeridian(
    moved_to: Callable[[LonLat], FeatureSource], place: LonLat
) -> None:
    with moved_to(place) as source:
        assert worst_iou(source, place) >= 0.99
        # buildings are there
        assert Renderer(source).tile(Pose(place.lat, place.lon)).pixels[4].mean() > 10


def test_what_a_tile_leaves_out_would_change_no_pixel(
    monaco: FeatureSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = [
        Pose(CASINO.lat, CASINO.lon, angle, angle - 60, 60 - angle) for angle in range(0, 120, 10)
    ]
    chosen = Renderer(monaco).tiles(CASINO, turns)

    def everything(scene: _Scene, windows: Sequence[_Window]) -> np.ndarray:
        return np.ones((len(windows), len(scene._channel)), bool)

    monkeypatch.setattr(_Scene, "shown", everything)
    assert np.array_equal(chosen, Renderer(monaco).tiles(CASINO, turns))


def row_of(place: LonLat, step_m: float, count: int) -> list[LonLat]:
    step = step_m / MetresPerDegree.at(place.lat).x
    return [
        LonLat((place.lon + number * step + 180) % 360 - 180, place.lat) for number in range(count)
    ]


def singles(renderer: Renderer, places: Sequence[LonLat]) -> np.ndarray:
    return np.concatenate([renderer.tiles(place, [Pose(place.lat, place.lon)]) for place in places])


def boxes_asked_for(source: FeatureSource, monkeypatch: pytest.MonkeyPatch) -> list[Box]:
    """Return a list that grows with each query."""
    boxes: list[Box] = []
    query = source.features

    def asked(box: Box) -> Features:
        boxes.append(box)
        return query(box)

    monkeypatch.setattr(source, "features", asked)
    return boxes


def assert_alike(pixels: np.ndarray, expected: np.ndarray) -> None:
    """Expect equal pixels, but for rounding where the border of one picture cuts an edge."""
    difference = np.abs(pixels.astype(int) - expected)
    assert difference.max() <= 3
    assert (difference > 0).mean() < 1e-3
    assert (expected > 0).mean() > 0.03


@pytest.mark.parametrize("step_m", [25, 75, 200])
def test_a_row_of_a_grid_is_one_picture_cut(
    monaco: FeatureSource, step_m: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = row_of(LonLat(7.418, 43.7345), step_m, 6)
    expected = singles(Renderer(monaco), places)
    boxes = boxes_asked_for(monaco, monkeypatch)
    assert_alike(Renderer(monaco).north_up(places), expected)
    assert len(boxes) == 1


@pytest.mark.parametrize(
    "places",
    [
        row_of(CASINO, 30, 3),  # 19.2 pixels apart
        row_of(CASINO, 250, 3),  # their tiles do not touch
        row_of(CASINO, 100, 3)[::-1],  # from east to west
        # a staircase
        [row_of(CASINO._replace(lat=CASINO.lat + 0.0002 * row), 100, 3)[row] for row in range(3)],
        [],
    ],
)
def test_places_that_share_no_pixels_are_drawn_alone(
    monaco: FeatureSource, places: list[LonLat]
) -> None:
    drawn = Renderer(monaco).north_up(places)
    assert len(drawn) == len(places)
    for tile, place in zip(drawn, places, strict=True):
        assert np.array_equal(tile, Renderer(monaco).tile(Pose(place.lat, place.lon)).pixels)


def test_a_row_may_cross_the_antimeridian(
    moved_to: Callable[[LonLat], FeatureSource], monkeypatch: pytest.MonkeyPatch
) -> None:
    with moved_to(LonLat(180, 65)) as source:
        places = row_of(LonLat(179.9985, 65), 25, 6)
        assert places[0].lon > 0 > places[-1].lon
        renderer = Renderer(source)
        expected = singles(renderer, places)
        boxes = boxes_asked_for(source, monkeypatch)
        assert_alike(renderer.north_up(places), expected)
        assert len(boxes) == 1


def test_many_tiles_of_a_place_equal_single_ones(monaco: FeatureSource) -> None:
    renderer = Renderer(monaco)
    together = renderer.tiles(CASINO, poses(CASINO))
    for tile, pose in zip(together, poses(CASINO), strict=True):
        assert np.array_equal(tile, renderer.tile(pose).pixels)


def test_nothing_of_one_place_is_left_in_the_next(monaco: FeatureSource) -> None:
    renderer = Renderer(monaco)
    renderer.tile(poses(CASINO)[0])
    sea = renderer.tile(Pose(43.7262, 7.4325))
    assert sea.pixels[5].min() == 255
    assert not np.delete(sea.pixels, 5, axis=0).any()


def test_poses_of_another_place_are_refused(monaco: FeatureSource) -> None:
    with pytest.raises(ValueError, match="every pose must be about"):
        Renderer(monaco).tiles(CASINO, [Pose(43.0, 7.0)])


def test_a_larger_tile_shows_more_ground_at_the_same_size(monaco: FeatureSource) -> None:
    pose = Pose(CASINO.lat, CASINO.lon)
    wide = Renderer(monaco, TileGeometry(radius_m=200.0)).tile(pose)
    near = Renderer(monaco).tile(pose)
    assert wide.metres_per_pixel == 2 * near.metres_per_pixel
    middle = wide.pixels[4, 32:96, 32:96] / 255
    assert iou(middle, near.pixels[4].reshape(64, 2, 64, 2).mean(axis=(1, 3)) / 255) > 0.99


def test_a_store_of_another_catalogue_is_refused(monaco: FeatureSource) -> None:
    monaco.fingerprint = "f" * 16
    with pytest.raises(FingerprintError, match="another channel catalogue"):
        Renderer(monaco)
