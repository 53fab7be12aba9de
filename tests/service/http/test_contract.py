"""The contract beyond one embedding: formats, caching, filters, walks and arithmetic."""

import io
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient
from numpy.typing import NDArray

from loc2vec.embed.files import Vectors
from service.engine.engine import Engine
from service.http.formats import ARROW, GEOJSON, PARQUET
from tests.service.http.test_app import MONACO, PARIS, check_problem
from tiling.geo.geodesy import ground_distance_m
from tiling.values import LonLat, Pose

CELL = "8a3969a41d37fff"
MIDDLE = (43.738373201300114, 7.424489829673448)
STADIUM = {"lat": 43.7277, "lon": 7.4157}
BBOX = "7.42,43.735,7.43,43.74"


def ids(answer: Any) -> list[int]:
    return [near["id"] for near in answer["neighbors"]]


def test_every_answer_names_model_and_index(client: TestClient, engine: Engine) -> None:
    index = engine.index_name
    to = {"to_lat": STADIUM["lat"], "to_lon": STADIUM["lon"]}
    vector = {"embedding": [0.0] * 16}
    answers = [
        client.get("/embed", params=MONACO),
        client.post("/embed", json={"locations": [MONACO]}),
        client.get("/neighbors", params=MONACO),
        client.get("/neighbors", params=MONACO, headers={"accept": GEOJSON}),
        client.post("/neighbors", json=vector),
        client.post("/arithmetic", json={"plus": [MONACO]}),
        client.get("/interpolate", params=MONACO | to),
        client.get("/walk", params=MONACO),
        client.get("/info"),
    ]
    for answer in answers:
        assert (answer.json()["model"], answer.json()["index"]) == (engine.model, index), answer.url
    assert index is not None
    assert len(index) == 12


def test_an_answer_that_the_client_has_is_not_sent_again(client: TestClient) -> None:
    for path in ("/embed", "/neighbors", "/tile.png", "/info"):
        query = {} if path == "/info" else MONACO
        first = client.get(path, params=query)
        assert first.headers["cache-control"] == "public, max-age=300"
        again = client.get(
            path, params=query, headers={"if-none-match": f'"other", {first.headers["etag"]}'}
        )
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == first.headers["etag"]
        other = client.get(path, params=query, headers={"if-none-match": '"other"'})
        assert (other.status_code, other.content) == (200, first.content)


def test_long_answers_are_compressed_and_pictures_are_not(client: TestClient) -> None:
    headers = {"accept-encoding": "gzip"}
    many = client.get("/neighbors", params=MONACO | {"k": 40}, headers=headers)
    assert many.headers["content-encoding"] == "gzip"
    assert len(many.json()["neighbors"]) == 40
    assert "content-encoding" not in client.get("/tile.png", params=MONACO, headers=headers).headers


@pytest.mark.parametrize("media_type", [ARROW, PARQUET])
def test_many_places_as_a_table(client: TestClient, engine: Engine, media_type: str) -> None:
    locations = [MONACO, {"h3": CELL}, STADIUM]
    plain = client.post("/embed", json={"locations": locations}).json()["embeddings"]
    answer = client.post("/embed", json={"locations": locations}, headers={"accept": media_type})
    assert answer.headers["content-type"] == media_type
    if media_type == ARROW:
        table = pa.ipc.open_stream(answer.content).read_all()
    else:
        table = pq.read_table(io.BytesIO(answer.content))
    facts = {key.decode(): value.decode() for key, value in table.schema.metadata.items()}
    assert (facts["model"], facts["index"]) == (engine.model, engine.index_name)
    assert "OpenStreetMap contributors" in facts["attribution"]
    assert table["lat"].to_pylist() == [item["lat"] for item in plain]
    found = np.array(table["embedding"].to_pylist(), np.float32)
    assert (found == np.array([item["embedding"] for item in plain], np.float32)).all()


