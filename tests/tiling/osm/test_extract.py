"""What an extract gives for each kind of OSM object, from extracts written by hand."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import osmium
import pytest
import shapely

from tests.tiling.handmade import opl
from tiling.catalogue.catalogue import load_catalogue
from tiling.errors import ExtractError
from tiling.osm import sieve
from tiling.osm.extract import read_objects, read_ways
from tiling.osm.file import facts_of
from tiling.osm.names import NamedObject
from tiling.osm.sieve import INCOMPLETE, LETTERS, Batch, sift
from tiling.values import Box

Read = Callable[..., "Extract"]

# Node n is at column n % 10, row n // 10 of a grid with steps of 0.001 degrees.
NODES = [f"n{n} v1 x{10 + n % 10 / 1000:.4f} y{n // 10 / 1000:.4f}" for n in range(1, 100)]
SQUARE = "Nn11,n12,n22,n21,n11"
RING, HOLE = "Nn11,n18,n88,n81,n11", "Nn33,n36,n66,n63,n33"
CATALOGUE = load_catalogue()


@dataclass
class Extract:
    """What is read of an extract; a key is the type, "a" before it for areas, id and channel."""

    keys: list[tuple[str, int, int]] = field(default_factory=list)
    versions: list[int] = field(default_factory=list)
    widths: list[float] = field(default_factory=list)
    wkb: list[bytes] = field(default_factory=list)
    coastline: dict[int, bytes] = field(default_factory=dict)
    named: list[NamedObject] = field(default_factory=list)
    lost: dict[str, int] = field(default_factory=dict)

    def take(self, batch: Batch) -> None:
        """Add a batch."""
        for item in batch.drawn:
            for channel, width in item.drawn:
                kind = "a" * item.area + LETTERS[item.type].lower()
                self.keys.append((kind, item.id, channel))
                self.versions.append(item.version)
                self.widths.append(width)
                self.wkb.append(bytes.fromhex(item.wkb))
        self.named += batch.named
        self.coastline |= {way: bytes.fromhex(wkb) for way, wkb in batch.coastline}


def read_extract(path: Path) -> Extract:
    """Read an extract, and remove the file of positions."""
    extract, index = Extract(), path.with_suffix(".nodes")
    found = sift(path, CATALOGUE, index, extract.take, [0, 0, 0])
    index.unlink()
    extract.lost = {reason: count for reason, count in found.lost.items() if count}
    return extract


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Read an extract of the grid of nodes and these lines."""

    def build(*lines: str) -> Extract:
        return read_extract(opl(tmp_path / "hand.osm.opl", [*NODES, *lines]))

    return build


def drawn(extract: Extract) -> dict[tuple[str, int, int], str]:
    """The kind of geometry of each feature, by its key."""
    kinds = (shapely.from_wkb(wkb).geom_type for wkb in extract.wkb)
    return dict(zip(extract.keys, kinds, strict=True))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("n500 v1 x10.005 y0.005 Tnatural=tree", {("n", 500, 6): "Point"}),
        ("w1 v1 Thighway=primary Nn1,n2", {("w", 1, 0): "LineString"}),
        (f"w1 v1 Tbuilding=yes {SQUARE}", {("aw", 1, 4): "MultiPolygon"}),
        ("w1 v1 Tbuilding=yes Nn11,n12,n22", {}),
        (f"w1 v1 Thighway=residential {SQUARE}", {("w", 1, 1): "LineString"}),
        (f"w1 v1 Thighway=pedestrian {SQUARE}", {("w", 1, 2): "LineString"}),
        (f"w1 v1 Thighway=pedestrian,area=yes {SQUARE}", {("aw", 1, 2): "MultiPolygon"}),
        ("w1 v1 Thighway=pedestrian,area=yes Nn11,n12,n22", {("w", 1, 2): "LineString"}),
        (f"w1 v1 Tbuilding=yes,area=no {SQUARE}", {}),
        (f"w1 v1 Tnatural=wood {SQUARE}", {("aw", 1, 6): "MultiPolygon"}),
        (
            f"w1 v1 Tbuilding=yes,amenity=school {SQUARE}",
            {("aw", 1, 4): "MultiPolygon", ("aw", 1, 11): "MultiPolygon"},
        ),
        (
            f"w1 v1 Tman_made=pier {SQUARE}",
            {("w", 1, 10): "LineString", ("aw", 1, 10): "MultiPolygon"},
        ),
        ("w1 v1 Thighway=motorway,tunnel=yes Nn1,n2", {}),
        ("w1 v1 Tamenity=cafe Nn1,n2", {}),
    ],
)
def test_an_object_is_drawn_as_its_tags_and_its_shape_say(
    read: Read, line: str, expected: dict[tuple[str, int, int], str]
) -> None:
    extract = read(line, "n900 v1 x10.009 y0.009 Thighway=bus_stop")
    assert drawn(extract) == expected | {("n", 900, 3): "Point"}
    assert len(extract.keys) == len(extract.versions) == len(extract.widths) == len(expected) + 1
    assert extract.lost == {}


