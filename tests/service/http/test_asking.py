"""Answers that are given again: to whom, for how long, and until what changes."""

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from service.engine.engine import Engine
from service.http import asking
from service.settings import Settings
from tests.service.conftest import figure, serving
from tests.service.http.test_access import HASHES, KEY, changed
from tests.service.http.test_app import MONACO, check_problem

GEO = {"accept": "application/geo+json"}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[object]]:
    """What the engine was asked to find."""
    places: list[object] = []
    locate = Engine.locate

    def counting(engine: Engine, where: object) -> object:
        places.append(where)
        return locate(engine, where)  # type: ignore[arg-type]

    monkeypatch.setattr(Engine, "locate", counting)
    return iter([places])


@pytest.mark.parametrize("path", ["/embed", "/neighbors", "/walk"])
def test_the_same_question_has_the_same_answer_without_work(
    client: TestClient, asked: Iterator[list[object]], path: str
) -> None:
    (places,) = asked
    before = figure(client, "loc2vec_kept_answers_total")
    first, again = (client.get(path, params=MONACO) for _ in range(2))
    assert again.content == first.content
    assert {**again.headers, "x-request-id": ""} == {**first.headers, "x-request-id": ""}
    assert len(places) == 1
    assert figure(client, "loc2vec_kept_answers_total") == before + 1
    tag = {"if-none-match": first.headers["etag"]}
    assert client.get(path, params=MONACO, headers=tag).status_code == 304
    assert client.head(path, params=MONACO).headers["etag"] == first.headers["etag"]
    assert len(places) == 1


def test_another_question_has_another_answer(client: TestClient) -> None:
    first = client.get("/neighbors", params=MONACO)
    fewer = client.get("/neighbors", params={**MONACO, "k": 3})
    features = client.get("/neighbors", params=MONACO, headers=GEO)
    assert len(fewer.json()["neighbors"]) == 3
    assert features.headers["content-type"] == GEO["accept"]
    assert client.get("/neighbors", params=MONACO).content == first.content
    check_problem(client.get("/neighbors", params=MONACO, headers={"accept": "text/css"}), 406)


@pytest.mark.parametrize("what", ["index_name", "revision"])
def test_a_new_index_or_map_is_asked_anew(
    client: TestClient, engine: Engine, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    client.get("/embed", params=MONACO)
    patched = type(engine) if what == "index_name" else engine
    monkeypatch.setattr(patched, what, "another")
    before = figure(client, "loc2vec_kept_answers_total")
    answer = client.get("/embed", params=MONACO).json()
    assert figure(client, "loc2vec_kept_answers_total") == before
    if what == "index_name":
        assert answer["index"] == "another"


def test_an_answer_of_an_index_that_was_replaced_meanwhile_is_not_kept(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = iter(["old", "new", "new", "old", "old", "old"])
    monkeypatch.setattr(Engine, "index_name", property(lambda _: next(names)))
    assert client.get("/embed", params=MONACO).json()["index"] == "new"
    assert client.get("/embed", params=MONACO).json()["index"] == "old"


def test_a_kept_answer_is_for_those_alone_who_may_ask(settings: Settings, engine: Engine) -> None:
    with serving(changed(settings, api_keys=HASHES, rate_per_key="3/hour"), engine) as client:
        key = {"x-api-key": KEY}
        for _ in range(3):
            assert client.get("/embed", params=MONACO, headers=key).status_code == 200
        check_problem(client.get("/embed", params=MONACO), 401)
        check_problem(client.get("/embed", params=MONACO, headers=key), 429)


def test_errors_are_not_kept(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError

    with monkeypatch.context() as broken:
        broken.setattr(Engine, "locate", fail)
        check_problem(client.get("/embed", params=MONACO), 500)
    assert client.get("/embed", params=MONACO).status_code == 200


@pytest.mark.parametrize(("seconds", "size"), [(0, asking.KEPT_BYTES), (300, 16_000)])
def test_nothing_is_kept_for_no_time_or_without_room(
    settings: Settings,
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    seconds: int,
    size: int,
) -> None:
    monkeypatch.setattr(asking, "KEPT_BYTES", size)
    with serving(changed(settings, cache_s=seconds), engine) as client:
        before = figure(client, "loc2vec_kept_answers_total")
        for place in (MONACO, {**MONACO, "lat": MONACO["lat"] + 1e-6}) * 2:
            assert client.get("/embed", params=place).status_code == 200
        assert figure(client, "loc2vec_kept_answers_total") == before
