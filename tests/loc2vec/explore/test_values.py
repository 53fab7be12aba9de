"""What figures compute: pairs, clouds, maps, ways and filters, against what is known of the town.

Tiles, vectors and neighbours are those of `explored`.
"""

import json
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from loc2vec.embed.files import Vectors
from loc2vec.errors import ExploreError, InputError
from loc2vec.evaluation.baselines import channel_means
from loc2vec.evaluation.tasks.task import Task
from loc2vec.explore.arithmetic import arithmetic, parse
from loc2vec.explore.equal_histograms import LEAST_COVER, equal_histograms
from loc2vec.explore.filters import excite, layers_of
from loc2vec.explore.interpolate import interpolate
from loc2vec.explore.lda import TESTED, discriminate
from loc2vec.explore.map import ENDS_PERCENT, Town, town
from loc2vec.explore.pca_tsne import (
    AXES,
    FEWEST,
    KEY_SHARE,
    STILL_PX,
    STILL_SPRITE_PX,
    Cloud,
    pca,
    tsne,
)
from loc2vec.explore.saliency import PATCH, STEP, occlusion, saliency
from loc2vec.explore.space import Space, place_of
from loc2vec.explore.walk import kilometres, random_walks
from loc2vec.explore.why import compare
from loc2vec.paper.colours import Colours, Components, to_hex
from tests.loc2vec.explore.explored import (
    CHANNELS,
    SIDE,
    SOUTH,
    STEP_DEG,
    WEST,
    Near,
    encode,
    make_space,
    tile_at,
)
from tiling.errors import OutsideError
from tiling.values import N_CHANNELS, LonLat

COUNT = SIDE * SIDE
CORNER, MIDDLE = LonLat(WEST, SOUTH), LonLat(WEST + 6 * STEP_DEG, SOUTH + 6 * STEP_DEG)


@pytest.fixture(scope="module")
def space() -> Space:
    return make_space()


@pytest.fixture(scope="module")
def mapped(space: Space) -> Town:
    return town(space, "Known Town")


def some_of(space: Space, rows: NDArray[np.int64]) -> Space:
    """The space with some of its places alone."""
    known = space.vectors
    few = Vectors(known.lat[rows], known.lon[rows], known.embedding[rows], None, "m", "f")
    return replace(space, vectors=few)