def test_lines_points_and_areas_have_the_widths_of_their_rules(read: Read) -> None:
    extract = read(
        "n500 v1 x10.005 y0.005 Tnatural=tree",
        "w1 v3 Thighway=primary Nn1,n2",
        f"w2 v4 Tbuilding=yes {SQUARE}",
    )
    assert extract.widths == [3.0, 13.0, 0.0]
    assert extract.versions == [1, 3, 4]


def test_a_multipolygon_has_its_outer_rings_without_its_inner_ones(read: Read) -> None:
    extract = read(
        f"w1 v1 T {RING}",
        f"w2 v1 T {HOLE}",
        "w3 v1 T Nn8,n9,n19,n8",
        "r7 v2 Ttype=multipolygon,landuse=forest Mw1@outer,w2@inner,w3@outer",
    )
    assert extract.keys == [("ar", 7, 6)]
    assert extract.versions == [2]
    shape = shapely.from_wkb(extract.wkb[0])
    assert len(shape.geoms) == 2
    assert sorted(len(part.interiors) for part in shape.geoms) == [0, 1]
    assert shape.area == pytest.approx(49e-6 - 9e-6 + 0.5e-6)
    assert not shape.covers(shapely.Point(10.0045, 0.0045))


def test_the_rings_of_a_multipolygon_may_be_in_pieces(read: Read) -> None:
    extract = read(
        "w1 v1 T Nn11,n18,n88",
        "w2 v1 T Nn11,n81,n88",
        "r7 v1 Ttype=multipolygon,natural=water Mw1@outer,w2@outer",
    )
    assert shapely.from_wkb(extract.wkb[0]).area == pytest.approx(49e-6)


def test_a_ring_that_does_not_close_is_left_out(read: Read) -> None:
    extract = read(
        "w1 v1 T Nn11,n18,n88",
        "r7 v1 Ttype=multipolygon,natural=water Mw1@outer",
        f"w2 v1 Tbuilding=yes {SQUARE}",
    )
    assert extract.keys == [("aw", 2, 4)]


def test_a_boundary_relation_has_a_name_and_no_cover(read: Read) -> None:
    extract = read(
        f"w1 v1 T {RING}",
        "r7 v5 Ttype=boundary,boundary=administrative,name=Here Mw1@outer",
        f"w2 v1 Tbuilding=yes {SQUARE}",
    )
    assert extract.keys == [("aw", 2, 4)]
    (here,) = extract.named
    assert (here.osm_type, here.osm_id, here.version) == ("R", 7, 5)
    assert here.tags == {"name": "Here", "boundary": "administrative"}
    assert shapely.from_wkb(here.wkb).area == pytest.approx(49e-6)


def test_only_a_multipolygon_may_be_drawn_for_its_type(read: Read) -> None:
    street = "highway=pedestrian"
    for kind, keys in (("multipolygon", [("ar", 7, 2)]), ("boundary,boundary=place", [])):
        extract = read(
            f"w1 v1 T {RING}",
            f"r7 v1 Ttype={kind},{street} Mw1@outer",
            f"w2 v1 Tbuilding=yes {SQUARE}",
        )
        assert [key for key in extract.keys if key[0] == "ar"] == keys


