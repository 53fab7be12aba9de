"""What is predicted: classes, a number, or places like those that are given."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from loc2vec.errors import LabelsError
from loc2vec.evaluation.tasks.labels import are_numbers, numbered
from loc2vec.model.arrays import Floats

Kind = Literal["classes", "number", "alike"]

SKEWED = 1.0  # from here on the logarithm of a positive number is predicted, if it is less skewed


@dataclass(frozen=True)
class Target:
    """The meaning of what a model answers.

    `name`: the column; `classes`: the names by number, () for a number; `log`: the model answers
    with the logarithm.
    """

    kind: Kind
    name: str
    classes: tuple[str, ...] = ()
    log: bool = False

    @classmethod
    def of(cls, name: str, values: Sequence[Any]) -> tuple[Self, NDArray[Any]]:
        """Return the target that values are of, and what a model learns: int64 or float64 [n].

        Text, booleans and a few distinct whole numbers are classes. Raises `LabelsError` where all
        values are equal.
        """
        if len(set(values)) < 2:
            raise LabelsError(
                f"every {name!r} is {values[0]!r}, one value cannot be told from another: leave "
                "out --target to find places like these"
            )
        if not are_numbers(values):
            classes, number = numbered(values)
            return cls("classes", name, classes), number
        measured = np.array(values, np.float64)
        log = _is_skewed(measured)
        return cls("number", name, (), log), np.log(measured) if log else measured

    @classmethod
    def alike(cls, name: str) -> Self:
        """Return the target of examples without a value: how like them a place is."""
        return cls("alike", name, ("another", "like these"))

    @property
    def about(self) -> str:
        """What the scores are of, for people."""
        return f"the logarithm of {self.name}" if self.log else self.name

    def told(self, answers: Floats) -> Floats:
        """Return numbers as a model gives them in the unit of the column."""
        return np.exp(answers) if self.log else answers

    def as_values(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self)

    @classmethod
    def from_values(cls, values: dict[str, Any]) -> Self:
        """Return what `as_values` wrote."""
        return cls(**{**values, "classes": tuple(values["classes"])})


def _is_skewed(values: Floats) -> bool:
    """Tell whether positive numbers are much less skewed as logarithms."""
    return bool(values.min() > 0 and _skew(values) > max(SKEWED, abs(_skew(np.log(values)))))


def _skew(values: Floats) -> float:
    with np.errstate(over="ignore", invalid="ignore"):  # a skew that is no number is none
        centred = values - values.mean()
        return float((centred**3).mean() / max(values.std() ** 3, 1e-12))