def test_neighbours_as_geojson(client: TestClient) -> None:
    plain = client.get("/neighbors", params=MONACO | {"k": 4}).json()["neighbors"]
    answer = client.get(
        "/neighbors", params=MONACO | {"k": 4}, headers={"accept": f"text/html, {GEOJSON};q=0.9"}
    )
    assert answer.headers["content-type"] == GEOJSON
    assert answer.json()["type"] == "FeatureCollection"
    for feature, near in zip(answer.json()["features"], plain, strict=True):
        assert feature["geometry"] == {"type": "Point", "coordinates": [near["lon"], near["lat"]]}
        assert (feature["id"], feature["properties"]) == (near["id"], near)


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        ("", 200),
        ("*/*", 200),
        ("text/html,application/xhtml+xml,*/*;q=0.8", 200),
        ("application/*", 200),
        ("APPLICATION/JSON; charset=utf-8", 200),
        ("text/html", 406),
        ("application/json;q=0", 406),
        ("application/json;q=0, */*", 406),
        ("application/json;q=x", 406),
        (",;,=;q=", 406),
    ],
)
def test_what_the_client_takes(client: TestClient, accept: str, status: int) -> None:
    answer = client.get("/embed", params=MONACO, headers={"accept": accept})
    assert answer.status_code == status
    if status == 406:
        assert "application/json" in check_problem(answer, 406)["detail"]


def test_a_cell_is_a_place_like_any_other(client: TestClient) -> None:
    lat, lon = MIDDLE
    by_name, by_place = (
        client.get("/embed", params=p).json() for p in ({"h3": CELL}, {"lat": lat, "lon": lon})
    )
    assert by_name == by_place
    assert (by_name["lat"], by_name["lon"]) == MIDDLE
    assert client.get("/neighbors", params={"h3": CELL}).json()["lat"] == lat
    assert client.get("/tile.png", params={"h3": CELL}).status_code == 200
    wrong: tuple[dict[str, str | float], ...] = (
        {"h3": "8a3969a41d37ff0"},
        {"h3": CELL, "lat": lat, "lon": lon},
        {"h3": CELL, "lat": lat},
    )
    for query in wrong:
        check_problem(client.get("/embed", params=query), 422)
    item = {"h3": CELL, "lat": lat, "lon": lon}
    assert (
        "locations.0"
        in check_problem(client.post("/embed", json={"locations": [item]}), 422)["detail"]
    )


@pytest.mark.parametrize(
    "query",
    [
        "latt=43.7&lat=43.7384&lon=7.4246",
        "lat=43.7384&lon=7.4246&lat=43.7384",
        "lat=43.7384&lon=7.4246&k=3",
    ],
)
def test_a_slip_of_the_pen_is_refused(client: TestClient, query: str) -> None:
    problem = check_problem(client.get(f"/embed?{query}"), 422)
    assert any(
        name in problem["detail"] for name in ("latt", "query.lat: Given more than once", "query.k")
    )


def test_filters_leave_out_before_they_count(client: TestClient, vectors: Vectors) -> None:
    query = np.array(client.get("/embed", params=MONACO).json()["embedding"])
    distance = np.linalg.norm(vectors.embedding.astype(np.float64) - query, axis=1)
    order = np.lexsort((np.arange(len(vectors)), distance))
    far = ground_distance_m(MONACO["lat"], MONACO["lon"], vectors.lat, vectors.lon)
    in_box = (
        (vectors.lon >= 7.42)
        & (vectors.lon <= 7.43)
        & (vectors.lat >= 43.735)
        & (vectors.lat <= 43.74)
    )
    cases: tuple[tuple[dict[str, str | int], NDArray[np.bool_]], ...] = (
        ({"min_distance_m": 500}, far >= 500),
        ({"bbox": BBOX}, in_box),
        ({"bbox": BBOX, "min_distance_m": 200}, in_box & (far >= 200)),
        ({"within": "monaco"}, np.ones(len(vectors), bool)),
        ({"not_within": "monaco"}, np.zeros(len(vectors), bool)),
        ({"bbox": "8,43,8.1,44"}, np.zeros(len(vectors), bool)),
    )
    for asked, passing in cases:
        for k in (1, 7, 1000):
            answer = client.get("/neighbors", params={**MONACO, "k": k, **asked}).json()
            assert ids(answer) == [row for row in order if passing[row]][:k], asked
    assert 5 < in_box.sum() < len(vectors)


