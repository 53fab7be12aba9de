"""The interface against its own schema, with questions that schemathesis makes up."""

from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
import schemathesis
from schemathesis.specs.openapi.checks import positive_data_acceptance

from service.app import create_app
from service.engine import Engine
from service.server import open_engine
from service.settings import Settings
from tests.service.conftest import serving

# That a place is lat and lon or h3, or that a box is not empty, no schema of parameters says.
BEYOND_A_SCHEMA = [positive_data_acceptance]
UNHEALTHY = [hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.filter_too_much]
ROUTES = [
    (path, method)
    for path, methods in create_app(Settings(store="none"), open_engine).openapi()["paths"].items()
    for method in methods
]


@pytest.fixture(scope="module")
def schema(settings: Settings, engine: Engine) -> Iterator[Any]:
    with serving(settings, engine) as client:
        yield schemathesis.openapi.from_asgi("/openapi.json", client.app)


@pytest.mark.parametrize("cases", [25, pytest.param(10_000, marks=[pytest.mark.soak, pytest.mark.timeout(7200)])])
@pytest.mark.parametrize(("path", "method"), ROUTES)
def test_answers_are_as_the_schema_says(schema: Any, path: str, method: str, cases: int) -> None:
    statuses: set[int] = set()

    @hypothesis.settings(max_examples=cases, deadline=None, suppress_health_check=UNHEALTHY, database=None)
    @hypothesis.seed(0)
    @hypothesis.given(case=schema[path][method.upper()].as_strategy())
    def ask(case: Any) -> None:
        response = case.call()
        assert response.status_code < 500, response.text
        case.validate_response(response, excluded_checks=BEYOND_A_SCHEMA)
        statuses.add(response.status_code)

    ask()
    assert statuses
