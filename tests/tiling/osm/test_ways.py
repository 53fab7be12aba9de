"""Ways as graphs: which ways a mode may use, and how they hang together."""

from pathlib import Path

import numpy as np
import osmium
import pytest

from tiling.errors import ExtractError
from tiling.osm.extract import OsmWay, read_ways
from tiling.osm.ways import KEYS, MODES, graph_of, read_graphs

ROAD, CYCLE, FOOT = (
    next(mode for mode in MODES if mode.name == name) for name in ("road", "cycle", "foot")
)


def way(tags: dict[str, str], *nodes: int) -> OsmWay:
    return OsmWay(
        tags, nodes, tuple(7.0 + node / 1000 for node in nodes), tuple(43.0 for _ in nodes)
    )


def test_ways_meet_at_their_common_nodes_and_nowhere_else() -> None:
    graph = graph_of(
        [way({"highway": "primary"}, 1, 2, 3), way({"highway": "residential"}, 5, 2)], ROAD
    )
    assert len(graph.lon_lat) == 4
    named = {
        round((lon - 7) * 1000): number for number, (lon, _) in enumerate(graph.lon_lat.tolist())
    }
    edges = {frozenset(pair) for pair in graph.edges.tolist()}
    assert edges == {frozenset(named[n] for n in pair) for pair in ((1, 2), (2, 3), (5, 2))}
    assert graph.own.tolist() == [True, True, False]
    # .001 degrees of longitude at 43 north
    assert graph.length == pytest.approx([81.4, 81.4, 244.2], rel=0.01)


def test_a_mode_uses_its_own_ways_and_those_it_shares() -> None:
    ways = [
        way({"highway": "footway"}, 1, 2),
        way({"highway": "path", "bicycle": "designated"}, 3, 4),
        way({"highway": "motorway"}, 5, 6),
        way({"highway": "residential"}, 7, 8),
    ]
    assert graph_of(ways, FOOT).own.tolist() == [True, True, False]
    assert graph_of(ways, CYCLE).own.tolist() == [True, False]
    assert graph_of(ways, ROAD).own.tolist() == [True, False]
    assert not len(graph_of([], ROAD).edges)


def test_monaco_has_roads_and_footpaths(monaco_pbf: Path) -> None:
    graphs = read_graphs(monaco_pbf)
    assert {"road", "foot"} <= set(graphs)
    foot = graphs["foot"]
    assert foot.length[foot.own].sum() > 20_000
    assert foot.edges.max() == len(foot.lon_lat) - 1
    assert ((foot.lon_lat > (7.3, 43.7)) & (foot.lon_lat < (7.5, 43.8))).all()


def test_tunnels_areas_and_missing_nodes_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "small.osm.pbf"
    with osmium.SimpleWriter(str(path)) as writer:
        for number in (1, 2, 4, 5):
            writer.add_node(osmium.osm.mutable.Node(id=number, location=(7 + number / 1000, 43)))
        foot, tunnel = {"highway": "footway"}, {"highway": "footway", "tunnel": "yes"}
        for number, tags in enumerate((foot, tunnel, {"highway": "pedestrian", "area": "yes"}), 1):
            writer.add_way(osmium.osm.mutable.Way(id=number, nodes=[1, 2, 3, 4, 5], tags=tags))
    found = [(one.nodes, one.tags) for one in read_ways(path, KEYS)]
    assert found == [((1, 2), foot), ((4, 5), foot), ((1, 2), tunnel), ((4, 5), tunnel)]
    graph = read_graphs(path)["foot"]
    assert (len(graph.edges), len(graph.lon_lat)) == (2, 4)
    assert np.diff(graph.lon_lat[graph.edges][..., 0], axis=1).ravel() == pytest.approx(
        [0.001, 0.001]
    )


def test_what_is_no_extract_is_said(tmp_path: Path) -> None:
    with pytest.raises(ExtractError, match="not a file"):
        read_graphs(tmp_path / "nowhere.osm.pbf")
    (tmp_path / "broken.osm.pbf").write_bytes(b"nothing of the kind")
    with pytest.raises(ExtractError, match="cannot read"):
        read_graphs(tmp_path / "broken.osm.pbf")
