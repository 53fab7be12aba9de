"""What other programs expect of an HTTP service: HEAD, preflights, tags, a path in front."""

import pytest
from fastapi.testclient import TestClient

from service.engine.engine import Engine
from service.settings import Settings
from tests.service.conftest import serving
from tests.service.http.test_access import changed
from tests.service.http.test_app import MONACO

ORIGIN = "https://a.example"
HEADERS = ("authorization", "content-type", "if-none-match", "traceparent", "tracestate",
           "x-api-key", "x-request-id")  # fmt: skip
PLACE = f"lat={MONACO['lat']}&lon={MONACO['lon']}"
PATHS = [
    "/", "/healthz", "/readyz", "/info", "/docs", "/openapi.json", "/page/main.js",
    f"/embed?{PLACE}", f"/tile.png?{PLACE}", f"/neighbors?{PLACE}", "/embed?lat=0&lon=0",
    "/nothing", "/arithmetic",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_head_answers_as_get_without_a_body(client: TestClient, path: str) -> None:
    head, get = client.head(path), client.get(path)
    assert head.status_code == get.status_code
    assert not head.content
    own = {"x-request-id"}
    assert {k: v for k, v in head.headers.items() if k not in own} == {
        k: v for k, v in get.headers.items() if k not in own
    }


def test_head_knows_tags_and_is_counted_as_itself(client: TestClient) -> None:
    tag = client.head(f"/embed?{PLACE}").headers["etag"]
    again = client.head(f"/embed?{PLACE}", headers={"if-none-match": tag})
    assert again.status_code == 304
    assert 'method="HEAD",route="/embed",status="304"' in client.get("/metrics").text


def test_tags_compare_weakly(client: TestClient) -> None:
    tag = client.get(f"/embed?{PLACE}").headers["etag"]
    strong = tag.removeprefix("W/")
    for known in (tag, strong, f'"other", {strong}', f'W/"other" ,{tag}', "*"):
        again = client.get(f"/embed?{PLACE}", headers={"if-none-match": known})
        assert (again.status_code, again.headers["etag"]) == (304, tag)
    for known in ('"other"', strong.strip('"'), f"w/{strong}", "W/*"):
        assert client.get(f"/embed?{PLACE}", headers={"if-none-match": known}).status_code == 200


@pytest.mark.parametrize("header", HEADERS)
def test_pages_elsewhere_may_send_what_the_service_reads(
    settings: Settings, engine: Engine, header: str
) -> None:
    with serving(changed(settings, cors_origins=[ORIGIN]), engine) as client:
        for method in ("GET", "POST", "HEAD"):
            asked = {
                "origin": ORIGIN,
                "access-control-request-method": method,
                "access-control-request-headers": header,
            }
            answer = client.options("/embed", headers=asked)
            assert answer.status_code == 200, answer.text
            assert answer.headers["access-control-allow-origin"] == ORIGIN
        asked["origin"] = "https://b.example"
        assert "access-control-allow-origin" not in client.options("/embed", headers=asked).headers


def test_the_schema_names_the_server_beside_it(client: TestClient) -> None:
    assert client.get("/openapi.json").json()["servers"] == [{"url": "."}]