def test_the_way_of_a_relation_is_an_object_of_its_own(read: Read) -> None:
    extract = read(
        f"w1 v1 Tnatural=water {RING}",
        "r7 v1 Ttype=multipolygon,landuse=forest Mw1@outer",
    )
    assert set(extract.keys) == {("aw", 1, 5), ("ar", 7, 6)}


def test_a_way_ends_where_nodes_are_missing(read: Read) -> None:
    extract = read("w1 v1 Thighway=primary Nn1,n2,n999,n4,n5,n998,n7")
    line = shapely.from_wkb(extract.wkb[0])
    assert [len(run.coords) for run in line.geoms] == [2, 2]
    assert line.length == pytest.approx(0.002)


def test_nodes_at_one_spot_are_one(read: Read) -> None:
    twin = "n700 v1 x10.001 y0.0"
    extract = read(twin, "w1 v1 Thighway=primary Nn1,n700,n2,n999,n4,n5")
    runs = shapely.from_wkb(extract.wkb[0]).geoms
    assert [len(run.coords) for run in runs] == [2, 2]


@pytest.mark.parametrize("nodes", ["Nn999,n998", "Nn1,n999", "Nn1", "Nn1,n1"])
def test_what_has_no_length_is_counted_and_left_out(read: Read, nodes: str) -> None:
    extract = read(f"w1 v1 Thighway=primary {nodes}", f"w2 v1 Tbuilding=yes {SQUARE}")
    assert extract.keys == [("aw", 2, 4)]
    assert extract.lost == {INCOMPLETE: 1}


def test_the_coastline_is_kept_beside_what_is_drawn(read: Read) -> None:
    extract = read(
        "w5 v1 Tnatural=coastline Nn1,n2,n3",
        f"w6 v1 Tnatural=coastline {RING}",
        "w7 v1 Tnatural=coastline Nn999,n998",
        f"w2 v1 Tbuilding=yes {SQUARE}",
    )
    assert extract.keys == [("aw", 2, 4)]
    assert set(extract.coastline) == {5, 6}
    line = shapely.from_wkb(extract.coastline[5])
    assert shapely.get_coordinates(line)[:, 0].tolist() == pytest.approx([10.001, 10.002, 10.003])


@pytest.mark.parametrize(
    ("line", "osm_type", "geometry"),
    [
        ("n500 v2 x10.005 y0.005 Tshop=bakery,name=It", "N", "Point"),
        ("w1 v2 Thighway=residential,name=It Nn1,n2", "W", "LineString"),
        (f"w1 v2 Thighway=residential,name=It {SQUARE}", "W", "LineString"),
        (f"w1 v2 Thighway=pedestrian,area=yes,name=It {SQUARE}", "W", "MultiPolygon"),
        (f"w1 v2 Tleisure=park,name=It {SQUARE}", "W", "MultiPolygon"),
        (f"w1 v2 Tleisure=track,area=no,name=It {SQUARE}", "W", "LineString"),
    ],
)
def test_a_named_object_is_kept_once_with_the_geometry_of_its_name(
    read: Read, line: str, osm_type: str, geometry: str
) -> None:
    extract = read(line, f"w2 v1 Tbuilding=yes {SQUARE}")
    (named,) = extract.named
    assert (named.osm_type, named.version) == (osm_type, 2)
    assert named.tags["name"] == "It"
    assert shapely.from_wkb(named.wkb).geom_type == geometry


def test_a_name_that_lies_nowhere_is_not_kept(read: Read) -> None:
    lost = "w1 v1 Thighway=residential,name=It,surface=mud Nn999,n998"
    assert read(lost, f"w2 v1 Tbuilding=yes {SQUARE}").named == []


def test_a_ring_counts_as_lost_only_without_an_area(read: Read) -> None:
    # osmium hands over the areas of some thousand ways at once, the last before its way is done.
    rings = [f"w{n} v1 Tbuilding=yes {SQUARE}" for n in range(1, 12_001)]
    extract = read(*rings, "w20000 v1 Tbuilding=yes Nn11,n12,n22,n999,n11")
    assert len(extract.keys) == 12_000
    assert extract.lost == {INCOMPLETE: 1}


