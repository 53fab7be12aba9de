"""Neighbours with the user's own columns: told on demand, filtered by, spread out, with names."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from fastapi.testclient import TestClient

from loc2vec.embed.files import Vectors
from service.index.index import NeighborIndex
from service.settings import Settings
from tests.service.conftest import serving
from tests.service.http.test_app import MONACO, check_problem
from tiling.geo.geodesy import ground_distance_m

HARBOUR = {"lat": 43.7347, "lon": 7.4213}


@pytest.fixture(scope="module")
def table(vectors: Vectors) -> pa.Table:
    rows = np.arange(len(vectors))
    rating = [None if row % 3 else float("nan") if row % 2 else row / 10 for row in rows.tolist()]
    return pa.table(
        {
            "price": rows % 400,
            "kind": np.array(["bar", "café", "school"])[rows % 3],
            "rating": rating,
            "since": pa.array(rows.astype("datetime64[D]")),
        }
    )


@pytest.fixture(scope="module")
def asked(
    settings: Settings, vectors: Vectors, table: pa.Table, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TestClient]:
    """A client of a service whose index has columns."""
    folder = tmp_path_factory.mktemp("columns") / "index"
    NeighborIndex.build(replace(vectors, table=table), folder)
    with serving(settings.model_copy(update={"index": folder})) as client:
        yield client


def found(client: TestClient, **more: Any) -> list[dict[str, Any]]:
    answer = client.get("/neighbors", params={**MONACO, "k": 1000, **more})
    assert answer.status_code == 200, answer.text
    near: list[dict[str, Any]] = answer.json()["neighbors"]
    return near


def test_columns_are_told_and_filter(asked: TestClient, table: pa.Table) -> None:
    assert asked.get("/info").json()["columns"] == {
        "price": "numbers", "kind": "text", "rating": "numbers", "since": "times",
    }  # fmt: skip
    every = found(asked)
    assert all(near["columns"] is None and near["called"] is None for near in every)
    where = "price < 200 and kind in (café, bar)"
    kept = found(asked, where=where, columns="kind, price,rating,since")
    passing = [
        near["id"]
        for near in every
        if near["id"] % 400 < 200 and table["kind"][near["id"]].as_py() != "school"
    ]
    assert [near["id"] for near in kept] == passing
    assert len(every) > len(kept) > 20
    for near in kept:
        row = table.slice(near["id"], 1).to_pylist()[0]
        rating = row["rating"]
        row |= {"since": str(row["since"]), "rating": rating if rating == rating else None}
        assert near["columns"] == row


def test_a_body_filters_with_json(asked: TestClient) -> None:
    vector = asked.get("/embed", params=MONACO).json()["embedding"]
    where = {"op": "and", "args": [
        {"op": "<", "args": [{"property": "price"}, 200]},
        {"op": "in", "args": [{"property": "kind"}, ["café", "bar"]]},
    ]}  # fmt: skip
    expected = [near["id"] for near in found(asked, where="price<200 and kind in (café, bar)")]
    body = {"embedding": vector, "k": 1000, "where": where, "columns": ["kind"]}
    answer = asked.post("/neighbors", json=body).json()["neighbors"]
    assert [near["id"] for near in answer] == expected
    assert {near["columns"]["kind"] for near in answer} == {"café", "bar"}
    geo = asked.post("/neighbors", json=body, headers={"accept": "application/geo+json"}).json()
    assert geo["features"][0]["properties"]["columns"] == answer[0]["columns"]
    arithmetic = {"plus": [MONACO, HARBOUR], "minus": [MONACO], **body}
    del arithmetic["embedding"]
    answer = asked.post("/arithmetic", json=arithmetic).json()["neighbors"]
    assert sorted(near["id"] for near in answer) == sorted(expected)


def test_a_walk_goes_where_the_filter_lets_it_and_does_not_stand_still(asked: TestClient) -> None:
    given: dict[str, Any] = {
        **MONACO,
        "steps": 6,
        "where": "kind = school",
        "spread_m": 400,
        "columns": "kind",
    }
    steps = asked.get("/walk", params=given).json()["steps"]
    assert len(steps) == 6
    assert {step["columns"]["kind"] for step in steps} == {"school"}
    lat, lon = np.array([(step["lat"], step["lon"]) for step in steps]).T
    for number in range(6):
        far = ground_distance_m(lat[number], lon[number], lat, lon)
        assert np.delete(far, number).min() >= 400


def test_results_lie_apart_and_have_names(asked: TestClient) -> None:
    near = found(asked, k=8, spread_m=300, names=True)
    lat, lon = np.array([(one["lat"], one["lon"]) for one in near]).T
    for number in range(8):
        assert np.delete(ground_distance_m(lat[number], lon[number], lat, lon), number).min() >= 300
    assert {one["called"]["region"] for one in near} == {"Monaco"}
    assert sum(one["called"]["name"] is not None for one in near) >= 6
    (harbour,) = asked.get("/neighbors", params={**HARBOUR, "k": 1, "names": True}).json()[
        "neighbors"
    ]
    assert harbour["called"]["kind"]
    told = asked.get("/embed", params={**HARBOUR, "describe": True}).json()
    kind, _, common = told["description"].partition("; ")
    assert "water" in kind or "harbour" in kind
    assert re.fullmatch(r"like (less than 1|\d+) % of the region", common)
    assert asked.get("/embed", params=HARBOUR).json()["description"] is None
    named = asked.get("/embed", params={**HARBOUR, "names": True}).json()
    assert named["called"]["name"]
    assert asked.get("/embed", params=HARBOUR).json()["called"] is None


def test_compare_says_whether_places_are_alike(asked: TestClient, client: TestClient) -> None:
    def compared(to: dict[str, float]) -> dict[str, Any]:
        given = {**MONACO, "to_lat": to["lat"], "to_lon": to["lon"]}
        answer: dict[str, Any] = asked.get("/compare", params=given).json()
        return answer

    same = compared(MONACO)
    assert (same["closer_than"], same["alike"], same["index"]) != (None, None, None)
    assert same["alike"] is True
    far = found(asked)[-1]
    unlike = compared(far)
    assert unlike["alike"] is False
    assert unlike["closer_than"] == pytest.approx(far["closer_than"], abs=1e-3)


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ({"where": "prize < 3"}, "no-column"),
        ({"columns": "price,prize"}, "no-column"),
        ({"columns": ",".join(f"c{n}" for n in range(60))}, "no-column"),
        ({"where": "price < cheap"}, "not-a-filter"),
        ({"where": "price <"}, "not-a-filter"),
        ({"where": "p" * 5000}, "invalid-request"),
        ({"spread_m": -1}, "invalid-request"),
    ],
)
def test_what_makes_no_sense_is_refused(
    asked: TestClient, given: dict[str, Any], kind: str
) -> None:
    for path in ("/neighbors", "/walk"):
        problem = check_problem(asked.get(path, params={**MONACO, **given}), 422)
        assert problem["type"] == f"urn:loc2vec:problem:{kind}"


def test_a_deep_filter_is_refused(asked: TestClient) -> None:
    where: Any = {"op": "isNull", "args": [{"property": "price"}]}
    for _ in range(60):
        where = {"op": "not", "args": [where]}
    body = {"plus": [MONACO], "where": where}
    problem = check_problem(asked.post("/arithmetic", json=body), 422)
    assert "nested" in problem["detail"]


def test_an_index_without_columns_says_so(client: TestClient) -> None:
    problem = check_problem(client.get("/neighbors", params={**MONACO, "where": "a = 1"}), 422)
    assert "its columns are none" in problem["detail"]
    assert client.get("/info").json()["columns"] == {}


def test_an_index_keeps_its_columns_when_it_grows(
    vectors: Vectors, table: pa.Table, tmp_path: Path
) -> None:
    NeighborIndex.build(replace(vectors, table=table), tmp_path / "index")
    more = replace(vectors, table=table.select(["kind"]), lat=vectors.lat + 1)
    NeighborIndex.add(more, tmp_path / "index")
    kept = NeighborIndex.open(tmp_path / "index").table
    assert kept is not None
    assert kept["kind"].to_pylist() == 2 * table["kind"].to_pylist()
    assert kept["price"].null_count == len(vectors)
