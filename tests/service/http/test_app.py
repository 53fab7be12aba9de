import io
import logging
import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient
from numpy.typing import NDArray
from PIL import Image

from loc2vec.embed.files import Vectors
from service.engine.engine import Engine
from service.index.index import NeighborIndex
from service.settings import Settings
from tests.service.conftest import serving
from tiling.errors import StoreError, StoreUnavailableError
from tiling.geo.geodesy import ground_distance_m
from tiling.store.geopackage.source import GeoPackageSource
from tiling.values import TileGeometry

MONACO = {"lat": 43.7384, "lon": 7.4246}
PARIS = {"lat": 48.8566, "lon": 2.3522}
BUILDINGS = 4


def check_problem(response: Any, status: int) -> dict[str, Any]:
    """Check that the answer is a problem document (RFC 9457) and return it."""
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert {"type", "title", "status", "detail", "instance"} <= problem.keys()
    assert problem["status"] == status
    assert isinstance(problem["detail"], str)
    return dict(problem)


def pixels(client: TestClient, **query: float) -> NDArray[np.uint8]:
    response = client.get("/tile.png", params=MONACO | query)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "image/png"
    return np.asarray(Image.open(io.BytesIO(response.content)))


def test_embed_gives_finite_numbers(client: TestClient) -> None:
    answer = client.get("/embed", params=MONACO).json()
    keys = ["lat", "lon", "model", "index", "dim", "embedding", "called", "description"]
    assert list(answer) == keys
    assert (answer["lat"], answer["lon"], answer["dim"]) == (43.7384, 7.4246, 16)
    assert answer["model"].startswith("fresh-0@")
    assert len(answer["embedding"]) == 16
    assert all(map(math.isfinite, answer["embedding"]))
    assert np.std(answer["embedding"]) > 0


def test_many_places_keep_their_order(client: TestClient, vectors: Vectors) -> None:
    rows = np.random.default_rng(0).permutation(len(vectors))[:70]
    locations = [{"lat": vectors.lat[row], "lon": vectors.lon[row]} for row in rows]
    answer = client.post("/embed", json={"locations": locations}).json()
    assert (answer["dim"], len(answer["embeddings"])) == (16, 70)
    assert [{"lat": item["lat"], "lon": item["lon"]} for item in answer["embeddings"]] == locations
    found = np.array([item["embedding"] for item in answer["embeddings"]])
    np.testing.assert_allclose(found, vectors.embedding[rows], atol=1e-4)


def test_one_place_and_many_agree(client: TestClient) -> None:
    one = client.get("/embed", params=MONACO).json()["embedding"]
    (many,) = client.post("/embed", json={"locations": [MONACO]}).json()["embeddings"]
    assert many == MONACO | {"embedding": one}


def test_a_thousand_places_are_enough(client: TestClient) -> None:
    problem = check_problem(client.post("/embed", json={"locations": [MONACO] * 1001}), 422)
    assert "1000" in problem["detail"]


@pytest.mark.parametrize("k", [1, 5, 40])
def test_neighbors_are_the_nearest_in_the_embedding(
    client: TestClient, vectors: Vectors, k: int
) -> None:
    answer = client.get("/neighbors", params=MONACO | {"k": k}).json()
    assert (answer["lat"], answer["lon"], answer["k"]) == (43.7384, 7.4246, k)
    query = np.array(client.get("/embed", params=MONACO).json()["embedding"])
    distance = np.linalg.norm(vectors.embedding.astype(np.float64) - query, axis=1)
    rows = np.lexsort((np.arange(len(vectors)), distance))[:k]
    found = answer["neighbors"]
    assert [near["id"] for near in found] == rows.tolist()
    assert [near["distance"] for near in found] == pytest.approx(distance[rows].tolist(), rel=1e-5)
    assert [near["lat"] for near in found] == vectors.lat[rows].tolist()
    assert [near["lon"] for near in found] == vectors.lon[rows].tolist()
    ground = ground_distance_m(43.7384, 7.4246, vectors.lat[rows], vectors.lon[rows])
    assert [near["ground_distance_m"] for near in found] == pytest.approx(ground.tolist())


def test_ten_neighbors_unless_asked_otherwise(client: TestClient, vectors: Vectors) -> None:
    assert len(client.get("/neighbors", params=MONACO).json()["neighbors"]) == 10
    assert len(client.get("/neighbors", params=MONACO | {"k": 1000}).json()["neighbors"]) == len(
        vectors
    )


def test_tile_is_a_colour_picture(client: TestClient) -> None:
    picture = pixels(client)
    assert picture.shape == (128, 128, 3)
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 50


def test_a_channel_is_grey(client: TestClient) -> None:
    buildings, water = pixels(client, channel=BUILDINGS), pixels(client, channel=5)
    assert buildings.shape == (128, 128)
    assert 0.05 < buildings.mean() / 255 < 0.9
    assert (buildings != water).any()


