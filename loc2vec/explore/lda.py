"""Linear discriminant analysis: the two directions that best tell classes of places apart."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loc2vec.errors import ExploreError
from loc2vec.evaluation.tasks.task import Task
from loc2vec.explore.space import Ground, Tell
from loc2vec.model.arrays import Floats
from loc2vec.paper.colours import CLASSES, from_hex
from loc2vec.paper.graphs import densities, scatter
from loc2vec.paper.page import Points, page
from loc2vec.paper.plot import Figure, axes_in, new_figure
from loc2vec.paper.strips import View
from tiling.values import LonLat

AT_ONCE = 128  # tiles
AXES = ("first direction", "second direction")
TESTED = 0.3  # share of the places that the directions are not fitted on, and that are shown


@dataclass(frozen=True, eq=False)
class Discriminant:
    """Places that the directions were not fitted on.

    `at` float64 [n, 2]; `label` int64 [n]: the number of the class of each. `accuracy`: the share
    whose class is that of the nearest mean; `largest`: the share of the largest class.
    """

    at: Floats
    label: NDArray[np.int64]
    classes: tuple[str, ...]
    views: Sequence[View]
    accuracy: float
    largest: float
    about: str
    channels: tuple[str, ...]

    @property
    def title(self) -> str:
        return f"Linear discriminants: {self.about}"

    @property
    def lead(self) -> str:
        return (
            f"{len(self.at):,} places that the directions were not fitted on. Lines hold half and "
            "nine tenths of the places of a class. The nearest class mean is right for "
            f"{self.accuracy:.0%} (the largest of {len(self.classes)} classes alone: "
            f"{self.largest:.0%})."
        )

    def figure(self) -> Figure:
        """Plot the places over the densities of their classes."""
        figure = new_figure(8.6, 6.6, self.title, self.lead)
        axes = axes_in(figure, 0.65, 0.95, 5.9, 5.0)
        densities(axes, self.at, self.label, len(self.classes))
        scatter(axes, self.at, self.label, self.classes)
        axes.set_xlabel(AXES[0])
        axes.set_ylabel(AXES[1])
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, fontsize=9)
        return figure

    def page(self) -> str:
        """Return a page on which each place shows its tile."""
        points = Points(
            self.at,
            self.views,
            from_hex(CLASSES)[self.label],
            AXES,
            [self.classes[number] for number in self.label.tolist()],
            list(zip(self.classes, CLASSES, strict=False)),
        )
        return page(self.title, self.lead, [points], self.channels)


def discriminate(
    ground: Ground, task: Task, seed: int = 0, tell: Tell = lambda n: None
) -> Discriminant:
    """Fit the directions on some places of a task, and look at the others along them.

    `tell` hears how many places are encoded. The channels that the task blanks are blank in the
    tiles, too. Raises `ExploreError` with fewer than three classes.
    """
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.model_selection import train_test_split

    if not 3 <= len(task.classes) <= len(CLASSES):
        raise ExploreError(
            f"{task.name}: {len(task.classes)} classes have places enough: two directions are for "
            f"3 to {len(CLASSES)}; give more extracts"
        )
    places = [LonLat(*place) for place in zip(task.lon.tolist(), task.lat.tolist(), strict=True)]
    known = _encode(ground, task, places, tell)
    fit, shown = train_test_split(
        np.arange(len(task)), test_size=TESTED, random_state=seed, stratify=task.target
    )
    model = LinearDiscriminantAnalysis(n_components=2).fit(known[fit], task.target[fit])
    label = task.target[shown].astype(np.int64)
    return Discriminant(
        at=np.asarray(model.transform(known[shown]), np.float64),
        label=label,
        classes=task.classes,
        views=ground.views([places[row] for row in shown.tolist()]),
        accuracy=float((model.predict(known[shown]) == label).mean()),
        largest=float(np.bincount(label).max() / len(label)),
        about=task.about,
        channels=ground.channels,
    )


def _encode(ground: Ground, task: Task, places: Sequence[LonLat], tell: Tell) -> Floats:
    """Return the vectors of the places of a task, float64 [n, D]."""
    vectors = []
    for start in range(0, len(places), AT_ONCE):
        tiles = ground.render(places[start : start + AT_ONCE])
        tiles[:, list(task.blank)] = 0
        vectors.append(ground.encode(tiles))
        tell(len(tiles))
    return np.concatenate(vectors).astype(np.float64)
