"""The objectives of a run: from its configuration to a list."""

from collections.abc import Callable

from loc2vec.errors import RunError
from loc2vec.train.objectives.contrastive import NO_LOSS, Contrastive
from loc2vec.train.objectives.cover import CoverObjective
from loc2vec.train.objectives.geocell import GeoCellObjective
from loc2vec.train.objectives.objective import Objective
from loc2vec.train.objectives.tags import TagsObjective
from loc2vec.train.run import Run

HEADS: dict[str, Callable[[Run], Objective]] = {
    "cover": CoverObjective.of,
    "geocell": GeoCellObjective.of,
    "tags": TagsObjective.of,
}


def objectives_of(run: Run) -> list[Objective]:
    """Return fresh objectives; `RunError` when the run has none, or its tiles do not suit them."""
    config = run.config
    objectives: list[Objective] = []
    if config.loss != NO_LOSS:
        objectives.append(Contrastive.of(run))
    for name, weight in config.heads.items():
        objective = HEADS[name](run)
        objective.weight = weight
        objectives.append(objective)
    if not objectives:
        raise RunError("--loss none leaves nothing to learn: it goes with --head geocell")
    return objectives
