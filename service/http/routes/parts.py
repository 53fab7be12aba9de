"""What the routes share.

The dependency is a coroutine, because FastAPI runs plain functions in a thread, which costs more.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.exceptions import RequestValidationError

from service.engine.engine import Engine
from service.errors import CostError
from service.http.gate import Answer
from service.http.schemas.base import LISTS
from service.http.schemas.questions import Where
from service.patience import Patience, left_s
from tiling.errors import UserError
from tiling.values import LonLat

MOST_NAMES = 100  # of a request
NAME_WEIGHT = 2  # a name that must be searched for costs about as much as so many places
MOST_PARAMETERS = 100  # of a question: more than any route has


class Visit:
    """A request: the engine that answers it, how long its client waits, when it is gone."""

    def __init__(self, request: Request) -> None:
        """Refuse parameters that are repeated."""
        _refuse_repeated(request)
        state = request.app.state
        self._request, self._gate = request, state.gate
        self._patience = Patience(self._gate.timeout_s)
        self.engine: Engine = state.engine
        # Errors describe this engine, even after a reload.
        request.state.engine = self.engine

    async def run(self, weight: int, work: Callable[..., Answer], *arguments: Any) -> Answer:
        """Return `work(*arguments)`; raises as `Gate.run` does."""
        answer: Answer = await self._gate.run(
            weight,
            work,
            *arguments,
            client=self._request.state.client,
            patience=self._patience,
            gone=self._gone,
        )
        return answer

    async def _gone(self) -> None:
        while (await self._request.receive())["type"] != "http.disconnect":
            pass

    async def located(
        self, asked: Sequence[Where], label: str | None = None, outside: bool = False
    ) -> list[LonLat]:
        """Return the places that are meant; where `outside`, they need not lie in the data.

        With a label, an error names the place at fault, as `label[3]`. Raises `CostError` for more
        names than one request may ask for.
        """

        def locate() -> list[LonLat]:
            found: dict[Where, LonLat] = {}
            for at, where in enumerate(asked):
                if where not in found:
                    left_s()
                    name = None if label is None else f"{label}[{at}]"
                    if outside and isinstance(where, LonLat):
                        found[where] = where
                    else:
                        found[where] = _located(self.engine, where, name)
            return [found[where] for where in asked]

        names = len({where for where in asked if isinstance(where, str)})
        if names > MOST_NAMES:
            raise CostError(f"{names} names: give at most {MOST_NAMES} in one request")
        # Only a name needs a query of the store.
        return await self.run(names * NAME_WEIGHT, locate) if names else locate()


def _refuse_repeated(request: Request) -> None:
    """Refuse a parameter that is given twice, because its meaning is unclear, and far too many."""
    given = request.query_params.multi_items()
    if len(given) > MOST_PARAMETERS:
        message = f"{len(given)} parameters: at most {MOST_PARAMETERS} are read"
        raise RequestValidationError([{"loc": ("query",), "msg": message}])
    counts = Counter(name for name, _ in given)
    twice = {name for name, count in counts.items() if count > 1} - LISTS
    if twice:
        raise RequestValidationError(
            [
                {"loc": ("query", name[:100]), "msg": "Given more than once"}
                for name in sorted(twice)[:10]
            ]
        )


def _located(engine: Engine, where: Where, label: str | None) -> LonLat:
    try:
        return engine.locate(where)
    except UserError as error:
        if label is not None:
            error.args = (f"{label}: {error}",)
        raise


async def _visit(request: Request) -> Visit:
    return Visit(request)


Visits = Annotated[Visit, Depends(_visit)]