def test_filters_that_make_no_sense_are_refused(client: TestClient) -> None:
    for asked in (
        {"bbox": "1,2,3"},
        {"bbox": "7.43,43.74,7.42,43.735"},
        {"bbox": "nan,43,8,44"},
        {"bbox": "7,43,8,inf"},
        {"min_distance_m": "-1"},
        {"min_distance_m": "nan"},
        {"within": "atlantis"},
        {"not_within": ""},
    ):
        check_problem(client.get("/neighbors", params={**MONACO, **asked}), 422)
    problem = check_problem(client.get("/neighbors", params=MONACO | {"within": "atlantis"}), 422)
    assert "monaco" in problem["detail"]


def test_neighbours_of_a_vector(client: TestClient, vectors: Vectors) -> None:
    embedding = vectors.embedding[7].astype(float).tolist()
    answer = client.post("/neighbors", json={"embedding": embedding, "k": 3}).json()
    assert (ids(answer)[0], answer["neighbors"][0]["distance"], answer["k"]) == (7, 0, 3)
    assert answer["neighbors"][0]["ground_distance_m"] is None
    box = [7.42, 43.735, 7.43, 43.74]
    assert (
        len(
            ids(
                client.post(
                    "/neighbors", json={"embedding": embedding, "k": 1000, "bbox": box}
                ).json()
            )
        )
        < 40
    )


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"embedding": []},
        {"embedding": [0.0] * 15},
        {"embedding": [0.0] * 5000},
        {"embedding": ["0"] * 16},
        {"embedding": [1e300] * 16},
        {"embedding": [None] * 16},
        {"embedding": [0.0] * 16, "k": 0},
        {"embedding": [0.0] * 16, "k": True},
        {"embedding": [0.0] * 16, "bbox": [1, 2, 3]},
        {"embedding": [0.0] * 16, "within": ["atlantis"]},
        {"embedding": [0.0] * 16, "like": 1},
    ],
)
def test_a_vector_that_makes_no_sense_is_refused(client: TestClient, body: dict[str, Any]) -> None:
    check_problem(client.post("/neighbors", json=body), 422)


def test_arithmetic_is_that_of_the_embeddings(client: TestClient, vectors: Vectors) -> None:
    rows = (3, 50, 20)
    a, b, c = ({"lat": float(vectors.lat[row]), "lon": float(vectors.lon[row])} for row in rows)
    answer = client.post("/arithmetic", json={"plus": [a, c], "minus": [b], "k": 1000}).json()
    expected = vectors.embedding[3] - vectors.embedding[50] + vectors.embedding[20]
    np.testing.assert_allclose(answer["embedding"], expected, atol=1e-4)
    distance = np.linalg.norm(vectors.embedding - expected, axis=1)
    assert [near["distance"] for near in answer["neighbors"]] == pytest.approx(
        np.sort(distance).tolist(), abs=1e-4
    )
    far = client.post(
        "/arithmetic", json={"plus": [a, c], "minus": [b], "k": 1000, "min_distance_m": 300}
    ).json()
    for near in far["neighbors"]:
        ground = ground_distance_m(
            near["lat"], near["lon"], vectors.lat[list(rows)], vectors.lon[list(rows)]
        )
        assert ground.min() >= 300
    assert 0 < len(far["neighbors"]) < len(vectors)
    check_problem(client.post("/arithmetic", json={"plus": [a, PARIS]}), 404)
    check_problem(client.post("/arithmetic", json={"plus": [], "minus": [a]}), 422)
    check_problem(client.post("/arithmetic", json={"plus": [a] * 17}), 422)