def test_shift_moves_the_map_right_and_up(client: TestClient) -> None:
    eight_pixels = 8 * TileGeometry().metres_per_pixel
    base = pixels(client, channel=BUILDINGS).astype(int)
    right = pixels(client, channel=BUILDINGS, dx=eight_pixels).astype(int)
    up = pixels(client, channel=BUILDINGS, dy=eight_pixels).astype(int)
    assert np.abs(right[:, 8:] - base[:, :-8]).mean() < 1
    assert np.abs(up[:-8] - base[8:]).mean() < 1


def test_rotation_turns_the_map_counter_clockwise(client: TestClient) -> None:
    base = pixels(client, channel=BUILDINGS).astype(int)
    turned = pixels(client, channel=BUILDINGS, rotation=90).astype(int)
    assert np.abs(turned - np.rot90(base)).mean() < 5 < np.abs(turned - np.rot90(base, -1)).mean()


def test_info_says_what_is_served(client: TestClient, vectors: Vectors) -> None:
    info = client.get("/info").json()
    assert (info["dim"], info["store"], info["index_count"]) == (16, "monaco", len(vectors))
    west, south, east, north = info["bounds"]
    assert west < 7.4246 < east
    assert south < 43.7384 < north
    assert info["fingerprint"] == vectors.fingerprint
    assert info["model"] == vectors.model
    assert "OpenStreetMap contributors" in info["attribution"]
    assert info["licence"]
    assert info["version"]


def test_health_docs_and_root(client: TestClient) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/docs").status_code == 200
    assert "<title>Loc2Vec" in client.get("/").text


def test_ready_goes_the_whole_way(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.http.ready.KEPT_S", 0.0)
    assert client.get("/readyz").json() == {"status": "ready"}

    def broken(*_: object) -> None:
        raise StoreError("the disk at /srv/maps is gone")

    for part, method in ((GeoPackageSource, "features"), (NeighborIndex, "search")):
        with monkeypatch.context() as patch:
            patch.setattr(part, method, broken)
            problem = check_problem(client.get("/readyz"), 500)
            assert "/srv/maps" not in str(problem)
    assert client.get("/readyz").status_code == 200


@pytest.mark.parametrize("path", ["/embed", "/neighbors", "/tile.png", "/readyz"])
def test_a_store_that_is_away_is_a_503_until_it_is_back(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    def away(*_: object) -> None:
        raise StoreUnavailableError("postgresql://reader@db-7/osm does not answer")

    monkeypatch.setattr("service.http.ready.KEPT_S", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(GeoPackageSource, "features", away)
        response = client.get(path, params=MONACO)
        problem = check_problem(response, 503)
        assert int(response.headers["retry-after"]) > 0
        assert problem["type"] == "urn:loc2vec:problem:store-away"
        assert "db-7" not in response.text
        assert problem["request_id"] in caplog.text
        assert "db-7" in caplog.text
        assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get(path, params=MONACO).status_code == 200


def test_openapi_shows_a_place_in_monaco_and_the_problems(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    lat = next(p for p in paths["/embed"]["get"]["parameters"] if p["name"] == "lat")
    assert lat["schema"]["examples"] == [43.7384]
    for path, method in (
        ("/embed", "get"),
        ("/embed", "post"),
        ("/neighbors", "get"),
        ("/tile.png", "get"),
    ):
        answers = paths[path][method]["responses"]
        assert (
            list(answers["422"]["content"])
            == list(answers["404"]["content"])
            == ["application/problem+json"]
        )
    assert list(paths["/tile.png"]["get"]["responses"]["200"]["content"]) == ["image/png"]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("", "query: give lat and lon, or h3"),
        ("lat=43.7", "query: give lat and lon, or h3"),
        ("lat=north&lon=7.4", "query.lat"),
        ("lat=nan&lon=7.4", "finite"),
        ("lat=43.7&lon=inf", "finite"),
        ("lat=1e999&lon=7.4", "finite"),
        ("lat=91&lon=7.4", "out of range"),
        ("lat=43.7&lon=181", "out of range"),
        ("lat=120&lon=43.7", "swapped"),
    ],
)
@pytest.mark.parametrize("path", ["/embed", "/neighbors", "/tile.png"])
def test_what_is_no_place_is_refused(client: TestClient, path: str, query: str, said: str) -> None:
    problem = check_problem(client.get(f"{path}?{query}"), 422)
    assert said in problem["detail"]
    assert problem["instance"] == (f"{path}?{query}" if query else path)


@pytest.mark.parametrize(
    "query",
    ["k=0", "k=1001", "k=ten", "k=1.5"],
)
def test_a_bad_k_is_refused(client: TestClient, query: str) -> None:
    assert (
        "query.k"
        in check_problem(client.get(f"/neighbors?lat=43.7384&lon=7.4246&{query}"), 422)["detail"]
    )


@pytest.mark.parametrize(
    "query", ["channel=12", "channel=-1", "channel=x", "rotation=nan", "dx=inf", "dy=1e9"]
)
def test_a_bad_pose_is_refused(client: TestClient, query: str) -> None:
    name = query.partition("=")[0]
    assert (
        name
        in check_problem(client.get(f"/tile.png?lat=43.7384&lon=7.4246&{query}"), 422)["detail"]
    )


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"locations": []}',
        '{"locations": [{"lat": 43.7}]}',
        '{"locations": [{"lat": "43.7", "lon": 7.4}]}',
        '{"locations": [{"lat": true, "lon": 7.4}]}',
        '{"locations": [{"lat": NaN, "lon": 7.4}]}',
        '{"locations": [{"lat": 1e999, "lon": 7.4}]}',
        '{"locations": [{"lat": 100, "lon": 7.4}]}',
        '{"locations": null}',
        '{"locations": "\ud83d\ude00"}',
    ],
)
def test_a_bad_body_is_refused(client: TestClient, body: str) -> None:
    content = body.encode("utf-8", "surrogatepass")
    check_problem(
        client.post("/embed", content=content, headers={"content-type": "application/json"}), 422
    )


