"""What the catalogue draws, and what it refuses."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tiling.catalogue import Catalogue, load_catalogue
from tiling.errors import CatalogueError
from tiling.values import N_CHANNELS, TileGeometry

SHIPPED = Path("tiling/catalogue.toml")


def channels(on: str, **tags: str) -> set[str]:
    catalogue = load_catalogue()
    return {catalogue.channels[channel] for channel, _ in catalogue.draw(on, tags)}


@pytest.mark.parametrize(
    ("on", "tags", "expected"),
    [
        ("line", {"highway": "motorway"}, {"major roads"}),
        ("line", {"highway": "residential"}, {"minor roads"}),
        ("line", {"highway": "motorway", "tunnel": "yes"}, set()),
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


def test_the_kind_of_a_building_makes_no_difference() -> None:
    catalogue = load_catalogue()
    assert catalogue.draw("area", {"building": "garage"}) == catalogue.draw(
        "area", {"building": "church"}
    )


def test_the_first_rule_of_a_channel_gives_the_width() -> None:
    both = {"railway": "platform", "public_transport": "platform"}
    assert load_catalogue().draw("line", both) == [(3, 4.0)]
    assert load_catalogue().draw("line", {"highway": "trunk"}) == [(0, 18.0)]
    assert load_catalogue().draw("line", {"highway": "tertiary"}) == [(0, 10.0)]


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
        ("[[channel]]", "[[channels]]", "11 channels, must be 12"),
        ("[[channel]]", "[[channel", "cannot read the catalogue"),
    ],
)
def test_a_broken_catalogue_is_refused(
    changed: Callable[[str, str], Catalogue], old: str, new: str, message: str
) -> None:
    with pytest.raises(CatalogueError, match=message.replace("[", r"\[")):
        changed(old, new)