def test_interpolation_begins_and_ends_at_its_places(client: TestClient, vectors: Vectors) -> None:
    start, end = 3, 50
    query = {
        "lat": vectors.lat[start],
        "lon": vectors.lon[start],
        "to_lat": vectors.lat[end],
        "to_lon": vectors.lon[end],
    }
    answer = client.get("/interpolate", params=query | {"steps": 5, "k": 2}).json()
    assert [step["share"] for step in answer["steps"]] == [0, 0.25, 0.5, 0.75, 1]
    assert all(len(step["neighbors"]) == 2 for step in answer["steps"])
    for step, row in ((answer["steps"][0], start), (answer["steps"][-1], end)):
        assert step["neighbors"][0]["distance"] == pytest.approx(0, abs=1e-4)
        near = step["neighbors"][0]["id"]
        np.testing.assert_allclose(vectors.embedding[near], vectors.embedding[row], atol=1e-4)
    check_problem(client.get("/interpolate", params=MONACO | {"steps": 3}), 422)
    check_problem(client.get("/interpolate", params=query | {"steps": 1}), 422)


def test_a_walk_comes_to_new_places_and_is_the_same_for_a_seed(
    client: TestClient, vectors: Vectors
) -> None:
    def walk(**asked: str | float) -> list[Any]:
        return list(client.get("/walk", params={**MONACO, **asked}).json()["steps"])

    way = walk(steps=12, k=5, seed=1)
    rows = [near["id"] for near in way]
    assert len(set(rows)) == 12
    assert (
        rows
        == [near["id"] for near in walk(steps=12, k=5, seed=1)]
        != [n["id"] for n in walk(steps=12, k=5, seed=2)]
    )
    for before, near in zip(rows, way[1:], strict=False):
        step = np.linalg.norm(vectors.embedding[before] - vectors.embedding[near["id"]])
        assert near["distance"] == pytest.approx(step, abs=1e-4)
    assert len(walk(steps=100, bbox="7.424,43.737,7.429,43.741")) < 20


def test_a_place_of_the_index_is_not_drawn_again(
    client: TestClient, vectors: Vectors, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = {"lat": float(vectors.lat[9]), "lon": float(vectors.lon[9])}
    first = client.get("/embed", params=MONACO).json()
    monkeypatch.setattr(
        Engine, "_embed_parts", lambda self, places: pytest.fail("drawn") if places else []
    )
    answer = client.get("/embed", params=place).json()["embedding"]
    assert (np.array(answer, np.float32) == vectors.embedding[9]).all()
    assert client.get("/embed", params=MONACO).json() == first  # remembered


def test_a_comparison_says_what_each_channel_does(client: TestClient, engine: Engine) -> None:
    asked = MONACO | {"to_lat": STADIUM["lat"], "to_lon": STADIUM["lon"]}
    answer = client.get("/compare", params=asked).json()
    a, b = engine.embed(
        [LonLat(MONACO["lon"], MONACO["lat"]), LonLat(STADIUM["lon"], STADIUM["lat"])]
    )
    assert answer["distance"] == pytest.approx(np.linalg.norm(a - b), rel=1e-3)
    assert answer["ground_distance_m"] == pytest.approx(
        float(ground_distance_m(MONACO["lat"], MONACO["lon"], STADIUM["lat"], STADIUM["lon"]))
    )
    channels = answer["channels"]
    assert [channel["name"] for channel in channels] == client.get("/info").json()["channels"]
    tiles = np.stack([engine.tile(Pose(**place)).pixels for place in (MONACO, STADIUM)])
    shares = tiles.mean((2, 3)) / 255
    np.testing.assert_allclose([[c["share"], c["to_share"]] for c in channels], shares.T, atol=1e-9)
    number = int(np.argmax([abs(channel["effect"]) for channel in channels]))
    tiles[:, number] = 0
    without = np.linalg.norm(np.subtract(*engine._batcher.encode(tiles)))
    assert channels[number]["effect"] == pytest.approx(answer["distance"] - without, rel=1e-3)
    empty = [c for c in channels if not c["share"] and not c["to_share"]]
    assert all(channel["effect"] == 0 for channel in empty)
    same = client.get(
        "/compare", params=MONACO | {"to_lat": MONACO["lat"], "to_lon": MONACO["lon"]}
    ).json()
    assert same["distance"] == pytest.approx(0, abs=1e-4)
    check_problem(client.get("/compare", params=MONACO), 422)
    check_problem(
        client.get("/compare", params=MONACO | {"to_lat": PARIS["lat"], "to_lon": PARIS["lon"]}),
        404,
    )