def test_a_batch_goes_every_few_thousand_objects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trees = [f"n{n} v1 x10.{n} y0.1 Tnatural=tree" for n in range(1000, 9193)]
    path = opl(tmp_path / "trees.osm.opl", trees)
    batches: list[int] = []
    at = [0, 0, 0]
    let_go: list[Path] = []
    monkeypatch.setattr(sieve, "let_go_of", let_go.append)
    sift(path, CATALOGUE, tmp_path / "nodes", lambda batch: batches.append(len(batch.drawn)), at)
    assert batches == [4096, 4096, 1]
    assert let_go == [tmp_path / "nodes"] * 3, "the positions fill no memory"
    assert at == [0, 9192, 8193]


def test_the_box_of_the_header_is_read(tmp_path: Path) -> None:
    path = tmp_path / "boxed.osm.pbf"
    header = osmium.io.Header()
    header.add_box(osmium.osm.Box(7.25, 43.5, 7.75, 43.875))
    writer = osmium.SimpleWriter(str(path), header=header)
    writer.add_node(osmium.osm.mutable.Node(id=1, location=(7.5, 43.6), tags={"natural": "tree"}))
    writer.close()
    assert facts_of(path).box == Box(7.25, 43.5, 7.75, 43.875)
    bare = opl(tmp_path / "bare.osm.opl", NODES)
    assert facts_of(bare).box is None


def test_objects_with_a_key_come_whether_they_are_drawn_or_not(tmp_path: Path) -> None:
    path = opl(
        tmp_path / "hand.osm.opl",
        [
            *NODES,
            "n500 v1 x10.005 y0.005 Tamenity=cafe,name=It",
            f"w1 v1 Tamenity=school,building=yes {SQUARE}",
            f"w2 v1 T {RING}",
            "w3 v1 Tamenity=bench Nn999,n998",
            "w4 v1 Tbuilding=yes Nn1,n2",
            "r7 v1 Ttype=multipolygon,amenity=university Mw2@outer",
        ],
    )
    found = [
        (item.kind, item.tags, item.drawn) for item in read_objects(path, CATALOGUE, ["amenity"])
    ]
    assert sorted(found, key=str) == [
        ("area", {"amenity": "school"}, ((4, "building"), (11, "amenity=school"))),
        ("area", {"amenity": "university"}, ((11, "amenity=university"),)),
        ("line", {"amenity": "school"}, ()),
        ("point", {"amenity": "cafe"}, ()),
    ]


def test_ways_end_where_nodes_are_missing_and_areas_are_no_ways(tmp_path: Path) -> None:
    path = opl(
        tmp_path / "hand.osm.opl",
        [
            *NODES,
            "w1 v1 Thighway=primary,surface=mud Nn1,n2,n999,n4,n998,n6,n7,n8",
            f"w2 v1 Thighway=pedestrian,area=yes {SQUARE}",
            f"w3 v1 Thighway=service,area=no {SQUARE}",
            "w4 v1 Tsurface=mud Nn1,n2",
        ],
    )
    ways = list(read_ways(path, ("highway", "area")))
    assert [way.nodes for way in ways] == [(1, 2), (6, 7, 8), (11, 12, 22, 21, 11)]
    assert [way.tags for way in ways] == [
        {"highway": "primary"},
        {"highway": "primary"},
        {"highway": "service", "area": "no"},
    ]
    np.testing.assert_allclose(ways[1].lon, [10.006, 10.007, 10.008])
    np.testing.assert_allclose(ways[2].lat, [0.001, 0.001, 0.002, 0.002, 0.001])


READERS: list[Callable[[Path], object]] = [
    read_extract,
    lambda path: list(read_objects(path, CATALOGUE, ["amenity"])),
    lambda path: list(read_ways(path, ["highway"])),
]


@pytest.mark.parametrize("reader", READERS)
def test_every_reader_names_the_file_that_it_cannot_read(
    tmp_path: Path, reader: Callable[[Path], object]
) -> None:
    broken = tmp_path / "broken.osm.pbf"
    broken.write_bytes(b"nothing of the kind")
    for path, message in ((tmp_path / "none.osm.pbf", "is not a file"), (broken, "cannot read")):
        with pytest.raises(ExtractError, match=message):
            reader(path)
