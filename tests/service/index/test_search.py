"""Searching an index with filters: exact beside brute force, apart on the ground, on a scale."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from loc2vec.embed.files import Vectors
from service.errors import ColumnError, FilterError
from service.index.columns import values_of
from service.index.index import NeighborIndex
from service.index.search import Filters, Search
from service.index.where import parse_where
from tests.service.index.test_index import make_vectors
from tiling.geo.geodesy import ground_distance_m
from tiling.values import Box

K = 9


@pytest.fixture(scope="module")
def vectors() -> Vectors:
    """3,000 places about Monaco, many close together, with prices; some have no vector."""
    rng = np.random.default_rng(0)
    embedding = rng.standard_normal((3000, 8)).astype(np.float32)
    embedding[::50] = np.nan
    embedding[100:200] = embedding[101] + rng.normal(0, 1e-3, (100, 8)).astype(np.float32)
    table = pa.table(
        {"price": rng.integers(0, 300, 3000), "kind": rng.choice(["bar", "café"], 3000)}
    )
    lat, lon = rng.normal(43.73, 0.01, 3000), rng.normal(7.42, 0.01, 3000)
    lat[100:200], lon[100:200] = 43.73, np.linspace(7.42, 7.421, 100)
    return replace(make_vectors(embedding), table=table, lat=lat, lon=lon)


@pytest.fixture(scope="module")
def search(vectors: Vectors, tmp_path_factory: pytest.TempPathFactory) -> Search:
    folder = tmp_path_factory.mktemp("searched") / "index"
    NeighborIndex.build(vectors, folder)
    return Search(NeighborIndex.open(folder), {})


def greedy(
    vectors: Vectors, query: NDArray[np.float32], passing: NDArray[np.bool_], metres: float
) -> list[int]:
    distance = np.linalg.norm(vectors.embedding.astype(np.float64) - query, axis=1)
    distance[~passing] = np.nan
    taken: list[int] = []
    for row in np.argsort(distance, kind="stable").tolist():
        if len(taken) == K or not np.isfinite(distance[row]):
            break
        far = ground_distance_m(
            vectors.lat[row], vectors.lon[row], vectors.lat[taken], vectors.lon[taken]
        )
        if not len(far) or far.min() >= metres:
            taken.append(row)
    return taken


@pytest.mark.parametrize("metres", [0, 50, 1000, 5000, 1e7])
@pytest.mark.parametrize("where", [None, "price < 150 and kind = bar", "price < 3"])
def test_results_are_those_of_brute_force(
    search: Search, vectors: Vectors, metres: float, where: str | None
) -> None:
    assert vectors.table is not None
    box = Box(7.41, 43.72, 7.44, 43.74)
    price, kind = np.array(vectors.table["price"]), np.array(vectors.table["kind"])
    passing = (vectors.lon >= 7.41) & (vectors.lon <= 7.44) & (vectors.lat >= 43.72)
    passing &= vectors.lat <= 43.74
    if where:
        passing &= price < 3 if where == "price < 3" else (price < 150) & (kind == "bar")
    filters = Filters(box, where=parse_where(where) if where else None, spread_m=metres)
    for row in (101, 1, 2):
        found = search.nearest(vectors.embedding[row], K, filters=filters)
        assert [one.id for one in found] == greedy(vectors, vectors.embedding[row], passing, metres)


def test_columns_stay_with_their_places(search: Search, vectors: Vectors) -> None:
    assert vectors.table is not None
    rows = np.array([7, 3, 2999])
    found = values_of(search.index.table, ["kind", "price"], rows)
    assert found == vectors.table.select(["kind", "price"]).take(rows).to_pylist()
    with pytest.raises(ColumnError, match="no column 'prize', its columns are price, kind"):
        values_of(search.index.table, ["price", "prize"], rows)


def test_what_an_index_cannot_have_is_refused_before_it_is_searched(search: Search) -> None:
    search.require(Filters(where=parse_where("price > 3")), ["kind"])
    with pytest.raises(FilterError, match="holds numbers"):
        search.require(Filters(where=parse_where("price > cheap")))
    with pytest.raises(ColumnError, match="'size'"):
        search.require(Filters(where=parse_where("price > 3 or size = 1")))
    with pytest.raises(ColumnError, match="'size'"):
        search.require(Filters(), ["price", "size"])


def test_a_distance_is_told_by_the_share_of_pairs_that_are_farther_apart(
    search: Search, vectors: Vectors
) -> None:
    kept = vectors.embedding[vectors.inside][::4].astype(np.float64)
    every = np.linalg.norm(kept[:, None] - kept[None], axis=2)[np.triu_indices(len(kept), 1)]
    for share in (0.01, 0.5, 0.99):
        distance = np.quantile(every, 1 - share)
        assert search.scale.closer_than(distance) == pytest.approx(share, abs=0.02)
    assert search.scale.closer_than([0.0, 1e9]).tolist() == [1, 0]
    found = search.nearest(vectors.embedding[1], 3)
    assert [one.closer_than for one in found] == sorted([one.closer_than for one in found])[::-1]
    assert found[0].closer_than == 1


def test_how_common_a_place_is(search: Search, vectors: Vectors) -> None:
    kept = vectors.embedding[vectors.inside]
    limit = search.scale.distance(0.95)
    assert search.scale.closer_than(limit) == pytest.approx(0.95, abs=1e-3)
    apart = np.linalg.norm(kept - vectors.embedding[1], axis=1)
    assert search.alike(vectors.embedding[1]) == pytest.approx((apart <= limit).mean(), abs=0.01)
    assert search.alike(np.full(8, 1e3, np.float32)) == 0


def test_one_place_has_no_pair(tmp_path: Path) -> None:
    index = NeighborIndex.build(make_vectors(np.ones((1, 8), np.float32)), tmp_path / "index")
    (found,) = Search(index, {}).nearest(np.ones(8, np.float32), 3, filters=Filters(spread_m=10))
    assert found.closer_than == 0
