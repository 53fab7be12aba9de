"""What the routes share."""

from typing import Annotated

from fastapi import Depends, Request
from fastapi.exceptions import RequestValidationError

from service.engine import Engine
from service.gate import Gate

LISTS = {"within", "not_within"}  # parameters that may be repeated


def _engine(request: Request) -> Engine:
    engine: Engine = request.app.state.engine
    return engine


def _gate(request: Request) -> Gate:
    gate: Gate = request.app.state.gate
    return gate


def refuse_repeated(request: Request) -> None:
    """Refuse a parameter that is there twice, because nobody knows which of the two is meant."""
    names = [name for name, _ in request.query_params.multi_items()]
    twice = {name for name in names if names.count(name) > 1} - LISTS if len(set(names)) < len(names) else set()
    if twice:
        raise RequestValidationError(
            [{"loc": ("query", name[:100]), "msg": "Given more than once"} for name in sorted(twice)[:10]]
        )


Engines = Annotated[Engine, Depends(_engine)]
Gates = Annotated[Gate, Depends(_gate)]
