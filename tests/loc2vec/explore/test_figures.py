"""Clouds, maps, kinds, classes, histograms, reasons, filters: what they find, plot and refuse."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import shapely
import torch
from numpy.typing import NDArray
from PIL import Image

from loc2vec.encoders.registry import build
from loc2vec.errors import ExploreError
from loc2vec.evaluation.baselines import channel_means
from loc2vec.evaluation.tasks.task import Task
from loc2vec.explore.clusters import kinds_of
from loc2vec.explore.equal_histograms import equal_histograms
from loc2vec.explore.filters import excite, layers_of
from loc2vec.explore.lda import discriminate
from loc2vec.explore.map import town
from loc2vec.explore.pca_tsne import pca, tsne, write_animation
from loc2vec.explore.saliency import occlusion, saliency
from loc2vec.explore.space import Space
from loc2vec.explore.why import compare
from loc2vec.paper.colours import Components
from loc2vec.paper.painting import Painting, spacing_of
from loc2vec.paper.plot import Shown, save
from tests.loc2vec.explore.explored import CHANNELS, SIDE, SOUTH, STEP_DEG, WEST, encode, make_space
from tiling.osm.extract import OsmObject
from tiling.values import N_CHANNELS, Box, LonLat, TileGeometry

MIDDLE = LonLat(WEST + 6 * STEP_DEG, SOUTH + 6 * STEP_DEG)
CORNER = LonLat(WEST, SOUTH)


@pytest.fixture(scope="module")
def space() -> Space:
    return make_space()


def points_of(html: str) -> dict[str, list[object]]:
    found = re.search(r'<script type="application/json">(.*?)</script>', html, re.DOTALL)
    assert found is not None
    return dict(json.loads(found[1]))


def test_the_components_are_the_axes_of_the_cloud(space: Space, tmp_path: Path) -> None:
    cloud = pca(space, count=60)
    assert cloud.at.shape == (60, 3)
    assert [float(axis.partition("(")[2].rstrip("%)")) for axis in cloud.axes] == sorted(
        (float(axis.partition("(")[2].rstrip("%)")) for axis in cloud.axes), reverse=True
    )
    vectors = encode(np.stack([view.tile for view in cloud.views]))
    expected = Components.fit(space.vectors.embedding).project(vectors)
    np.testing.assert_allclose(cloud.at, expected, atol=1e-6)
    _, html = save(cloud, tmp_path / "cloud")
    points = points_of(html.read_text(encoding="utf-8"))
    assert len(points["at"]) == len(points["names"]) == len(points["colours"]) == 60
    assert len(points["at"][0]) == 3  # type: ignore[arg-type]


def test_the_animation_turns(space: Space, tmp_path: Path) -> None:
    told: list[int] = []
    path = write_animation(pca(space, count=20), tmp_path / "turn", told.append)
    picture = Image.open(path)
    assert getattr(picture, "n_frames", 1) == sum(told) == 40
    frames = []
    for number in (0, 10):
        picture.seek(number)
        frames.append(np.asarray(picture.convert("RGB")).astype(int))
    assert np.abs(frames[0] - frames[1]).mean() > 1


def test_tsne_keeps_neighbours_and_refuses_few_places(space: Space) -> None:
    cloud = tsne(space, count=100, perplexity=10)
    vectors = encode(np.stack([view.tile for view in cloud.views]))
    far = np.linalg.norm(vectors[:, None] - vectors, axis=2)
    laid = np.linalg.norm(cloud.at[:, None] - cloud.at, axis=2)
    same = [
        len(set(np.argsort(a)[1:6]) & set(np.argsort(b)[1:6]))
        for a, b in zip(far, laid, strict=True)
    ]
    assert np.mean(same) > 2.5  # of 5; by chance 0.25
    with pytest.raises(
        ExploreError, match="20 places are too few for t-SNE with perplexity 30: it needs 90"
    ):
        tsne(space, count=20)


def test_the_map_has_the_colours_of_its_places(space: Space, tmp_path: Path) -> None:
    found = town(space, "Known Town")
    assert found.painting.spacing_m == pytest.approx(143, rel=0.02)  # the nearest lie to the east
    height, width = found.chart.shape[:2]
    at, _ = found.painting.pixels(found.box, width)
    picture = found.painting.paint(found.box, width, 3 * height)
    x, y = at[77].round().astype(int)
    assert picture[y, x].tolist() == [*found.painting.colours[77].tolist(), 255]
    assert not picture[0, 0].any()
    assert at[found.painting.lat.argmax(), 1] < at[found.painting.lat.argmin(), 1]  # north is up
    assert at[found.painting.lon.argmax(), 0] > at[found.painting.lon.argmin(), 0]
    keys = {key.name.partition(" (")[0]: key.view.place for key in found.keys}
    assert len(keys) == 6
    _, html = save(found, tmp_path / "map")
    assert "component 1" in html.read_text(encoding="utf-8")


def test_places_too_far_apart_are_no_map() -> None:
    with pytest.raises(ExploreError, match="give a --bbox"):
        _ = Painting(
            np.array([0.0, 50.0]), np.array([0.0, 9.0]), np.zeros((2, 3), np.uint8), 100.0
        ).box
    with pytest.raises(ExploreError, match="one place is no map"):
        spacing_of(np.array([1.0, 1.0]), np.array([2.0, 2.0]))


def test_squares_abut_in_a_painting() -> None:
    lon = 7 + np.arange(20, dtype=np.float64) * 0.001
    lat = np.full(20, 43.0)
    painting = Painting(lat, lon, np.full((20, 3), 9, np.uint8), spacing_of(lat, lon))
    box = Box(7.0, 42.999, 7.019, 43.001)
    at, side = painting.pixels(box, 700)
    row = painting.paint(box, 700, 120)[int(at[0, 1])]
    assert 30 < side < 42
    assert (row[:, 3] == 255).all()


def tagged(tag: dict[str, str], lat: float, lon: float) -> OsmObject:
    return OsmObject("point", tag, (), shapely.Point(lon, lat).wkb)


@pytest.mark.parametrize("method", ["k-means", "hdbscan"])
def test_kinds_are_named_by_what_is_over_represented(method: str, tmp_path: Path) -> None:
    space = make_space()
    vectors = space.vectors
    north = vectors.lat > SOUTH + 6 * STEP_DEG
    vectors.embedding[:] = np.where(north[:, None], 5, 0) + np.random.default_rng(0).normal(
        0, 0.05, (len(north), 4)
    )
    objects = [
        tagged({"railway": "abandoned", "amenity": "bench"}, lat, lon)
        for lat, lon in zip(vectors.lat, vectors.lon, strict=True)
    ]
    objects += [
        tagged({"shop": "bakery"}, lat, lon)
        for lat, lon in zip(vectors.lat[north], vectors.lon[north], strict=True)
    ]
    found = kinds_of(space, "Known Town", 2, method, objects)  # type: ignore[arg-type]
    assert len(found.kinds) == 2
    assert sorted(len(kind.rows) for kind in found.kinds) == sorted(
        [int(north.sum()), int((~north).sum())]
    )
    of_north = next(kind for kind in found.kinds if north[kind.rows].all())
    assert of_north.name.split("; ")[0] == f"shops ×{len(north) / north.sum():.1f}"
    assert all(view.place.lat > SOUTH + 6 * STEP_DEG for view in of_north.typical)
    assert [found.columns["kind"][row] for row in np.flatnonzero(north)] == [
        found.label[north][0]
    ] * north.sum()
    save(found, tmp_path / "kinds")


def test_kinds_without_tags_are_named_by_their_channels() -> None:
    found = kinds_of(make_space(), "Known Town", 3)
    assert {name.partition(" ×")[0] for kind in found.kinds for name in kind.name.split("; ")} <= {
        *CHANNELS,
        "nothing in particular",
    }
    with pytest.raises(ExploreError, match="give 2 to 7"):
        kinds_of(make_space(), "Known Town", 8)


def test_equal_histograms_are_equal_and_far() -> None:
    space = make_space()
    found = equal_histograms(space, count=3, tolerance=0.02)
    used = []
    for pair in found.pairs:
        cover = channel_means(np.stack([pair.a.tile, pair.b.tile]))
        assert np.abs(cover[0] - cover[1]).mean() == pytest.approx(pair.difference, abs=1e-6)
        assert pair.difference <= 0.02
        assert pair.distance == pytest.approx(
            float(np.linalg.norm(np.diff(encode(np.stack([pair.a.tile, pair.b.tile])), axis=0))),
            rel=1e-4,
        )
        used += [pair.a.place, pair.b.place]
    assert len(set(used)) == len(used)
    assert [pair.distance for pair in found.pairs] == sorted(
        (pair.distance for pair in found.pairs), reverse=True
    )
    with pytest.raises(ExploreError, match=r"no two differ by at most 0\.000"):
        equal_histograms(space, tolerance=0.0)


def test_occlusion_finds_the_planted_channel_and_the_planted_spot() -> None:
    def speck(tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The cover of channel 7 above the middle, to the right: what moves the vector is known."""
        cover = tiles[:, 7, 16:40, 64:88].mean((1, 2), dtype=np.float32)
        return np.asarray(cover[:, None] / 255, np.float32)

    tile = np.full((N_CHANNELS, 128, 128), 200, np.uint8)
    groups = ([*range(N_CHANNELS)], [7], [3])
    everywhere, own, other = (occlusion(speck, tile, np.array(group)) for group in groups)
    assert np.array_equal(everywhere, own)
    assert not other.any()
    y, x = np.unravel_index(own.argmax(), own.shape)
    assert 2 <= y < 5  # cells of 8 pixels
    assert 8 <= x < 11
    assert own.max() > 0.3  # emptied: filled, the square would move the vector by a fifth
    assert not own[8:].any()


