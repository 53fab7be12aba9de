"""The Python client against a service."""

import socket

import httpx2
import numpy as np
import pytest
from fastapi.testclient import TestClient

from loc2vec.client import Client
from loc2vec.embed.files import Vectors
from loc2vec.encoder import LocationEncoder
from loc2vec.errors import ClientError
from service.engine.engine import Engine
from service.settings import Settings
from tests.service.conftest import serving
from tests.service.http.test_access import HASHES, KEY, changed

CELL = "8a3969a41d37fff"
MONACO = (43.7384, 7.4246)


@pytest.fixture
def service(client: TestClient) -> Client:
    return Client("http://testserver/", http=client)


def test_verbs_are_those_of_the_encoder(
    service: Client, encoder: LocationEncoder, vectors: Vectors
) -> None:
    places = list(zip(vectors.lat.tolist(), vectors.lon.tolist(), strict=True))
    found = service.encode([*places, CELL])
    assert (found[:-1] == vectors.embedding).all()
    assert service.encode(CELL).shape == (16,)
    assert (service.encode(places[3]) == found[3]).all()
    assert service.encode([]).shape == (0, 16)
    np.testing.assert_allclose(
        service.similarity(found[:3], found), encoder.similarity(found[:3], found), atol=1e-4
    )


def test_many_places_go_in_several_requests(
    service: Client, vectors: Vectors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loc2vec.client.PLACES_PER_REQUEST", 7)
    places = list(zip(vectors.lat.tolist(), vectors.lon.tolist(), strict=True))
    assert (service.encode(places[:20]) == vectors.embedding[:20]).all()


def test_places_outside_are_nan_where_that_is_asked(service: Client) -> None:
    places = [(43.7384, 7.4246), (0.0, 0.0), (43.7347, 7.4213)]
    with pytest.raises(ClientError, match="outside"):
        service.encode(places)
    vectors = service.encode(places, outside="null")
    assert np.isnan(vectors[1]).all()
    np.testing.assert_array_equal(vectors[[0, 2]], service.encode(places[::2]))


def test_neighbours(service: Client, vectors: Vectors) -> None:
    near = service.neighbors(MONACO, 3, min_distance_m=300, within=["monaco"])
    assert len(near) == 3
    assert all(n.ground_distance_m is not None and n.ground_distance_m >= 300 for n in near)
    assert service.neighbors_of(vectors.embedding[5], 1)[0].id == 5
    assert service.info()["dim"] == 16


def test_a_few_examples_teach(service: Client, vectors: Vectors) -> None:
    harbour, street = (43.7347, 7.4213), MONACO
    examples = [(harbour, "harbour"), (street, None)]
    found = service.predict(examples, [street, harbour, CELL], k=5, ask=2, spread_m=50)
    assert found.kinds == ("harbour",)
    assert found.probabilities.shape == (3, 1)
    assert found.probabilities[1] > found.probabilities[0]
    assert (len(found.best), len(found.ask)) == (5, 2)
    assert found.best[0].probability >= found.best[4].probability
    assert all(vectors.lat[one.id] == one.lat for one in [*found.best, *found.ask])
    assert service.predict([(harbour, "a"), (street, "b")]).probabilities.shape == (0, 2)
    with pytest.raises(ClientError, match="404"):
        service.predict([((48.85, 2.35), "Paris")])


def test_places_have_names(service: Client) -> None:
    first, *others = service.places("monte ca", 3)
    assert (first.name, first.kind, len(others)) == ("Monte-Carlo", "suburb", 2)
    assert (service.encode("Monte-Carlo") == service.encode((first.lat, first.lon))).all()
    assert service.neighbors("Monte-Carlo", 2) == service.neighbors((first.lat, first.lon), 2)


def test_what_is_wrong_is_said(service: Client) -> None:
    for place, said in (
        (((48.85, 2.35)), "404"),
        ("qqqqq", "is called 'qqqqq'"),
        ("0" * 15, "H3 cell"),
        ((120.0, 7.4), "swapped"),
    ):
        with pytest.raises(ClientError, match=said):
            service.encode(place)
    with pytest.raises(ClientError, match="neither"):
        service.encode([(1.0, 2.0, 3.0)])  # type: ignore[list-item]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with (
        Client(f"http://127.0.0.1:{port}") as nobody,
        pytest.raises(ClientError, match="does not answer"),
    ):
        nobody.info()


def test_a_key_is_sent(settings: Settings, engine: Engine) -> None:
    with serving(changed(settings, api_keys=HASHES), engine) as http:
        assert Client("http://testserver", KEY, http).info()["dim"] == 16
        with pytest.raises(ClientError, match="401"):
            Client("http://testserver", "guess", http).info()


def test_a_busy_service_is_asked_again() -> None:
    answers = [503, 429, 200]

    def reply(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(answers.pop(0), headers={"retry-after": "0"}, json={"dim": 16})

    with Client("http://x", http=httpx2.Client(transport=httpx2.MockTransport(reply))) as client:
        assert client.info() == {"dim": 16}
    assert not answers
    answers += [500]
    again = Client("http://x", http=httpx2.Client(transport=httpx2.MockTransport(reply)))
    with again, pytest.raises(ClientError, match="status 500"):
        again.info()
