"""Baselines: what an embedding has to beat."""

import numpy as np
import pytest
import shapely
import torch
from numpy.typing import NDArray

from loc2vec.evaluation.baselines import (
    COARSE,
    channel_means,
    count_near,
    histogram,
    pixel_components,
    position,
    tag_counts,
    untrained,
    without_labels,
)
from tiling.geo.geodesy import MetresPerDegree
from tiling.osm.extract import OsmObject
from tiling.values import LonLat

HERE = LonLat(7.42, 43.73)


def tiles(n: int = 6, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (n, 12, 128, 128), np.uint8)


def near(x_m: float, y_m: float = 0.0) -> bytes:
    """A point so many metres east and north of `HERE`, as WKB."""
    scale = MetresPerDegree.at(HERE.lat)
    wkb: bytes = shapely.Point(HERE.lon + x_m / scale.x, HERE.lat + y_m / scale.y).wkb
    return wkb


def test_channel_means_are_the_cover_of_each_channel() -> None:
    some = tiles()
    found = channel_means(some)
    np.testing.assert_allclose(found, some.mean((2, 3)) / 255, rtol=1e-5)
    assert found.dtype == np.float32


@pytest.mark.parametrize("parts", [2, 4])
def test_a_histogram_of_squares_says_where_the_cover_lies(parts: int) -> None:
    one = np.zeros((1, 12, 128, 128), np.uint8)
    side = 128 // parts
    one[0, 3, -side:, :side] = 255  # the square in the south-west
    found = histogram(parts)(one).reshape(12, parts, parts)
    assert found[3, -1, 0] == 1.0
    assert found.sum() == 1.0


def test_a_turned_tile_has_the_same_means_but_other_squares() -> None:
    some = tiles(2)
    some[:, 5, :64] = 0
    turned = np.rot90(some, axes=(2, 3))
    np.testing.assert_allclose(channel_means(turned), channel_means(some), rtol=1e-5)
    assert np.abs(histogram(2)(turned) - histogram(2)(some)).max() > 0.1


def test_pixel_components_are_principal_components() -> None:
    sample = tiles(30)
    found = pixel_components(sample, 5)(sample)
    pixels = histogram(COARSE)(sample)
    centred = pixels - pixels.mean(0)
    _, values, axes = np.linalg.svd(centred, full_matrices=False)
    assert found.shape == (30, 5)
    np.testing.assert_allclose(np.abs(found), np.abs(centred @ axes[:5].T), atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(found, axis=0), values[:5], rtol=1e-3)


def test_an_untrained_network_is_the_same_for_a_seed_and_leaves_the_random_state() -> None:
    sample = tiles(8)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, again, other = (
        untrained(["loc2vec"], sample, seed)["untrained loc2vec"](sample) for seed in (0, 0, 1)
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert (first == again).all()
    assert np.abs(first - other).max() > 1e-3


def test_an_untrained_network_does_not_look_at_the_other_tiles_of_a_batch() -> None:
    sample = tiles(8)
    encode = untrained(["loc2vec"], sample)["untrained loc2vec"]
    np.testing.assert_allclose(encode(sample[:2]), encode(sample)[:2], atol=1e-4)


def test_each_family_comes_once_beside_the_other_baselines() -> None:
    sample = tiles(4)
    found = without_labels(["loc2vec", "loc2vec"], sample, sample)
    assert list(found) == ["untrained loc2vec", "channel means", "16 pixel components"]


def test_positions_that_are_near_look_alike_and_far_ones_do_not() -> None:
    lat, lon = np.array([43.73, 43.7301, 43.745, -20.0]), np.array([7.42, 7.4201, 7.42, 120.0])
    found = position(lat, lon)
    assert found.shape == (4, 16)
    away = np.linalg.norm(found - found[0], axis=1)
    assert away[1] < 0.1 < 1 < away[2]
    assert away[3] > 1
    np.testing.assert_allclose(position(lat, lon + 360), found, atol=1e-4)


def test_tags_are_counted_in_the_square_of_200_m() -> None:
    tagged = [
        (near(0), "shop"), (near(95, 95), "shop"), (near(105), "shop"), (near(0, -105), "shop"),
        (near(-95), "bench"),
    ]  # fmt: skip
    names, counts = count_near(tagged, [HERE, LonLat(0, 0)])
    assert names == ["bench", "shop"]
    assert counts.tolist() == [[1, 2], [0, 0]]


def test_a_large_area_counts_where_it_reaches_into_the_square() -> None:
    scale = MetresPerDegree.at(HERE.lat)
    ring = [(90, -500), (500, -500), (500, 500), (90, 500)]
    area = shapely.Polygon([(HERE.lon + x / scale.x, HERE.lat + y / scale.y) for x, y in ring])
    assert count_near([(area.wkb, "park")], [HERE])[1].tolist() == [[1]]


def test_nothing_to_count_has_no_columns() -> None:
    names, counts = count_near([], [HERE, HERE])
    assert (names, counts.shape) == ([], (2, 0))


def test_tag_counts_leave_out_what_is_blank_or_not_rendered() -> None:
    def item(x_m: float, *drawn: tuple[int, str]) -> OsmObject:
        return OsmObject("point", {}, drawn, near(x_m))

    objects = [
        item(0, (4, "building")), item(5, (4, "building"), (11, "amenity=school")), item(9),
        item(7, (6, "natural=tree")),
    ]  # fmt: skip
    found = tag_counts(objects, [HERE])
    np.testing.assert_allclose(found, np.log1p([[1, 2, 1]]))
    np.testing.assert_allclose(tag_counts(objects, [HERE], blank=(4,)), np.log1p([[1, 1]]))
