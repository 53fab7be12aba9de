"""The interface against its own schema, with questions that schemathesis makes up.

pytest -m soak tests/service/http/test_schema.py -rP    # 10,000 a route
"""

import gc
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import hypothesis
import numpy as np
import pytest
import schemathesis
from hypothesis.strategies import SearchStrategy
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from service.engine.engine import Engine
from service.http.app import create_app
from service.settings import Settings
from tests.service.conftest import serving

pytestmark = pytest.mark.untraced  # making up questions takes longer than answering them
# That a place is lat and lon or h3, or that a box is not empty, no schema of parameters says.
BEYOND_A_SCHEMA = [positive_data_acceptance]
UNHEALTHY = [hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.filter_too_much]
PATIENCE_S = 120.0  # of the client, which takes its question back after it
ROUTES = [
    (path, method)
    for path, methods in create_app(Settings(store="none"), Engine.open).openapi()["paths"].items()
    for method in methods
]
Schema = dict[str, Any]


def narrowed(schema: Schema, meant: Mapping[str, Schema | None]) -> Schema:
    """Return a copy of a schema whose parameters and body parts of these names are narrowed.

    What is meant to be None is not asked for. Answers stay as they are described.
    """

    def narrow(part: Any) -> Any:
        if isinstance(part, list):
            kept = [
                item
                for item in part
                if not _is_parameter(item) or meant.get(item["name"], item) is not None
            ]
            return [narrow(item) for item in kept]
        if not isinstance(part, dict):
            return part
        if "$ref" in part:
            return narrow(schema["components"]["schemas"][part["$ref"].rpartition("/")[2]])
        found = {key: narrow(value) for key, value in part.items()}
        if _is_parameter(part) and part["name"] in meant:
            found |= {"schema": meant[part["name"]], "required": True}
        if "properties" in found:
            known = {name: meant.get(name, kind) for name, kind in found["properties"].items()}
            found["properties"] = {name: kind for name, kind in known.items() if kind is not None}
            found["required"] = [
                *{*found.get("required", []), *(found["properties"].keys() & meant.keys())}
            ]
        return found

    def narrow_operation(operation: Schema) -> Schema:
        return operation | {
            key: narrow(operation[key]) for key in ("parameters", "requestBody") if key in operation
        }

    paths = {
        path: {method: narrow_operation(operation) for method, operation in methods.items()}
        for path, methods in schema["paths"].items()
    }
    return schema | {"paths": paths}


def _is_parameter(schema: Any) -> bool:
    return isinstance(schema, dict) and "in" in schema and isinstance(schema.get("name"), str)


@pytest.fixture(scope="module")
def schemas(settings: Settings, engine: Engine) -> Iterator[Mapping[str, Any]]:
    """Return the schema, and one that asks about the middle of the store only.

    The same few places come again and again, so that only some have to be drawn.
    """
    index = engine.search.index
    middle = [
        np.quantile(column[index.ids], [0.25, 0.75]).tolist() for column in (index.lat, index.lon)
    ]
    lat, lon = (
        {
            "anyOf": [
                {"enum": np.linspace(ends[0], ends[1], 8).tolist()},
                {"type": "number", "minimum": ends[0], "maximum": ends[1]},
            ]
        }
        for ends in middle
    )
    number = {"type": "number", "minimum": -10, "maximum": 10}
    meant: dict[str, Schema | None] = {
        "lat": lat,
        "lon": lon,
        "to_lat": lat,
        "to_lon": lon,
        **dict.fromkeys(("h3", "place", "to_h3", "to_place", "within", "not_within", "bbox")),
        "embedding": {
            "type": "array",
            "items": number,
            "minItems": engine.dim,
            "maxItems": engine.dim,
        },
        "zoom": {"const": 16},
        "x": {"type": "integer", "minimum": 34116, "maximum": 34121},
        "y": {"type": "integer", "minimum": 23860, "maximum": 23865},
        "q": {"enum": ["monaco", "rue g", "gare", "parking", "Monte-Carlo", "qqqq"]},
    }
    with serving(settings, engine) as client:
        own = schemathesis.openapi.from_asgi("/openapi.json", client.app)
        about = schemathesis.openapi.from_dict(narrowed(own.raw_schema, meant))
        about.app = client.app
        # making up questions leaves much to collect, and torch much to look through: a sixth of the
        # time
        gc.freeze()
        yield {"own": own, "about": about}
        gc.unfreeze()


@pytest.mark.parametrize(
    "cases", [12, pytest.param(10_000, marks=[pytest.mark.soak, pytest.mark.timeout(7200)])]
)
@pytest.mark.parametrize(("path", "method"), ROUTES)
def test_answers_are_as_the_schema_says(
    schemas: Mapping[str, Any], path: str, method: str, cases: int
) -> None:
    own, about = (schemas[name][path][method.upper()] for name in ("own", "about"))
    statuses: Counter[int] = Counter()
    begin = time.monotonic()

    def check(case: Any) -> None:
        response = case.call(timeout=PATIENCE_S)
        assert response.status_code < 500, response.text
        case.validate_response(response, excluded_checks=BEYOND_A_SCHEMA)
        statuses[response.status_code] += 1

    if own.query or own.path_parameters or own.body:
        for questions in (
            own.as_strategy(),
            own.as_strategy(GenerationMode.NEGATIVE),
            about.as_strategy(),
        ):
            ask(check, questions, -(-cases // 3))
    else:
        for _ in range(cases):  # of the one question that there is
            check(own.Case())
    seconds = time.monotonic() - begin
    print(
        f"{method.upper()} {path}: {statuses.total()} in {seconds:.0f} s, {dict(statuses)}",
        flush=True,
    )
    assert statuses[200], "no question was a good one"


def ask(check: Callable[[Any], None], questions: SearchStrategy[Any], count: int) -> None:
    """Check the answers to so many questions; fewer when there are no more of them."""

    @hypothesis.settings(
        max_examples=count, deadline=None, suppress_health_check=UNHEALTHY, database=None
    )
    @hypothesis.seed(0)
    @hypothesis.given(case=questions)
    def asked(case: Any) -> None:
        check(case)

    asked()
