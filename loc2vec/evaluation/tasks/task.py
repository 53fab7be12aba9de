"""What is predicted: places with a label each."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from loc2vec.errors import LabelsError
from loc2vec.model.arrays import Floats

Rows = NDArray[np.int64]  # numbers of places of a task, or of their groups


@dataclass(frozen=True, eq=False)
class Task:
    """Places and what to predict of them.

    `about`: a line for people; `lat`, `lon` float64 [n]. `target`: int64 [n] class numbers, or
    float64 [n] where `classes` is empty (a regression). `place` int64 [n]: the number of the town
    in `places`. `blank`: channels that are emptied in every tile of this task, for every method.
    `drawn`: the label can be seen in the tile, the task says less; `geolocation`: it asks for the
    town.
    """

    name: str
    about: str
    lat: Floats
    lon: Floats
    target: NDArray[np.int64] | Floats
    classes: tuple[str, ...]
    place: NDArray[np.int64]
    places: tuple[str, ...]
    blank: tuple[int, ...] = ()
    drawn: bool = False
    geolocation: bool = False

    def __post_init__(self) -> None:
        if len({len(self.lat), len(self.lon), len(self.target), len(self.place)}) > 1:
            raise ValueError(f"lengths differ in task {self.name}")

    def __len__(self) -> int:
        return len(self.lat)

    @property
    def counts(self) -> dict[str, int]:
        """Return the number of places of each class."""
        return {
            name: int((self.target == number).sum()) for number, name in enumerate(self.classes)
        }

    def at(self, rows: Rows) -> "Task":
        """Return the task at these places alone, without classes that are left with none."""
        target, classes = self.target[rows], self.classes
        if classes:
            present, target = np.unique(target, return_inverse=True)
            classes = tuple(classes[number] for number in present.tolist())
        return replace(
            self,
            lat=self.lat[rows],
            lon=self.lon[rows],
            place=self.place[rows],
            target=target,
            classes=classes,
        )

    def require(self, folds: int) -> None:
        """Raise `LabelsError` when there are too few labels for so many folds."""
        if len(self) < folds:
            raise LabelsError(
                f"task {self.name}: {len(self)} places, fewer than the {folds} folds: give more"
            )
        few = [f"{name} ({count})" for name, count in self.counts.items() if count < folds]
        if len(self.classes) == 1:
            raise LabelsError(
                f"task {self.name}: every place is {self.classes[0]!r}, "
                "one class cannot be told from another"
            )
        if few:
            raise LabelsError(
                f"task {self.name}: fewer places than the {folds} folds in {', '.join(few)}"
            )
