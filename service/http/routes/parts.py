"""What the routes share.

Dependencies are coroutines, because FastAPI runs plain functions in a thread, which costs more.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Annotated

from fastapi import Depends, Request
from fastapi.exceptions import RequestValidationError

from service.engine.engine import Engine
from service.http.gate import Gate
from service.http.questions import Where
from tiling.errors import UserError
from tiling.values import LonLat

LISTS = {"within", "not_within"}  # parameters that may be repeated
MOST_PARAMETERS = 100  # of a question: more than any route has


async def _engine(request: Request) -> Engine:
    engine: Engine = request.app.state.engine
    # Errors describe this engine, even after a reload.
    request.state.engine = engine
    return engine


async def _gate(request: Request) -> Gate:
    gate: Gate = request.app.state.gate
    return gate


async def refuse_repeated(request: Request) -> None:
    """Refuse a parameter that is given twice, because its meaning is unclear, and far too many."""
    counts = Counter(name for name, _ in request.query_params.multi_items())
    if counts.total() > MOST_PARAMETERS:
        message = f"{counts.total()} parameters: at most {MOST_PARAMETERS} are read"
        raise RequestValidationError([{"loc": ("query",), "msg": message}])
    twice = {name for name, count in counts.items() if count > 1} - LISTS
    if twice:
        raise RequestValidationError(
            [
                {"loc": ("query", name[:100]), "msg": "Given more than once"}
                for name in sorted(twice)[:10]
            ]
        )


async def located(
    engine: Engine, gate: Gate, asked: Sequence[Where], label: str | None = None
) -> list[LonLat]:
    """Return the places that are meant.

    With a label, an error names the place at fault, as `label[3]`.
    """

    def locate() -> list[LonLat]:
        return [
            _located(engine, where, None if label is None else f"{label}[{at}]")
            for at, where in enumerate(asked)
        ]

    names = sum(isinstance(where, str) for where in asked)
    # Only a name needs a query of the store.
    return await gate.run(names, locate) if names else locate()


def _located(engine: Engine, where: Where, label: str | None) -> LonLat:
    try:
        return engine.locate(where)
    except UserError as error:
        if label is not None:
            error.args = (f"{label}: {error}",)
        raise


Engines = Annotated[Engine, Depends(_engine)]
Gates = Annotated[Gate, Depends(_gate)]
