"""Which channels tags match, what a catalogue says of its channels, and what it refuses."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tiling.catalogue.catalogue import Catalogue, load_catalogue, parse_catalogue
from tiling.catalogue.channel import ROLES
from tiling.errors import CatalogueError
from tiling.values import N_CHANNELS, PAPER, TileGeometry

SHIPPED = Path("tiling/catalogue/catalogue.toml")


def channels(on: str, **tags: str) -> set[str]:
    catalogue = load_catalogue()
    return {catalogue.channels[channel] for channel, _ in catalogue.match(on, tags)}


@pytest.mark.parametrize(
    ("on", "tags", "expected"),
    [
        ("line", {"highway": "motorway"}, {"major roads"}),
        ("line", {"highway": "residential"}, {"minor roads"}),
        ("line", {"highway": "steps"}, {"paths"}),
        ("area", {"highway": "pedestrian"}, set()),
        ("area", {"highway": "pedestrian", "area": "yes"}, {"paths"}),
        ("line", {"railway": "rail"}, {"rail and public transport"}),
        ("point", {"highway": "bus_stop"}, {"rail and public transport"}),
        ("area", {"building": "yes"}, {"buildings"}),
        ("area", {"building": "no"}, set()),
        ("area", {"building": "yes", "amenity": "school"}, {"buildings", "civic and leisure"}),
        ("area", {"natural": "water"}, {"water"}),
        ("area", {"leisure": "park"}, {"green"}),
        ("area", {"landuse": "farmland"}, {"farmland and bare ground"}),
        ("area", {"landuse": "residential"}, {"residential land"}),
        ("area", {"landuse": "industrial"}, {"commercial, retail and industrial land"}),
        ("area", {"amenity": "parking"}, {"parking, aeroways and other transport areas"}),
        ("area", {"leisure": "pitch"}, {"civic and leisure"}),
        # The labels of the evaluation are not drawn.
        ("point", {"shop": "bakery"}, set()),
        ("point", {"amenity": "restaurant"}, set()),
        ("point", {"addr:housenumber": "1"}, set()),
    ],
)
def test_tags_fall_in_their_channels(on: str, tags: dict[str, str], expected: set[str]) -> None:
    assert channels(on, **tags) == expected


NEW_ROADS = ["busway", "bus_guideway"]


@pytest.mark.parametrize(
    ("on", "tags"),
    [
        ("area", {"building": "yes", "location": "underground"}),
        ("area", {"building": "yes", "layer": "-1"}),
        ("area", {"building": "yes", "layer": "-5", "location": "surface"}),
        ("area", {"building": "demolished"}),
        ("area", {"building": "yes", "indoor": "room"}),
        ("area", {"leisure": "pitch", "indoor": "yes"}),
        ("area", {"leisure": "swimming_pool", "location": "indoor"}),
        ("area", {"amenity": "parking", "parking": "underground"}),
        ("area", {"amenity": "parking", "layer": "-2"}),
        ("area", {"public_transport": "platform", "layer": "-1"}),
        ("area", {"railway": "platform", "tunnel": "yes"}),
        ("area", {"natural": "water", "tunnel": "culvert"}),
        ("area", {"natural": "water", "location": "underground"}),
        ("point", {"amenity": "parking", "parking": "underground"}),
        ("point", {"railway": "station", "location": "underground"}),
        ("point", {"highway": "bus_stop", "layer": "-1"}),
        ("point", {"amenity": "place_of_worship", "indoor": "yes"}),
        ("line", {"highway": "footway", "tunnel": "yes"}),
        ("line", {"highway": "service", "tunnel": "true"}),
        ("line", {"highway": "footway", "indoor": "corridor"}),
        ("line", {"highway": "corridor"}),
        ("line", {"railway": "platform", "layer": "-2"}),
        ("line", {"railway": "rail", "tunnel": "1"}),
        ("line", {"waterway": "stream", "tunnel": "flooded"}),
        ("line", {"waterway": "drain", "location": "underground"}),
        ("line", {"man_made": "pier", "location": "underwater"}),
    ],
)
def test_what_nobody_sees_from_above_is_not_drawn(on: str, tags: dict[str, str]) -> None:
    assert channels(on, **tags) == set()
    assert load_catalogue().reasons(on, tags) == ()


@pytest.mark.parametrize(
    ("on", "tags"),
    [
        ("line", {"highway": "trunk", "layer": "-1"}),
        ("line", {"railway": "rail", "layer": "-1"}),
        ("line", {"waterway": "stream", "layer": "-1"}),
        ("line", {"highway": "footway", "tunnel": "no"}),
        ("line", {"highway": "service", "tunnel": "building_passage"}),
        ("line", {"highway": "footway", "indoor": "no", "level": "-1"}),
        ("area", {"natural": "water", "layer": "-1"}),
        ("area", {"landuse": "residential", "layer": "-1"}),
        ("area", {"leisure": "garden", "layer": "-1"}),
        ("area", {"building": "yes", "level": "-1", "layer": "1"}),
        ("area", {"building": "yes", "location": "roof"}),
        ("area", {"building": "yes", "power": "substation", "location": "indoor"}),
        ("area", {"building": "parking", "parking": "underground"}),
        ("area", {"amenity": "parking", "parking": "surface"}),
        ("point", {"railway": "subway_entrance", "layer": "0"}),
        *(("line", {"highway": value}) for value in NEW_ROADS),
    ],
)
def test_what_is_seen_is_drawn(on: str, tags: dict[str, str]) -> None:
    assert channels(on, **tags)


@pytest.mark.parametrize(
    ("on", "tags", "expected"),
    [
        *(("line", {"highway": value}, "minor roads") for value in NEW_ROADS),
        ("area", {"highway": "service", "area": "yes"}, "minor roads"),
        ("area", {"highway": "path", "area": "yes"}, "paths"),
        ("line", {"aerialway": "drag_lift"}, "rail and public transport"),
        ("point", {"public_transport": "station"}, "rail and public transport"),
        ("line", {"waterway": "tidal_channel"}, "water"),
        ("area", {"natural": "shrubbery"}, "green"),
        ("area", {"natural": "dune"}, "farmland and bare ground"),
        ("area", {"man_made": "storage_tank"}, "commercial, retail and industrial land"),
        ("area", {"amenity": "parking_space"}, "parking, aeroways and other transport areas"),
        ("point", {"tourism": "museum"}, "civic and leisure"),
    ],
)
def test_common_values_fall_in_the_channel_of_their_kind(
    on: str, tags: dict[str, str], expected: str
) -> None:
    assert channels(on, **tags) == {expected}


def test_the_kind_of_a_building_makes_no_difference() -> None:
    catalogue = load_catalogue()
    assert catalogue.match("area", {"building": "garage"}) == catalogue.match(
        "area", {"building": "church"}
    )


def test_the_first_rule_of_a_channel_gives_the_width() -> None:
    both = {"railway": "platform", "public_transport": "platform"}
    assert load_catalogue().match("line", both) == [(3, 4.0)]
    assert load_catalogue().match("line", {"highway": "trunk"}) == [(0, 18.0)]
    assert load_catalogue().match("line", {"highway": "tertiary"}) == [(0, 10.0)]


@pytest.fixture
def changed(tmp_path: Path) -> Callable[[str, str], Catalogue]:
    """Load the shipped catalogue with one text replaced."""

    def load(old: str, new: str) -> Catalogue:
        text = SHIPPED.read_text(encoding="utf-8")
        assert old in text
        path = tmp_path / "own.toml"
        path.write_text(text.replace(old, new, 1), encoding="utf-8")
        return load_catalogue(path)

    return load


def test_any_change_changes_the_fingerprint(changed: Callable[[str, str], Catalogue]) -> None:
    shipped, geometry = load_catalogue(), TileGeometry()
    assert len(shipped.channels) == N_CHANNELS
    assert changed('"trunk"', '"trunk"').fingerprint(geometry) == shipped.fingerprint(geometry)
    assert changed('"trunk"', '"busway"').fingerprint(geometry) != shipped.fingerprint(geometry)
    assert shipped.fingerprint(TileGeometry(radius_m=200.0)) != shipped.fingerprint(geometry)


def test_the_shipped_fingerprint_stays() -> None:
    """Shipped models, and the stores, tiles and indexes of users, know the catalogue by it."""
    assert load_catalogue().fingerprint(TileGeometry()) == "f8e5d2b867eb2073"


def test_how_people_see_a_channel_is_no_part_of_the_fingerprint(
    changed: Callable[[str, str], Catalogue],
) -> None:
    shipped = load_catalogue()
    for old, new in (
        ('colour = "#d6603c"', 'colour = "#010203"'),
        ("paint = 10\n", "paint = 1\n"),
        ('roles = ["way"]', "roles = []"),
        ("map.line_order = 7\n", ""),
    ):
        own = changed(old, new)
        assert own.each != shipped.each
        assert own.fingerprint(TileGeometry()) == shipped.fingerprint(TileGeometry())


def test_channels_are_asked_for_by_role() -> None:
    shipped = load_catalogue()
    named = {role: [shipped.channels[n] for n in shipped.with_role(role)] for role in ROLES}
    assert named["building"] == ["buildings"]
    assert named["civic"] == ["civic and leisure"]
    assert named["stop"] == ["rail and public transport"]
    assert named["way"] == ["major roads", "minor roads", "paths", "rail and public transport"]
    assert named["land use"] == list(shipped.channels[6:])
    assert shipped.with_role("civic", "building") == (4, 11)


def test_a_picture_has_the_colours_of_the_channels_in_their_order() -> None:
    palette = load_catalogue().palette
    assert palette.order == (8, 7, 6, 9, 11, 10, 5, 2, 1, 0, 3, 4)
    pixels = np.zeros((N_CHANNELS, 1, 4), np.uint8)
    pixels[5, 0, 1:] = 255
    pixels[4, 0, 2] = 255  # a building over water
    pixels[8, 0, 3] = 255  # residential land under water
    picture = palette.composite(pixels)
    water, building = (120, 180, 215), (120, 100, 95)
    assert [tuple(colour) for colour in picture[0].tolist()] == [PAPER, water, building, water]
    np.testing.assert_array_equal(palette.ink(5), palette.ink(N_CHANNELS + 5))


def test_an_order_that_is_not_given_follows_from_the_roles() -> None:
    text = re.sub(r"paint = .*\n", "", SHIPPED.read_text(encoding="utf-8"))
    own = parse_catalogue(text, "own.toml")
    assert own.palette.order == (6, 7, 8, 9, 10, 11, 5, 0, 1, 2, 3, 4)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('on = "line"', 'on = "volume"', "`on` must be one of line, area, point"),
        ("width_m = 18", "width_m = 0", "`width_m` must be metres"),
        ("width_m = 18", "width_m = true", "`width_m` must be metres"),
        ('["motorway", "trunk"]', '"motorway"', "values must be a list of strings"),
        (
            'name = "major roads"',
            'name = "minor roads"',
            "channel names must be given and distinct",
        ),
        ("sea = true", "sea = false", "0 channels have sea = true"),
        ("[[channel]]", "[[channels]]", "no key 'channels', there are channel, hidden"),
        ("#d6603c", "red", "channel 'major roads': `colour` must be like \"#d6603c\", not 'red'"),
        ('colour = "#d6603c"', "", "`colour` must be like .*, not None"),
        ("paint = 10", 'paint = "top"', "`paint` must be a number, not 'top'"),
        ('["way"]', '["road"]', "must be a list of building, civic, land use, stop, way"),
        ('roles = ["way"]', 'role = ["way"]', "no key 'role', there are name, colour"),
        ("map.line_order", "map.order", "channel 'paths', map: no key 'order'"),
        ("map.line_order = 7", "map.line_order = true", "`line_order` must be a number, not True"),
        ('["#fdebc0", "#6b5d3a"]', '["#fdebc0"]', "must be two colours"),
        ("from_zoom = 11, ", "", "lines need colour, width_m, from_zoom and px"),
        ("rules = [", "rules = [1,", "channel 'major roads': `rules` must be a list of tables"),
        ("[[channel]]", "[[channel", "cannot read the catalogue"),
        ("hidden = [", "hidden = [1,", "`hidden` must be a list of tables"),
        ('on = ["area", "point"]', 'on = "area"', "hidden, rule .*: `on` must be a list of line"),
        ('on = ["area", "point"]', "on = []", "`on` must be a list of line, area, point"),
        ('on = ["area", "point"]', 'on = ["area"], width_m = 0', "no key 'width_m'"),
        ("without = {", "with = {", "no key 'with', there are on, tags, without"),
        ('tags = { tunnel = "*" }', "tags = {}", "`tags` must name at least one key"),
        ('without = { building = "*" }', "without = 1", "`without` must be a table of keys"),
    ],
)
def test_a_broken_catalogue_is_refused(
    changed: Callable[[str, str], Catalogue], old: str, new: str, message: str
) -> None:
    with pytest.raises(CatalogueError, match=message.replace("[", r"\[")):
        changed(old, new)
