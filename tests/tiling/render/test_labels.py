"""Names on the map: in every script, where there is room, the same across the edges of tiles."""

from itertools import pairwise

import mapnik
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tiling.osm.names import KINDS, Name
from tiling.render.labels import (
    DRY,
    REPEAT_PX,
    SORT_OF,
    SORTS,
    Label,
    add_labels,
    label_of,
    ranks_at,
    with_room,
)

MISSING = chr(0x10FFFD)  # no font has it: it is shown as an empty box


def drawn(text: str) -> NDArray[np.uint8]:
    """The picture of one name, as dark on light."""
    built = mapnik.Map(320, 40, "epsg:3857")
    built.background = mapnik.Color("white")
    add_labels(built, [Label(0, 0, text, 160.0, 20.0)], 0, 1.0)
    built.zoom_to_box(mapnik.Box2d(0, 0, 320, 40))
    image = mapnik.Image(320, 40)
    mapnik.render(built, image)
    grey = np.frombuffer(image.to_string(), np.uint8).reshape(40, 320, 4)[:, :, 0]
    return np.asarray(grey)


def wide(text: str) -> int:
    """How many pixels wide a name is drawn."""
    columns = np.flatnonzero((drawn(text) < 128).any(0))
    return int(np.ptp(columns)) + 1


@pytest.mark.parametrize(
    "name",
    [
        "Ærøskøbing Łódź", "Ομόνοια", "Тверская", "شارع", "אלנבי", "कुतुब", "東京都新宿", "ひらカナ",
        "天安门", "서울",
    ],
)  # fmt: skip
def test_a_name_is_shown_in_its_script(name: str) -> None:
    picture = drawn(name)
    assert (picture < 128).sum() > 20
    for letter in set(name) - {" "}:
        assert (drawn(letter * 3) != drawn(MISSING * 3)).any(), f"{letter!r} is in no font"


def test_letters_are_joined_as_their_script_wants() -> None:
    apart = chr(0x200C)  # keeps letters from joining
    assert wide("شارع") != wide(apart.join("شارع"))
    assert wide("क्ष") < wide(f"क्{apart}ष")
    row = np.flatnonzero((drawn("אב") < 128).any(0))
    alone = np.flatnonzero((drawn("א") < 128).any(0))
    assert (drawn("אב")[:, row[0] : row[0] + 6] != drawn("א")[:, alone[0] : alone[0] + 6]).any()


PIXELS = st.floats(-300, 300)
PLACES = st.lists(
    st.tuples(PIXELS, PIXELS, st.integers(0, 10), st.sampled_from("ABC")), max_size=60
)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(PLACES, st.sampled_from([1.0, 2.0]))
def test_names_that_are_shown_do_not_touch_and_are_not_said_twice(
    given: list[tuple[float, float, int, str]], scale: float
) -> None:
    labels = [
        Label(sort, lot, text * 5, round(x, 3), round(y, 3))
        for lot, (x, y, sort, text) in enumerate(given)
    ]
    shown = with_room(labels, scale)
    assert bool(shown) == bool(labels)
    for one, other in pairwise(sorted(shown, key=lambda label: label.x)):
        if one.text == other.text:
            assert np.hypot(one.x - other.x, one.y - other.y) > REPEAT_PX * scale
    for row, one in enumerate(shown):
        for other in shown[:row]:
            high = (SORTS[one.sort].size + SORTS[other.sort].size) / 2 * scale
            far = 2.5 * 0.6 * (SORTS[one.sort].size + SORTS[other.sort].size) * scale
            assert abs(one.y - other.y) > high or abs(one.x - other.x) > far


def test_more_is_named_the_nearer_one_looks() -> None:
    for far, near in pairwise(range(4, 20)):
        assert set(ranks_at(far)) <= set(ranks_at(near))
    assert ranks_at(4) == ()
    assert KINDS[ranks_at(5)[0]].values == frozenset({"city"})
    shops = {rank for rank, kind in enumerate(KINDS) if kind.key == "shop"}
    assert not shops & set(ranks_at(17))
    assert shops <= set(ranks_at(18))


def test_a_tree_is_no_water() -> None:
    rank = next(rank for rank, kind in enumerate(KINDS) if kind.key == "natural")
    pond, tree = (Name("Old", "old", kind, rank, 1.0, 2.0) for kind in ("water", "tree"))
    assert label_of(pond, 0, 0).sort == SORT_OF[rank]
    assert label_of(tree, 0, 0).sort == DRY
    assert label_of(pond, 0, 0).lot == label_of(pond, 9, 9).lot