def embedded(html: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json">(.*?)</script>', html, re.DOTALL)
    assert found is not None
    return dict(json.loads(found[1]))


class TestSpace:
    def test_a_view_has_the_tile_and_the_name_of_its_place(self, space: Space) -> None:
        view = space.view(MIDDLE)
        assert np.array_equal(view.tile, tile_at(MIDDLE))
        assert (view.place, view.name) == (MIDDLE, "Place 50.012 & 8.012")
        assert space.side_m == 200

    def test_views_keep_the_order_of_places_and_of_rows(self, space: Space) -> None:
        rows = np.array([140, 3, 77, 3])
        views = space.rows(rows)
        assert [view.place.lat for view in views] == space.vectors.lat[rows].tolist()
        np.testing.assert_array_equal(space.embed(views), space.vectors.embedding[rows])

    def test_a_place_outside_cannot_be_seen(self, space: Space) -> None:
        with pytest.raises(OutsideError, match="is outside"):
            space.view(LonLat(0, 0))

    def test_no_more_places_than_there_are_may_be_asked_for(self, space: Space) -> None:
        space.require(COUNT)
        with pytest.raises(ExploreError, match=f"steps = {COUNT + 1}: only {COUNT} places"):
            space.require(COUNT + 1, "steps")

    def test_a_neighbour_lies_at_its_lat_and_lon(self) -> None:
        assert place_of(Near(4, 50.5, 8.25, 0.1)) == LonLat(8.25, 50.5)


class TestPairs:
    def brute_force(self, space: Space, tolerance: float) -> tuple[int, int]:
        """The farthest pair of places of equal cover, by looking at every pair."""
        tiles = np.stack([view.tile for view in space.rows(np.arange(COUNT))])
        cover = channel_means(tiles)
        vectors = space.vectors.embedding.astype(np.float64)
        best, found = -1.0, (0, 0)
        for a in range(COUNT):
            for b in range(a + 1, COUNT):
                if min(cover[a].sum(), cover[b].sum()) < LEAST_COVER:
                    continue
                far = float(np.linalg.norm(vectors[a] - vectors[b]))
                if np.abs(cover[a] - cover[b]).mean() <= tolerance and far > best:
                    best, found = far, (a, b)
        return found

    def test_the_first_pair_is_the_farthest_of_all(self, space: Space) -> None:
        found = equal_histograms(space, count=1, tolerance=0.03).pairs[0]
        a, b = self.brute_force(space, 0.03)
        vectors = space.vectors
        assert found.distance == pytest.approx(
            float(np.linalg.norm(vectors.embedding[a] - vectors.embedding[b])), rel=1e-6
        )

    def test_no_pair_has_an_empty_tile(self, space: Space) -> None:
        for pair in equal_histograms(space, count=100, tolerance=0.05).pairs:
            for view in (pair.a, pair.b):
                assert channel_means(view.tile[None]).sum() >= LEAST_COVER

    def test_a_percentile_is_the_share_of_nearer_pairs(self, space: Space) -> None:
        (pair,) = equal_histograms(space, count=1, tolerance=0.02).pairs
        assert 0 < pair.percentile < 1
        full = [view for view in space.rows(np.arange(COUNT))
                if channel_means(view.tile[None]).sum() >= LEAST_COVER]  # fmt: skip
        vectors = space.embed(full).astype(np.float64)
        every = np.linalg.norm(vectors[:, None] - vectors, axis=2)[np.triu_indices(len(full), 1)]
        assert pair.percentile == pytest.approx((every < pair.distance).mean(), abs=0.002)

    def test_few_places_are_looked_at_if_few_are_asked_for(self, space: Space) -> None:
        told: list[int] = []
        equal_histograms(space, places=80, tolerance=0.05, tell=told.append)
        assert sum(told) == 80

    def test_one_place_makes_no_pair(self, space: Space) -> None:
        with pytest.raises(ExploreError, match="of 1 places no two differ"):
            equal_histograms(some_of(space, np.array([COUNT - 1])))

    def test_equal_places_are_a_pair_without_distance(self, space: Space) -> None:
        found = equal_histograms(some_of(space, np.array([COUNT - 1] * 3)))
        (pair,) = found.pairs
        assert (pair.difference, pair.distance, pair.percentile) == (0, 0, 0)
        heads = [cell.lines[-1] for row in found.strips.rows for cell in row.cells]
        assert heads == ["farther than 0% of all pairs", "cover differs by 0.0%"]


class TestClouds:
    def test_no_more_places_than_there_are(self, space: Space) -> None:
        cloud = pca(space, count=10_000)
        assert len(cloud.views) == len(cloud.at) == len(cloud.colours) == COUNT
        assert "144 places by their first three" in cloud.lead

    def test_a_place_has_the_colour_of_the_map(self, space: Space, mapped: Town) -> None:
        cloud = pca(space, count=10_000)
        assert np.array_equal(cloud.colours, mapped.painting.colours)

    def test_seeds_choose_other_places(self, space: Space) -> None:
        names = [[view.name for view in pca(space, count=12, seed=s).views] for s in (0, 0, 1)]
        assert names[0] == names[1] != names[2]

    def seen(self, at: NDArray[np.float64], yaw: float) -> NDArray[np.uint8]:
        space = make_space()
        views = space.rows(np.zeros(len(at), np.int64))
        colours = np.array([(255, 0, 0), (0, 0, 255), (9, 9, 9), (9, 9, 9)], np.uint8)[: len(at)]
        cloud = Cloud("", "", (), at, views, colours, CHANNELS)
        return cloud.picture((400, 300), yaw)

    def middles(self, picture: NDArray[np.uint8]) -> list[NDArray[np.float64]]:
        """Where the red and the blue frame are, x and y."""
        return [
            np.argwhere((picture == colour).all(2))[:, ::-1].mean(0)
            for colour in ((255, 0, 0), (0, 0, 255))
        ]

    @pytest.mark.parametrize("shape", [(1, 1, 1), (3, 1, 0.2), (0.2, 1, 3)])
    def test_the_still_picture_is_full(self, shape: tuple[float, float, float]) -> None:
        """Whatever its shape, the cloud reaches all four edges, and no tile is cut."""
        space = make_space()
        at = np.random.default_rng(0).normal(size=(30, 3)) * shape
        views = space.rows(np.arange(30))
        cloud = Cloud("", "", (), at, views, np.zeros((30, 3), np.uint8), CHANNELS)
        picture = cloud.still()
        height, width = picture.shape[:2]
        assert max(width / STILL_PX[0], height / STILL_PX[1]) == pytest.approx(1, abs=0.01)
        seen = (picture != 255).any(2)
        rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
        edge = 1.2 * STILL_SPRITE_PX
        for marks, size in ((rows, height), (columns, width)):
            assert 0 < marks[0] < edge
            assert size - edge < marks[-1] < size - 1

    def test_names_of_axes_stand_below_the_tiles(self) -> None:
        space = make_space()
        at = np.random.default_rng(0).normal(size=(30, 3))
        dark = np.full((30, 3), 1, np.uint8)
        with_key, bare = (
            Cloud("", "", axes, at, space.rows(np.arange(30)), dark, CHANNELS).still()
            for axes in (("one", "two", "three"), ())
        )
        key = round(KEY_SHARE * STILL_PX[1])
        strip = with_key[-key:]
        for colour in AXES:
            ink = np.frombuffer(bytes.fromhex(colour[1:]), np.uint8)
            assert (strip == ink).all(2).any(), colour
            assert not (with_key[:-key] == ink).all(2).any(), colour
        assert not (strip == 1).all(2).any(), "no frame of a tile"
        assert bare.shape[0] <= STILL_PX[1]

    def test_the_first_axis_leads_to_the_right_and_the_third_up(self) -> None:
        across = np.array([(-1.0, 0, 0), (1, 0, 0)])
        red, blue = self.middles(self.seen(across, 0.0))
        assert blue[0] - red[0] > 200
        assert blue[1] == pytest.approx(red[1], abs=2)
        red, blue = self.middles(self.seen(across, np.pi))
        assert red[0] - blue[0] > 200
        up = np.array([(-0.5, 0, -1), (0.5, 0, 1)])
        red, blue = self.middles(self.seen(up, 0.0))
        assert red[1] - blue[1] > 100

    def test_what_is_near_hides_what_is_far(self) -> None:
        at = np.array([(0.0, -0.05, 0), (0, 0.05, 0), (-1, 0, 0), (1, 0, 0)])  # the first is nearer
        for yaw, whole in ((0.0, 0), (np.pi, 1)):
            picture = self.seen(at, yaw)
            shown = [(picture == colour).all(2).sum() for colour in ((255, 0, 0), (0, 0, 255))]
            assert shown[whole] > 1.2 * shown[1 - whole]

    def test_equal_places_are_a_cloud_too(self) -> None:
        assert self.seen(np.zeros((2, 3)), 0.5).shape == (300, 400, 3)

    def test_the_page_has_every_coordinate(self, space: Space) -> None:
        cloud = pca(space, count=9)
        points = embedded(cloud.page())
        np.testing.assert_allclose(points["at"], cloud.at, atol=6e-5)
        assert points["axes"] == list(cloud.axes)
        assert points["colours"] == to_hex(cloud.colours)
        assert points["places"] == [view.where for view in cloud.views]
        assert points["sprites"] is True

    @pytest.mark.parametrize(("perplexity", "least"), [(1.0, FEWEST), (5.0, 15), (5.1, 16)])
    def test_neighbourhoods_need_places(self, space: Space, perplexity: float, least: int) -> None:
        message = f"{least - 1} places are too few for t-SNE .* needs {least}; give"
        with pytest.raises(ExploreError, match=message):
            tsne(space, count=least - 1, perplexity=perplexity)


class TestTown:
    def test_a_key_is_an_end_of_its_component(self, space: Space, mapped: Town) -> None:
        vectors = space.vectors.embedding
        components = Components.fit(vectors)
        at = components.project(vectors)
        keys = components.project(space.embed([key.view for key in mapped.keys]))
        for axis in range(2):  # nothing varies along the third
            low, high = np.percentile(at[:, axis], [ENDS_PERCENT, 100 - ENDS_PERCENT])
            assert keys[2 * axis, axis] <= low + 1e-6
            assert keys[2 * axis + 1, axis] >= high - 1e-6
        shares = [f"{share:.0%}" for share in components.shares]
        assert [key.name for key in mapped.keys] == [
            f"{end} component {axis + 1} ({shares[axis]})" for axis in range(3) for end in "−+"
        ]

    def test_a_key_has_the_colour_of_its_place(self, space: Space, mapped: Town) -> None:
        rgb = Colours.fit(space.vectors.embedding).rgb(
            space.embed([key.view for key in mapped.keys])
        )
        assert [key.colour for key in mapped.keys] == to_hex(rgb)

    def test_the_spacing_may_be_given(self, space: Space, mapped: Town) -> None:
        wide = town(space, "Known Town", spacing_m=500.0)
        assert wide.painting.spacing_m == 500
        assert "about 500 m apart" in wide.lead
        assert wide.box.west < mapped.box.west
        assert wide.box.north > mapped.box.north

    def test_the_map_is_tinted_where_places_are(self, mapped: Town) -> None:
        picture = mapped.picture
        assert picture.shape == mapped.chart.shape
        over = mapped.painting.paint(mapped.box, *picture.shape[1::-1])
        clear = over[:, :, 3] == 0
        assert np.array_equal(picture[clear], mapped.chart[clear])
        assert (picture[~clear] != mapped.chart[~clear]).any(1).mean() > 0.9

    def test_the_page_points_at_the_pixels_of_places(self, mapped: Town) -> None:
        points = embedded(mapped.page())
        at, _ = mapped.painting.pixels(mapped.box, mapped.chart.shape[1])
        np.testing.assert_allclose(points["at"], at[mapped.rows], atol=6e-5)
        assert len(points["names"]) == COUNT

    def test_the_figure_has_a_map_and_six_keys(self, mapped: Town) -> None:
        figure = mapped.figure()
        panel, *keys = figure.axes
        assert np.array_equal(np.asarray(panel.images[0].get_array()), mapped.picture)
        assert [axes.get_title(loc="left") or axes.get_title() for axes in keys] == [
            key.name for key in mapped.keys
        ]

    def test_one_place_is_no_town(self, space: Space) -> None:
        with pytest.raises(ExploreError, match="one place is no map"):
            town(some_of(space, np.array([7, 7])), "Hamlet")

    def test_nothing_finite_has_no_colour(self, space: Space) -> None:
        vectors = replace(space.vectors, embedding=np.full((COUNT, 4), np.nan, np.float32))
        with pytest.raises(InputError, match="nothing to colour"):
            town(replace(space, vectors=vectors), "Nowhere")


class TestWays:
    def test_a_way_between_equal_places_stays_there(self, space: Space) -> None:
        found = interpolate(space, MIDDLE, MIDDLE, steps=4, apart_m=200.0)
        assert len({view.place for view in found.nearest}) == 1
        assert found.distances[0] == found.distances[1] > 0

    def test_a_way_without_places_says_so(self, space: Space) -> None:
        with pytest.raises(ExploreError, match="lies 99000 m from both ends: give a larger index"):
            interpolate(space, CORNER, MIDDLE, apart_m=99_000)

    def test_a_strip_says_how_far_along_each_step_is(self, space: Space) -> None:
        (row,) = interpolate(space, CORNER, MIDDLE, steps=5).strips.rows
        assert [cell.heading for cell in row.cells] == ["start", "25%", "50%", "75%", "end"]
        assert [bool(cell.frame) for cell in row.cells] == [True, False, False, False, True]

    def test_a_sum_is_told_as_a_formula(self, space: Space) -> None:
        found = arithmetic(space, "50.004,8.004 - 50.006,8.006 + 50.010,8.012", k=2)
        assert found.strips.title == "A − B + C ="
        operands, results = found.strips.rows
        assert [cell.heading for cell in operands.cells] == ["A", "− B", "+ C"]
        assert [cell.heading for cell in results.cells] == [f"d {d:.2f}" for d in found.distances]

    def test_a_sum_near_which_nothing_is_left_says_so(self, space: Space) -> None:
        with pytest.raises(ExploreError, match="every indexed place lies within 90000 m"):
            arithmetic(space, "50.004,8.004", apart_m=90_000)

    def test_the_order_of_what_is_added_does_not_matter(self, space: Space) -> None:
        one, other = "50.004,8.004 + 50.010,8.012", "50.010,8.012 + 50.004,8.004"
        first, second = arithmetic(space, one), arithmetic(space, other)
        np.testing.assert_allclose(first.vector, second.vector, atol=1e-6)
        assert [v.place for v in first.nearest] == [v.place for v in second.nearest]

    @pytest.mark.parametrize("text", ["Café é + 東京 駅", '"a + b" + c-d', "A + A", "1,2 + 3,4"])
    def test_expressions_of_two_operands(self, text: str) -> None:
        first, second = parse(text)
        assert (first.sign, second.sign) == (1, 1)
        assert first.place.strip('"') in text

    @pytest.mark.parametrize(
        ("metres", "said"),
        [
            (0.0, "0 m"),
            (999.4, "999 m"),
            (1000.0, "1.0 km"),
            (9949.0, "9.9 km"),
            (2e7, "20,000 km"),
        ],
    )
    def test_kilometres(self, metres: float, said: str) -> None:
        assert kilometres(metres) == said

    def test_walks_of_one_start_have_seeds_of_their_own(self, space: Space) -> None:
        found = random_walks(space, MIDDLE, steps=3, k=6, apart_m=250, walks=3, seed=4)
        alone = random_walks(space, MIDDLE, steps=3, k=6, apart_m=250, walks=1, seed=5)
        places = [[step.view.place for step in walk] for walk in found.walks]
        assert places[1] == [step.view.place for step in alone.walks[0]]
        assert len({tuple(each) for each in places}) > 1


class TestReasons:
    def test_occlusion_is_the_mean_over_the_squares_that_hold_a_cell(self) -> None:
        rng = np.random.default_rng(0)
        tile = np.zeros((N_CHANNELS, 48, 48), np.uint8)
        tile[3] = rng.integers(0, 255, (48, 48))
        weights = rng.normal(size=(48, 48))

        def weighed(tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
            return np.asarray((tiles[:, 3] * weights).sum((1, 2))[:, None] / 1e4, np.float32)

        total, count = np.zeros((2, 6, 6))
        for y in range(0, 48 - PATCH + 1, STEP):
            for x in range(0, 48 - PATCH + 1, STEP):
                square = slice(y, y + PATCH), slice(x, x + PATCH)
                moved = abs((tile[3][square] * weights[square]).sum() / 1e4)
                cells = slice(y // 8, y // 8 + 3), slice(x // 8, x // 8 + 3)
                total[cells] += moved
                count[cells] += 1
        np.testing.assert_allclose(
            occlusion(weighed, tile, np.array([3])), total / count, atol=1e-4
        )

    def test_an_empty_tile_depends_on_no_ground(self) -> None:
        empty = np.zeros((N_CHANNELS, 128, 128), np.uint8)
        assert not occlusion(encode, empty, np.arange(len(empty))).any()

    def test_the_distance_to_nothing_is_a_scale(self, space: Space) -> None:
        found = saliency(space, MIDDLE)
        own, nothing = encode(np.stack([tile_at(MIDDLE), np.zeros_like(tile_at(MIDDLE))]))
        assert found.empty == pytest.approx(float(np.linalg.norm(own - nothing)), rel=1e-5)
        assert f"lies {found.empty:.1f} away" in found.lead
        assert "squares of 38 m" in found.lead
        assert len(found.figure().axes) == 7

    def test_reasons_do_not_hang_on_which_place_is_first(self, space: Space) -> None:
        one, other = compare(space, CORNER, MIDDLE), compare(space, MIDDLE, CORNER)
        assert one.why.distance == pytest.approx(other.why.distance)
        np.testing.assert_allclose(one.why.effect, other.why.effect, atol=1e-6)
        assert one.title == f"Why {one.a.name} and {one.b.name} are {one.why.distance:.2f} apart"

    def test_the_strongest_channel_is_the_first_layer(self, space: Space) -> None:
        far = LonLat(WEST + STEP_DEG, SOUTH + 9 * STEP_DEG)  # differs in channel 2 above all
        found = compare(space, CORNER, far)
        html = found.page()
        names = re.findall(r"<label><input type=\"radio\"[^>]*>\s*(channel \d+)", html)
        assert names[:2] == ["channel 2", "channel 4"]
        assert sorted(names) == sorted(CHANNELS)
        assert f"{found.why.effect[2]:+.2f}" in html


class TestDiscriminants:
    def task(self, space: Space, classes: int, blank: tuple[int, ...] = ()) -> Task:
        third = ((space.vectors.lon - WEST) / STEP_DEG * classes // SIDE).round().astype(np.int64)
        third = np.minimum(third, classes - 1)
        zeros = np.zeros(COUNT, np.int64)
        names = tuple(f"class {number}" for number in range(classes))
        known = space.vectors
        return Task("t", "about t", known.lat, known.lon, third, names, zeros, ("town",), blank)

    def test_what_is_shown_was_not_fitted_on(self, space: Space) -> None:
        told: list[int] = []
        found = discriminate(space, self.task(space, 4), tell=told.append)
        assert sum(told) == COUNT
        assert len(found.label) == len(found.views) == round(TESTED * COUNT + 0.5)
        assert found.largest == np.bincount(found.label).max() / len(found.label)
        assert found.classes == ("class 0", "class 1", "class 2", "class 3")

    def test_a_label_is_that_of_its_view(self, space: Space) -> None:
        found = discriminate(space, self.task(space, 3))
        column = [round((view.place.lon - WEST) / STEP_DEG) for view in found.views]
        assert [min(place * 3 // SIDE, 2) for place in column] == pytest.approx(
            found.label.tolist(), abs=1
        )
        assert found.accuracy > 0.8

    def test_what_a_task_blanks_is_not_seen(self, space: Space) -> None:
        found = discriminate(space, self.task(space, 3, blank=(4,)))
        assert found.accuracy < 0.6, "channel 4 alone tells the classes apart"

    @pytest.mark.parametrize("classes", [2, 9])
    def test_too_few_and_too_many_classes_are_refused(self, space: Space, classes: int) -> None:
        with pytest.raises(ExploreError, match=f"t: {classes} classes have places enough"):
            discriminate(space, self.task(space, classes))

    def test_the_page_has_the_class_of_each_place(self, space: Space) -> None:
        found = discriminate(space, self.task(space, 3))
        points = embedded(found.page())
        assert points["notes"] == [f"class {number}" for number in found.label]
        assert [name for name, _ in points["groups"]] == list(found.classes)


class Sums(nn.Module):
    """A network whose first filter sums channel 3, and whose second sums channel 5 negatively."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(N_CHANNELS, 2, 3, padding=1)
        self.norm = nn.BatchNorm2d(2)
        self.second = nn.Conv2d(2, 1, 1)
        nn.init.zeros_(self.first.weight)
        nn.init.zeros_(self.first.bias)  # type: ignore[arg-type]
        with torch.no_grad():
            self.first.weight[0, 3], self.first.weight[1, 5] = 1, -1

    def forward(self, tiles: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = self.second(self.norm(self.first(tiles)).relu())
        return answer


class TestFilters:
    def test_layers_come_with_what_answers_for_them(self) -> None:
        network = Sums().eval()
        layers = layers_of(network)
        assert list(layers) == ["first", "second"]
        assert layers["first"] == (network.first, network.norm)
        assert layers["second"] == (network.second, network.second)

    def test_the_channel_of_a_filter_fills_and_the_other_empties(self) -> None:
        found = excite(Sums().eval(), "first", CHANNELS, steps=12)
        assert found.inputs.shape == (2, N_CHANNELS, 3, 3)
        assert found.inputs[0, 3].min() > 0.9
        assert found.inputs[1, 5].max() < 0.1
        others = np.delete(found.inputs[0], 3, axis=0)
        assert np.abs(others - 0.5).max() < 0.45
        assert (found.after > found.before).all()
        assert found.alive.tolist() == [True, False], "a sum of nothing is not above 0"
        assert found.dead == 1
        cells = found.strips.rows[0].cells
        assert cells[0].lines[0] == "channel 3"
        assert cells[1].lines[0] == "channel 5"
        assert [cell.heading for cell in cells] == ["0", "1 dead"]

    def test_no_more_filters_than_there_are(self) -> None:
        found = excite(Sums().eval(), "first", CHANNELS, count=99, steps=1)
        assert len(found.inputs) == 2
        assert "2 of 2 filters (3x3), which see 3 pixels a side" in found.strips.lead

    def test_seeking_leaves_the_network_as_it_was(self) -> None:
        network = Sums().eval()
        before = {name: value.clone() for name, value in network.state_dict().items()}
        excite(network, "second", CHANNELS, steps=2)
        assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
        assert network(torch.zeros(1, N_CHANNELS, 4, 4)).shape == (1, 1, 4, 4), "no hook is left"

    def test_the_same_seed_seeks_the_same(self) -> None:
        one, again, other = (
            excite(Sums().eval(), "first", CHANNELS, steps=3, seed=seed).inputs
            for seed in (0, 0, 1)
        )
        assert np.array_equal(one, again)
        assert not np.array_equal(one, other)
