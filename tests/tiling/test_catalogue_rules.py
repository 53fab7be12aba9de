"""How rules of a catalogue are matched, and each way in which a file of them is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiling.catalogue.catalogue import Catalogue, load_catalogue
from tiling.errors import CatalogueError
from tiling.values import N_CHANNELS, TileGeometry

Load = Callable[[str], Catalogue]
SHIPPED = load_catalogue()
ROAD = '{ on = "line", width_m = 8, tags = { highway = ["road"] } }'


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Load a catalogue whose first channel has these rules, the others none."""

    def build(rules: str) -> Catalogue:
        path = tmp_path / "own.toml"
        path.write_text(document(rules), encoding="utf-8")
        return load_catalogue(path)

    return build


def document(rules: str) -> str:
    heads = [f'[[channel]]\nname = "channel {n}"\ncolour = "#102030"\n' for n in range(N_CHANNELS)]
    return "".join([heads[0], f"sea = true\nrules = [{rules}]\n", *heads[1:]])


def fitting(catalogue: Catalogue, tags: dict[str, str], on: str = "line") -> bool:
    return bool(catalogue.reasons(on, tags))


@pytest.mark.parametrize(
    ("tags", "fits"),
    [
        ({"a": "1", "b": "x"}, True),
        ({"a": "2", "b": ""}, True),
        ({"a": "3", "b": "x"}, False),
        ({"a": "1"}, False),
        ({"b": "x"}, False),
        ({"a": "1", "b": "x", "c": "no"}, False),
        ({"a": "1", "b": "x", "c": "yes"}, True),
        ({"a": "1", "b": "x", "d": "anything"}, False),
        ({}, False),
    ],
)
def test_a_rule_wants_all_its_tags_and_none_of_the_others(
    load: Load, tags: dict[str, str], fits: bool
) -> None:
    rule = 'tags = { a = ["1", "2"], b = "*" }, without = { c = ["no"], d = "*" }'
    catalogue = load(f'{{ on = "line", width_m = 8, {rule} }}')
    assert fitting(catalogue, tags) is fits
    assert not fitting(catalogue, tags, "area")
    assert catalogue.keys == ("a", "b")
    assert catalogue.sea_channel == 0


def rule(width: float, tags: str, on: str = "line") -> str:
    return f'{{ on = "{on}", width_m = {width}, tags = {{ {tags} }} }}'


def test_the_first_rule_that_fits_gives_the_width_whatever_the_order_of_the_tags(
    load: Load,
) -> None:
    rules = [rule(9, 'b = ["1"]'), rule(7, 'a = ["1"]'), rule(5, 'a = "*"')]
    catalogue = load(", ".join(rules))
    for tags in ({"a": "1", "b": "1"}, {"b": "1", "a": "1"}):
        assert [width for _, width in matched(catalogue, "line", tags)] == [9.0]
        assert [tag for _, tag in catalogue.reasons("line", tags)] == ["b=1", "a=1", "a"]
    assert [width for _, width in matched(catalogue, "line", {"a": "2"})] == [5.0]


def matched(catalogue: Catalogue, on: str, tags: dict[str, str]) -> list[tuple[int, float]]:
    """The channels and widths of an object, by the rules one after another."""
    if any(each.on == on and each.fits(tags) for each in catalogue.hidden):
        return []
    found: dict[int, float] = {}
    for each in catalogue.rules:
        if each.on == on and each.fits(tags):
            found.setdefault(each.channel, each.width_m)
    return sorted(found.items())


KEYS = st.sampled_from([*SHIPPED.keys, "name", "tunnel", "indoor", "layer"])
VALUES = st.sampled_from(
    sorted(
        {"yes", "no", "culvert", "-1"}.union(*(v or () for r in SHIPPED.rules for _, v in r.tags))
    )
)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.dictionaries(KEYS, VALUES, max_size=5), st.sampled_from(["line", "area", "point"]))
def test_the_quick_way_to_rules_is_the_slow_one(tags: dict[str, str], on: str) -> None:
    channels = {channel for channel, _ in SHIPPED.reasons(on, tags)}
    assert channels == {channel for channel, _ in matched(SHIPPED, on, tags)}