@pytest.mark.parametrize("path", ["/embed", "/neighbors", "/tile.png"])
def test_a_place_outside_the_extract_is_not_found(client: TestClient, path: str) -> None:
    problem = check_problem(client.get(path, params=PARIS), 404)
    west, south, east, north = problem["bounds"]
    assert west < 7.4246 < east
    assert south < 43.7384 < north
    assert f"{round(west, 5)}" in problem["detail"]


@pytest.mark.parametrize(("bad", "status"), [(PARIS, 404), ({"lat": 120, "lon": 43}, 422)])
def test_a_bad_place_among_many_is_named(
    client: TestClient, bad: dict[str, float], status: int
) -> None:
    problem = check_problem(
        client.post("/embed", json={"locations": [MONACO, MONACO, bad, PARIS]}), status
    )
    assert problem["detail"].startswith("locations[2]: ")


def test_paths_and_methods_that_are_not_there(client: TestClient) -> None:
    assert "/docs" in check_problem(client.get("/nothing"), 404)["detail"]
    response = client.delete("/info")
    check_problem(response, 405)
    assert response.headers["allow"] == "GET, HEAD"


def test_without_an_index_all_but_neighbors_works(settings: Settings) -> None:
    with serving(settings.model_copy(update={"index": None})) as client:
        assert client.get("/info").json()["index_count"] is None
        assert client.get("/embed", params=MONACO).status_code == 200
        problem = check_problem(client.get("/neighbors", params=MONACO), 503)
    assert "loc2vec index" in problem["detail"]


@pytest.mark.parametrize(
    "failure", [RuntimeError("secret path /srv/x"), OSError(5, "I/O error", "/srv/x")]
)
def test_a_failure_of_ours_shows_a_request_id_and_nothing_else(
    client: TestClient,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    failure: Exception,
) -> None:
    def fail(*_: object) -> None:
        raise failure

    monkeypatch.setattr(Engine, "embed_new", fail)
    with caplog.at_level(logging.ERROR, "service"):
        response = client.get("/embed", params=MONACO)
    problem = check_problem(response, 500)
    assert "/srv/x" not in response.text
    assert problem["request_id"] in problem["detail"]
    record = next(record for record in caplog.records if record.name.startswith("service"))
    assert problem["request_id"] in record.getMessage()
    assert record.exc_info is not None
    assert record.exc_info[1] is failure


def test_numbers_that_are_not_finite_never_leave(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: object, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.full((len(tiles), 16), np.nan, np.float32)

    monkeypatch.setattr("service.engine.batcher.Batcher.encode", broken)
    check_problem(client.get("/embed", params=MONACO), 500)


def test_answers_do_not_depend_on_what_else_is_asked(client: TestClient, vectors: Vectors) -> None:
    queries = [
        {"lat": vectors.lat[row], "lon": vectors.lon[row], "k": 3}
        for row in range(0, len(vectors), 4)
    ]

    def ask(query: dict[str, float]) -> tuple[Any, bytes]:
        near = client.get("/neighbors", params=query).json()["neighbors"]
        return [n["id"] for n in near], client.get("/tile.png", params=query).content

    alone = [ask(query) for query in queries]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(ask, queries))
    assert together == alone


def test_one_place_outside_has_no_embedding_where_that_is_asked(client: TestClient) -> None:
    inside, outside = {"lat": 43.7384, "lon": 7.4246}, {"lat": 0, "lon": 0}
    body = {"locations": [inside, outside, inside]}
    refused = check_problem(client.post("/embed", json=body), 404)
    assert "locations[1]" in refused["detail"]
    asked = {**body, "outside": "null"}
    first, nothing, last = client.post("/embed", json=asked).json()["embeddings"]
    assert nothing == {**outside, "embedding": None}
    assert first == last
    assert first["embedding"] == client.get("/embed", params=inside).json()["embedding"]
    table = client.post("/embed", json=asked, headers={"Accept": "application/vnd.apache.parquet"})
    embedding = pq.read_table(io.BytesIO(table.content))["embedding"].to_pylist()
    assert embedding[1] is None
    np.testing.assert_allclose(embedding[0], first["embedding"], rtol=1e-5)
    alone = client.post("/embed", json={"locations": [outside], "outside": "null"}).json()
    assert alone["embeddings"] == [nothing]
    check_problem(client.post("/embed", json={**body, "outside": "skip"}), 422)
