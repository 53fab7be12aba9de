"""Places by their names over HTTP: found, resolved to one, and refused with what may be meant."""

from typing import Any
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient

from tests.service.http.test_app import MONACO, check_problem
from tests.tiling.osm.test_names import HOSTILE

CASINO = "Monte-Carlo"


def check_kind(answer: Any, status: int, kind: str) -> None:
    check_problem(answer, status)
    assert answer.json()["type"] == f"urn:loc2vec:problem:{kind}"


def test_names_are_found_while_they_are_typed(client: TestClient) -> None:
    for typed in ("mon", "monte c", "Monte-Carlo"):
        answer = client.get("/places", params={"q": typed, "limit": 5}).json()
        assert answer["query"] == typed
        assert 0 < len(answer["places"]) <= 5
    assert answer["places"][0]["name"] == CASINO
    assert answer["places"][0]["kind"] == "suburb"
    assert client.get("/places", params={"q": "no such name"}).json()["places"] == []
    wrong: tuple[dict[str, str | int], ...] = (
        {"q": ""},
        {"q": "x" * 300},
        {"q": "a", "limit": 0},
        {"q": "a", "limit": 51},
        {},
        {"q": "a", "x": 1},
    )
    for query in wrong:
        check_kind(client.get("/places", params=query), 422, "invalid-request")


def test_a_name_stands_wherever_coordinates_may(client: TestClient) -> None:
    spot = {
        key: client.get("/places", params={"q": CASINO}).json()["places"][0][key]
        for key in ("lat", "lon")
    }
    name = {"place": CASINO}
    to = {"to_lat": 43.7277, "to_lon": 7.4157}
    for path, more in (
        ("/embed", {}),
        ("/neighbors", {"k": 3}),
        ("/tile.png", {}),
        ("/walk", {"steps": 2}),
        ("/interpolate", to),
        ("/compare", to),
    ):
        by_name, by_place = (
            client.get(path, params={**name, **more}),
            client.get(path, params=spot | more),
        )
        assert by_name.status_code == 200, by_name.text
        assert by_name.content == by_place.content
    there = client.get("/interpolate", params=spot | {"to_place": CASINO})
    assert there.json()["steps"][0] == there.json()["steps"][-1] | {"share": 0.0}
    for path, body in (
        ("/embed", lambda one: {"locations": [MONACO, one]}),
        ("/arithmetic", lambda one: {"plus": [one], "k": 2}),
    ):
        assert (
            client.post(path, json=body(name)).json() == client.post(path, json=body(spot)).json()
        )


@pytest.mark.parametrize(
    "query",
    [
        {"place": CASINO, "lat": 43.7, "lon": 7.4}, {"place": CASINO, "h3": "8a3969a41d37fff"},
        {"place": CASINO, "lat": 43.7},
        {"place": ""}, {"place": "x" * 300}, {},
    ],
)  # fmt: skip
def test_a_place_is_given_in_one_way(client: TestClient, query: dict[str, Any]) -> None:
    check_kind(client.get("/embed", params=query), 422, "invalid-request")
    check_kind(client.post("/embed", json={"locations": [MONACO, query]}), 422, "invalid-request")


def test_a_name_that_is_unknown_or_means_several_comes_with_candidates(client: TestClient) -> None:
    several = client.get("/embed", params={"place": "parking"})
    check_kind(several, 422, "ambiguous-name")
    assert len(several.json()["candidates"]) > 1
    assert several.json()["candidates"][0].keys() == {"name", "kind", "lat", "lon"}
    unknown = client.get("/embed", params={"place": "Grimldi"})
    check_kind(unknown, 404, "unknown-name")
    assert any("Grimaldi" in place["name"] for place in unknown.json()["candidates"])
    listed = client.post("/embed", json={"locations": [MONACO, {"place": "qqqqq"}]})
    check_kind(listed, 404, "unknown-name")
    assert listed.json()["detail"].startswith("locations[1]: no place of this store is called")


@pytest.mark.parametrize("name", [*HOSTILE, "\0", "\ud800", "%", "a" * 255, "ﷺ" * 200, "a " * 127])
def test_a_hostile_name_is_only_data(client: TestClient, name: str) -> None:
    sent = quote(name, safe="", errors="surrogatepass")
    assert client.get(f"/places?q={sent}").status_code in (200, 422)
    assert client.get(f"/embed?place={sent}").status_code in (404, 422)
    assert client.get("/embed", params=MONACO).status_code == 200