def test_saliency_shows_each_scale_over_its_own_ground() -> None:
    near = make_space()

    def render(places: Sequence[LonLat]) -> NDArray[np.uint8]:
        tiles = near.render(places)
        wide = np.zeros_like(tiles)
        wide[:, 7, : wide.shape[2] // 3, wide.shape[3] // 2 :] = 255  # above, to the right
        return np.concatenate([tiles, wide], 1)

    def encode(tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.asarray(tiles[:, N_CHANNELS + 7].mean((1, 2))[:, None] / 255, np.float32)

    geometry = TileGeometry(near.geometry.size, near.geometry.radius_m, (400.0,))
    channels = (*near.channels, *(f"{name}, 400 m" for name in near.channels))
    ground = replace(near, render=render, encode=encode, geometry=geometry, channels=channels)
    found = saliency(ground, MIDDLE)
    assert found.regions.any((1, 2)).tolist() == [False, True]
    assert found.sides_m == (2 * near.geometry.radius_m, 800.0)
    names = [name for name, _ in found._panels()]
    assert names[3:] == ["the tile, 800 m", "all channels", channels[N_CHANNELS + 7]]
    tile, overlaid = (picture for _, picture in found._panels()[3:5])
    assert (tile == found.view.pictures[1]).all()
    size = len(tile)
    assert overlaid[size // 8, -size // 4].sum() < overlaid[-size // 8, size // 4].sum() - 100
    assert len(set(re.findall(r'name="layer\d"', found.page()))) == 2


def test_saliency_and_reasons_of_a_place(space: Space, tmp_path: Path) -> None:
    told: list[int] = []
    found = saliency(make_space(), MIDDLE, told.append)
    assert sum(told) == 13
    assert set(np.flatnonzero(found.channel)) == {2, 4}
    assert set(np.flatnonzero(found.by_channel.any((1, 2)))) == {2, 4}
    why = compare(make_space(), CORNER, MIDDLE)
    assert set(np.flatnonzero(np.abs(why.why.effect) > 1e-6)) == {2, 4}
    figures: tuple[Shown, ...] = (found, why)
    for number, shown in enumerate(figures):
        _, html = save(shown, tmp_path / str(number))
        assert 'type="radio"' in html.read_text(encoding="utf-8")


def test_classes_that_lie_apart_are_told_apart(tmp_path: Path) -> None:
    space = make_space()
    rows = np.arange(SIDE * SIDE)
    third = np.minimum((space.vectors.lon - WEST) // (4 * STEP_DEG), 2).astype(np.int64)
    zeros = np.zeros(len(rows), np.int64)
    task = Task(
        "third",
        "which third",
        space.vectors.lat,
        space.vectors.lon,
        third,
        ("a", "b", "c"),
        zeros,
        ("town",),
    )
    found = discriminate(space, task)
    assert found.accuracy > 0.85
    assert found.largest < 0.5
    assert found.at.shape == (len(found.label), 2)
    save(found, tmp_path / "classes")
    with pytest.raises(ExploreError, match="2 classes"):
        discriminate(space, task.at(np.flatnonzero(third < 2)))


def test_inputs_raise_the_answers_of_their_filters() -> None:
    torch.manual_seed(0)
    network = build("loc2vec").eval()
    layers = layers_of(network)
    assert next(iter(layers)) == "features.0"
    assert [convolution.out_channels for convolution, _ in layers.values()] == [
        32,
        32,
        64,
        64,
        128,
        64,
        64,
    ]
    convolution, norm = layers["features.3"]
    with torch.no_grad():
        assert convolution.bias is not None
        convolution.weight[5], convolution.bias[5] = 0, -1
        norm.get_parameter("bias")[5] = -1
    told: list[int] = []
    found = excite(network, "features.3", CHANNELS, count=6, steps=25, tell=told.append)
    alive = np.arange(6) != 5
    assert sum(told) == 25
    assert (found.after[alive] > found.before[alive] + 0.3).all()
    assert np.array_equal(found.alive, alive)
    assert found.dead == 1
    assert found.inputs.min() >= 0
    assert found.inputs.max() <= 1
    assert found.strips.rows[0].cells[5].heading == "5 dead"
    with pytest.raises(ExploreError, match=r"no layer is called 'top': choose from features\.0"):
        excite(network, "top", CHANNELS)