def test_what_is_hidden_is_drawn_nowhere_and_is_part_of_the_fingerprint(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    hidden = '{ on = ["line", "point"], tags = { a = "*" }, without = { a = ["no"] } }'
    lines = rule(8, 'highway = ["road"]')
    rules = document(f"{lines}, {lines.replace('line', 'point')}")
    path.write_text(f"hidden = [{hidden}]\n{rules}")
    catalogue = load_catalogue(path)
    for on in ("line", "point"):
        assert fitting(catalogue, {"highway": "road", "a": "no"}, on)
        assert not fitting(catalogue, {"highway": "road", "a": "yes"}, on)
        assert catalogue.keys_on(on) == ("a", "highway")
    path.write_text(rules)
    assert load_catalogue(path).fingerprint(TileGeometry()) != catalogue.fingerprint(TileGeometry())


def test_how_far_anything_reaches_is_a_radius_or_half_a_width(load: Load) -> None:
    assert load(rule(30, 'a = "*"')).reach_m == 15.0
    assert load(", ".join([rule(30, 'a = "*"'), rule(20, 'a = "*"', "point")])).reach_m == 20.0
    assert load(rule(0, 'a = "*"', "area")).reach_m == 0.0
    assert SHIPPED.reach_m == 22.5


def test_the_fingerprint_follows_what_is_matched_and_not_how_it_is_written(load: Load) -> None:
    geometry = TileGeometry()
    base = load(ROAD).fingerprint(geometry)
    assert load(ROAD.replace("8", "8.0")).fingerprint(geometry) == base
    assert load(f"\n\n  {ROAD} # a remark\n").fingerprint(geometry) == base
    changed = [
        ROAD.replace("8", "9"), ROAD.replace('"line"', '"point"'), ROAD.replace('"road"', '"way"'),
        ROAD.replace('["road"]', '"*"'), ROAD.replace("} }", '}, without = { a = "*" } }'),
        f"{ROAD}, {ROAD}", "",
    ]  # fmt: skip
    assert len({base, *(load(rules).fingerprint(geometry) for rules in changed)}) == 8
    swapped = [rule(8, 'a = ["1", "2"]'), rule(8, 'a = ["2", "1"]')]
    assert len({load(rules).fingerprint(geometry) for rules in swapped}) == 1


def test_colours_and_roles_are_no_part_of_the_fingerprint(tmp_path: Path) -> None:
    plain, changed = tmp_path / "plain.toml", tmp_path / "changed.toml"
    plain.write_text(document(ROAD), encoding="utf-8")
    text = document(ROAD).replace("#102030", "#405060", 1)
    changed.write_text(text.replace("sea = true", 'sea = true\nroles = ["way"]'), encoding="utf-8")
    one, other = load_catalogue(plain), load_catalogue(changed)
    assert one.fingerprint(TileGeometry()) == other.fingerprint(TileGeometry())
    assert (one.with_role("way"), other.with_role("way")) == ((), (0,))
    assert other.carried == changed.read_text(encoding="utf-8")
    assert SHIPPED.carried is None


def test_each_scale_has_channels_of_its_own() -> None:
    names = SHIPPED.channels_of(TileGeometry(wider_m=(400.0, 1_000.5)))
    assert len(names) == 36
    assert names[:12] == SHIPPED.channels
    assert names[12] == "major roads, 400 m"
    assert names[35] == "civic and leisure, 1000.5 m"


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ("{}", "`on` must be one of line, area, point"),
        ('{ on = "line", tags = { a = "*" } }', "`width_m` must be metres"),
        (rule(-1, 'a = "*"'), "`width_m` must be metres up to 1000"),
        (rule(1_000.5, 'a = "*"'), "`width_m` must be metres up to 1000"),
        (rule(5, 'a = "*"', "area"), "and 0 for areas alone"),
        (rule(0, 'a = "*"', "point"), "and 0 for areas alone"),
        (rule(5, ""), "`tags` must name at least one key"),
        ('{ on = "line", width_m = 5 }', "`tags` must name at least one key"),
        ('{ on = "line", width_m = 5, tags = "a" }', "`tags` must name at least one key"),
        (rule(5, "a = 3"), "values must be a list of strings or"),
        (rule(5, 'a = ["x", 3]'), "values must be a list of strings or"),
        (rule(5, 'a = "x"'), "values must be a list of strings or"),
        (ROAD.replace("} }", "}, without = { a = [1] } }"), "values must be a list of strings"),
    ],
)
def test_a_rule_that_makes_no_sense_is_named_with_its_channel(
    load: Load, rules: str, message: str
) -> None:
    with pytest.raises(CatalogueError, match="channel 'channel 0', rule ") as refused:
        load(rules)
    assert message in str(refused.value)


@pytest.mark.parametrize("width", [0.5, 1, 1000])
def test_any_width_up_to_a_kilometre_will_do(load: Load, width: float) -> None:
    (only,) = load(rule(width, 'a = "*"')).rules
    assert (only.width_m, type(only.width_m)) == (width, float)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "channel 3"\n', "", "channel names must be given and distinct"),
        ('"channel 3"', '""', "channel names must be given and distinct"),
        ('"channel 3"', '"channel 4"', "channel names must be given and distinct"),
        ('name = "channel 3"', 'name = "channel 3"\nsea = true', "2 channels have sea = true"),
        ("sea = true", "", "0 channels have sea = true"),
        ('[[channel]]\nname = "channel 11"\ncolour = "#102030"\n', "", "11 channels, must be 12"),
        ("rules = [", "rules = ", "cannot read the catalogue"),
    ],
)
def test_a_file_that_is_no_catalogue_is_refused(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    path = tmp_path / "own.toml"
    text = document(ROAD)
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(CatalogueError, match=message):
        load_catalogue(path)


@pytest.mark.parametrize("data", [b"\xff\xfe", None])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, data: bytes | None) -> None:
    path = tmp_path / "own.toml"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(CatalogueError, match=r"cannot read the catalogue .*own\.toml"):
        load_catalogue(path)


def test_the_shipped_catalogue_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any) -> Catalogue:
        raise AssertionError

    monkeypatch.setattr("tiling.catalogue.catalogue._read", never)
    assert load_catalogue() is SHIPPED
