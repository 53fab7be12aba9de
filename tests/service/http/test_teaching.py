"""`POST /predict`: examples in, scores of places, of the index, or a picture of them out."""

import io
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from loc2vec.embed.files import Vectors
from tests.service.http.test_app import MONACO, check_problem
from tiling.geo.geodesy import ground_distance_m
from tiling.geo.mercator import to_world

LIKE = {**MONACO, "label": "a"}
PARQUET = "application/vnd.apache.parquet"


def at(vectors: Vectors, row: int, label: str | None = "this") -> dict[str, Any]:
    return {"lat": float(vectors.lat[row]), "lon": float(vectors.lon[row]), "label": label}


def bare(examples: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"lat": one["lat"], "lon": one["lon"]} for one in examples]


@pytest.fixture
def few(vectors: Vectors) -> list[dict[str, Any]]:
    """Some places of one end of the space, and one of the other."""
    order = np.argsort(vectors.embedding[:, 0])
    ends = [at(vectors, int(row)) for row in order[:3]]
    return [*ends, at(vectors, int(order[-1]), None)]


def test_places_like_the_examples_are_found(
    client: TestClient, vectors: Vectors, few: list[dict[str, Any]]
) -> None:
    body = {"examples": few, "places": bare(few), "k": 5, "ask": 3, "spread_m": 200, "names": True}
    answer = client.post("/predict", json=body).json()
    assert answer["kinds"] == ["this"]
    like = [place["probability"] for place in answer["places"]]
    assert min(like[:3]) > 0.5 > like[3]
    scores = client.post("/predict", json=body, headers={"accept": PARQUET})
    table = pq.read_table(io.BytesIO(scores.content))
    assert table.num_rows == len(vectors)
    probability = np.array(table["probability"])
    best = [place["id"] for place in answer["best"]]
    assert len(best) == 5
    assert probability[best].tolist() == sorted(probability[best].tolist(), reverse=True)
    assert probability[best[0]] == probability.max()
    lat, lon = vectors.lat[best], vectors.lon[best]
    for number in range(5):
        far = ground_distance_m(lat[number], lon[number], lat, lon)
        assert np.delete(far, number).min() >= 200
    assert all(place["called"]["region"] == "Monaco" for place in answer["best"] + answer["ask"])
    doubt = np.abs(probability - 0.5)
    assert answer["ask"][0]["id"] in np.flatnonzero(doubt <= doubt.min() + 1e-6)


def test_several_kinds_are_told_apart(client: TestClient, vectors: Vectors) -> None:
    order = np.argsort(vectors.embedding[:, 0])
    examples = [at(vectors, int(row), "low") for row in order[:4]]
    examples += [at(vectors, int(row), "high") for row in order[-4:]]
    body = {"examples": examples, "places": bare(examples), "k": 3, "min_distance_m": 100}
    answer = client.post("/predict", json=body).json()
    assert answer["kinds"] == ["low", "high"]
    assert [place["label"] for place in answer["places"]] == ["low"] * 4 + ["high"] * 4
    assert [place["label"] for place in answer["best"]] == ["low"] * 3 + ["high"] * 3
    for place in answer["best"]:
        for example in examples:
            far = ground_distance_m(place["lat"], place["lon"], example["lat"], example["lon"])
            assert far >= 100
    for place in answer["places"]:
        assert sum(place["probabilities"].values()) == pytest.approx(1, abs=1e-6)


def test_a_tile_shows_the_scores(client: TestClient, few: list[dict[str, Any]]) -> None:
    x, y = (int(value * 2**15) for value in to_world(MONACO["lon"], MONACO["lat"]))
    tile = {"zoom": 15, "x": x, "y": y}

    def picture(examples: list[dict[str, Any]]) -> Any:
        body = {"examples": examples, "tile": tile}
        answer = client.post("/predict", json=body, headers={"accept": "image/png"})
        assert answer.headers["content-type"] == "image/png", answer.text
        return np.asarray(Image.open(io.BytesIO(answer.content)).convert("RGBA"))

    like = picture(few)
    assert like.shape == (256, 256, 4)
    assert len(np.unique(like[like[..., 3] > 0][:, :3], axis=0)) > 5
    assert (like == picture(few)).all()
    turned = [{**one, "label": None if one["label"] else "this"} for one in few]
    assert (like != picture(turned)).any()


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"examples": []}, "invalid-request"),
        ({"examples": [MONACO]}, "no-lesson"),
        ({"examples": [{**MONACO, "label": ""}]}, "invalid-request"),
        ({"examples": [LIKE] * 501}, "invalid-request"),
        ({"examples": [{**MONACO, "label": f"k{n}"} for n in range(51)]}, "invalid-request"),
        ({"examples": [LIKE, {**LIKE, "label": "b"}], "k": 600}, "invalid-request"),
        ({"examples": [LIKE], "tile": {"zoom": 3, "x": 8, "y": 0}}, "invalid-request"),
        ({"examples": [LIKE], "where": "price < 3"}, "no-column"),
        ({"examples": [LIKE], "within": ["atlantis"]}, "no-region"),
    ],
)  # fmt: skip
def test_what_cannot_be_learned_is_refused(
    client: TestClient, body: dict[str, Any], kind: str
) -> None:
    problem = check_problem(client.post("/predict", json=body), 422)
    assert problem["type"] == f"urn:loc2vec:problem:{kind}"


def test_a_picture_is_of_a_tile(client: TestClient, few: list[dict[str, Any]]) -> None:
    answer = client.post("/predict", json={"examples": few}, headers={"accept": "image/png"})
    assert "give `tile`" in check_problem(answer, 422)["detail"]


def test_one_example_is_enough_and_a_hundred_equal_ones_are_one(
    client: TestClient, few: list[dict[str, Any]]
) -> None:
    for examples in (few[:1], few[:1] * 100):
        answer = client.post("/predict", json={"examples": examples, "k": 1}).json()
        assert answer["best"][0]["probability"] > 0.5
    stream = client.post(
        "/predict",
        json={"examples": few[:1]},
        headers={"accept": "application/vnd.apache.arrow.stream"},
    )
    assert pa.ipc.open_stream(stream.content).read_all().column_names[:3] == ["id", "lat", "lon"]
