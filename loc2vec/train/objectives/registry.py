"""The objectives of a run: from its configuration to a list."""

from collections.abc import Callable

from loc2vec.errors import RunError
from loc2vec.train.objectives.contrastive import NO_LOSS, Contrastive
from loc2vec.train.objectives.cover import CoverObjective
from loc2vec.train.objectives.geocell import GeoCellObjective
from loc2vec.train.objectives.nested import Nested
from loc2vec.train.objectives.objective import Objective
from loc2vec.train.objectives.tags import TagsObjective
from loc2vec.train.run import Run

HEADS: dict[str, Callable[[Run, int], Objective]] = {
    "cover": CoverObjective.of,
    "geocell": GeoCellObjective.of,
    "tags": TagsObjective.of,
}


def objectives_of(run: Run) -> list[Objective]:
    """Return fresh objectives; `RunError` when the run has none, or its tiles do not suit them."""
    config = run.config
    if config.loss == NO_LOSS and not config.heads:
        raise RunError("--loss none leaves nothing to learn: it goes with --head geocell")
    nested = (Nested(each, n) for n in config.nested for each in _of_size(run, n))
    return [*_of_size(run, run.vector_size), *nested]


def _of_size(run: Run, size: int) -> list[Objective]:
    """Return fresh objectives for vectors of `size` numbers."""
    config = run.config
    objectives: list[Objective] = []
    if config.loss != NO_LOSS:
        objectives.append(Contrastive.of(run, size))
    for name, weight in config.heads.items():
        objective = HEADS[name](run, size)
        objective.weight = weight
        objectives.append(objective)
    return objectives
