"""Questions that were made to cost much, to forge lines of the log, or to be somebody else."""

import json
import logging
import sys

import httpx2
import pytest
from fastapi.testclient import TestClient
from pydantic import BaseModel, ValidationError

from service.http.schemas.questions import LocationList, VectorQuestion
from service.observe.logs import OneLine
from service.settings import Settings
from tests.service.http.test_app import MONACO, check_problem
from tests.service.http.test_server import running

JSON = {"content-type": "application/json"}
MANY_KEYS = {f"key{number}": 1 for number in range(60_000)}
FEW = 25  # errors of a request: an object has fewer keys


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (LocationList, {"locations": [{}], **MANY_KEYS}),
        (LocationList, {"locations": [MANY_KEYS]}),
        (LocationList, {"locations": [{f"k{number}": 1 for number in range(20)}] * 1000}),
        (LocationList, {"locations": [[]] * 200_000}),
        (VectorQuestion, {"embedding": ["x"] * 200_000}),
    ],
)
def test_what_is_wrong_in_thousands_of_ways_is_told_once(
    client: TestClient, kind: type[BaseModel], body: object
) -> None:
    with pytest.raises(ValidationError) as caught:
        kind.model_validate(body)
    assert caught.value.error_count() <= FEW
    path = "/embed" if kind is LocationList else "/neighbors"
    answer = client.post(path, content=json.dumps(body), headers=JSON)
    check_problem(answer, 413 if len(json.dumps(body)) > 1_000_000 else 422)


def test_a_number_of_thousands_of_digits_is_no_valid_request(client: TestClient) -> None:
    body = '{"locations": [{"lat": ' + "1" * 5000 + ', "lon": 7}]}'
    problem = check_problem(client.post("/embed", content=body, headers=JSON), 422)
    assert "too long" in problem["detail"]


@pytest.mark.parametrize("name", ["lat", "within", "x"])
def test_parameters_by_the_thousand_are_refused(client: TestClient, name: str) -> None:
    query = "&".join(f"{name}{number if name == 'x' else ''}=1" for number in range(4000))
    problem = check_problem(client.get(f"/neighbors?{query}"), 422)
    assert problem["detail"] == "query: 4000 parameters: at most 100 are read"


def test_nobody_forges_a_line_of_the_log() -> None:
    formatter = OneLine("%(levelprefix)s %(message)s", use_colors=False)
    hostile = "GET /\nINFO:     forged\x1b[2J\r\u2028\u202e\x85"
    record = logging.LogRecord("x", logging.INFO, "", 0, "%s", (hostile,), None)
    assert formatter.format(record) == (
        r"INFO:     GET /\nINFO:     forged\x1b[2J\r\u2028\u202e\x85"
    )
    try:
        raise ValueError(hostile)
    except ValueError:
        record.exc_info = sys.exc_info()
    _, *others = formatter.format(record).split("\n")
    assert len(others) > 3
    assert all(line.startswith("  ") and line.isprintable() for line in others)


def test_an_address_cannot_be_made_up(settings: Settings) -> None:
    with running(settings, rate_per_address="3/minute", render_processes="0") as (process, url):
        statuses = [
            httpx2.get(
                f"{url}/embed", params=MONACO, headers={"X-Forwarded-For": f"203.0.113.{n}"}
            ).status_code
            for n in range(6)
        ]
        httpx2.get(f"{url}/a%0aINFO:%20%20forged%1b[2J")
        process.terminate()
        _, log = process.communicate(timeout=60)
    assert statuses == [200] * 3 + [429] * 3
    assert r"GET /a\nINFO:  forged\x1b[2J 404" in log
