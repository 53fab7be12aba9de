"""Keys and rates: what passes, and that nothing gets around them."""

import hashlib
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.engine.engine import Engine
from service.http.access import _network
from service.settings import Settings
from tests.service.conftest import serving
from tests.service.http.test_app import MONACO, check_problem

KEY, OTHER = "correct horse battery staple", "a second key"
HASHES = tuple(hashlib.sha256(key.encode()).hexdigest() for key in (KEY, OTHER))
OPEN = {"/healthz", "/readyz", "/docs", "/openapi.json", "/", "/docs/{name}", "/page/{name}"}


def changed(settings: Settings, **values: Any) -> Settings:
    return Settings(**(settings.model_dump() | values))


@pytest.fixture
def locked(settings: Settings, engine: Engine) -> Iterator[TestClient]:
    with serving(changed(settings, api_keys=HASHES), engine) as client:
        yield client


def test_a_key_opens(locked: TestClient) -> None:
    for headers in (
        {"authorization": f"Bearer {KEY}"},
        {"authorization": f"bearer {OTHER}"},
        {"x-api-key": KEY},
    ):
        answer = locked.get("/embed", params=MONACO, headers=headers)
        assert answer.status_code == 200
        assert answer.headers["cache-control"].startswith("private")


@pytest.mark.parametrize("key", [KEY, OTHER, "none"])
def test_every_key_is_compared_in_constant_time(
    locked: TestClient, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    compared: list[bytes] = []

    def compare(known: bytes, given: bytes) -> bool:
        compared.append(known)
        return known == given

    monkeypatch.setattr("hmac.compare_digest", compare)
    locked.get("/embed", params=MONACO, headers={"x-api-key": key})
    assert compared == [each.encode() for each in HASHES]


def test_every_route_but_those_of_health_and_help_asks_for_a_key(locked: TestClient) -> None:
    schema = locked.get("/openapi.json").json()["paths"]
    asked = {
        (path, method) for path, methods in schema.items() for method in methods if path not in OPEN
    }
    assert len(asked) >= 9
    for path, method in asked:
        answer = locked.request(method, path, params=MONACO)
        assert "Bearer" in answer.headers["www-authenticate"]
        check_problem(answer, 401)
    for path in ("/healthz", "/readyz", "/docs", "/openapi.json", "/", "/page/main.js"):
        assert locked.get(path).status_code == 200


HEADERS: list[dict[str, str] | dict[bytes, bytes]] = [
    {},
    {"authorization": ""},
    {"authorization": "Bearer"},
    {"authorization": "Bearer "},
    {"authorization": f"Basic {KEY}"},
    {"authorization": KEY},
    {"authorization": f"Bearer {KEY}x"},
    {"authorization": f"Bearer {KEY[:-1]}"},
    {"authorization": f"Bearer {KEY.upper()}"},
    {"authorization": f"Bearer {HASHES[0]}"},
    {"authorization": f"Bearer {KEY},{OTHER}"},
    {"authorization": "Bearer None"},
    {b"authorization": b"Bearer \xff\xfe"},
    {"x-api-key": HASHES[0]},
    {"x-api-key": "null"},
    {"x-api-key": "' OR 1=1 --"},
    {"x-api-key": "*"},
    {b"x-api-key": b"\xc3\x28"},
    {"cookie": f"x-api-key={KEY}"},
    {"x-forwarded-for": "127.0.0.1", "x-real-ip": "127.0.0.1"},
    {"x-original-url": "/healthz", "x-rewrite-url": "/healthz"},
    {"x-http-method-override": "OPTIONS"},
]
PATHS = [
    "/embed",
    "/embed/",
    "//embed",
    "/./embed",
    "/healthz/../embed",
    "/healthz/%2e%2e/embed",
    "/healthz/..%2fembed",
    "/healthz%2f..%2fembed",
    "/%65mbed",
    "/EMBED",
    "/embed;/healthz",
    "/embed%00",
    "/embed%20",
    "/embed/.",
    "/docs/../embed",
    "/docs/..%2f..%2fembed",
    "/embed?key=" + KEY,
    "/embed?api_key=" + KEY,
    "/embed#healthz",
    "http://127.0.0.1/embed",
]


@pytest.mark.parametrize("path", PATHS)
def test_no_trick_gets_around_the_key(locked: TestClient, path: str) -> None:
    """440 of them: every path with every header."""
    base = "" if path.startswith("http") else "http://testserver"
    join = "&" if "?" in path else "?"
    for headers in HEADERS:
        answer = locked.get(
            f"{base}{path}{join}lat=43.7384&lon=7.4246", headers=headers, follow_redirects=False
        )
        assert answer.status_code in (401, 404, 422), (path, headers)
        assert "embedding" not in answer.text


@pytest.mark.parametrize(
    "method",
    ["HEAD", "OPTIONS", "PUT", "PATCH", "DELETE", "TRACE", "get", "Get", "GE T", "PROPFIND"],
)
def test_no_other_method_gets_around_the_key(locked: TestClient, method: str) -> None:
    answer = locked.request(method, "/embed", params=MONACO)
    assert answer.status_code in (400, 401, 405)
    assert "embedding" not in answer.text


def test_files_do_not_leave_by_the_documentation(locked: TestClient) -> None:
    for name in (
        "../__init__.py",
        "..%2f__init__.py",
        "%2fetc%2fpasswd",
        "redoc.standalone.js",
        "..%5c",
        "%00",
    ):
        assert locked.get(f"/docs/{name}").status_code == 404, name
        assert locked.get(f"/page/{name}").status_code == 404, name


def test_too_many_of_one_address_are_told_when_to_come_back(
    settings: Settings, engine: Engine
) -> None:
    with serving(changed(settings, rate_per_address="3/hour"), engine) as client:
        statuses = [client.get("/embed", params=MONACO).status_code for _ in range(5)]
        assert statuses == [200, 200, 200, 429, 429]
        answer = client.get("/neighbors", params=MONACO)
        # the window before counts by the share in sight: at most a window and a third for three
        assert 0 < int(answer.headers["retry-after"]) <= 3600 * 4 / 3 + 1
        assert "3 per 1 hour" in check_problem(answer, 429)["detail"]
        assert client.get("/healthz").status_code == 200


def test_each_key_has_its_own_rate(settings: Settings, engine: Engine) -> None:
    with serving(changed(settings, api_keys=HASHES, rate_per_key="2/hour"), engine) as client:
        for key, status in ((KEY, 200), (KEY, 200), (KEY, 429), (OTHER, 200), (KEY, 429)):
            assert client.get("/info", headers={"x-api-key": key}).status_code == status


def test_guessing_keys_counts(settings: Settings, engine: Engine) -> None:
    with serving(changed(settings, api_keys=HASHES, rate_per_address="5/hour"), engine) as client:
        statuses = [
            client.get("/info", headers={"x-api-key": f"guess {n}"}).status_code for n in range(7)
        ]
        assert statuses == [401] * 5 + [429] * 2
        assert client.get("/info", headers={"x-api-key": KEY}).status_code == 429


def test_addresses_of_one_customer_are_one() -> None:
    assert _network("2001:db8::1") == _network("2001:db8::ffff:1") != _network("2001:db8:0:1::1")
    assert _network("192.0.2.1") != _network("192.0.2.2")
    assert _network("fe80::1%eth0") == "fe80::/64"
    assert _network("testclient") == "testclient"
