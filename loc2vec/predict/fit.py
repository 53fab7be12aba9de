"""`LocationEncoder.fit`: a predictor that takes places, from Python."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from loc2vec.encoder import LocationEncoder, Place
from loc2vec.errors import LabelsError, PredictorError
from loc2vec.evaluation.splits import blocks
from loc2vec.model.arrays import Flags, Floats
from loc2vec.predict.predictor import COVERAGE, Predictions, Predictor
from loc2vec.predict.target import Target
from tiling.values import LonLat


@dataclass(frozen=True, eq=False)
class PlacePredictor:
    """What was learned from labelled places, and the encoder that looks at new ones."""

    predictor: Predictor
    encoder: LocationEncoder

    def predict(self, places: Sequence[Place]) -> NDArray[Any]:
        """Return the number, or the likeliest class, of each place: [n]."""
        value = self._answers(places).value
        if self.predictor.target.kind == "number":
            return value
        named: NDArray[Any] = np.array(self.predictor.target.classes, object)[value]
        return named

    def predict_proba(self, places: Sequence[Place]) -> Floats:
        """Return the probability of each class of `classes`: float64 [n, K]."""
        found = self._answers(places).probability
        if found is None:
            raise PredictorError("numbers have no probabilities: ask for predict_interval")
        return found

    def predict_interval(self, places: Sequence[Place], coverage: float = COVERAGE) -> Floats:
        """Return the ends of intervals that hold a share of `coverage`: float64 [n, 2]."""
        found = self._answers(places, coverage)
        if found.low is None or found.high is None:
            raise PredictorError("classes have no intervals: ask for predict_proba")
        return np.stack([found.low, found.high], axis=1)

    def far(self, places: Sequence[Place]) -> Flags:
        """Tell where an answer would be an extrapolation: bool [n]."""
        return self._answers(places).far

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes in the order of their probabilities."""
        return self.predictor.target.classes

    def save(self, folder: str | Path) -> None:
        """Write the predictor, without the encoder, as a folder of JSON and skops."""
        self.predictor.save(Path(folder))

    @classmethod
    def load(cls, folder: str | Path, encoder: LocationEncoder) -> Self:
        """Read what `save` wrote; raises `PredictorError` where it takes other vectors."""
        predictor = Predictor.load(Path(folder))
        predictor.check(encoder.model_id, encoder.fingerprint)
        if predictor.columns:
            names = ", ".join(column.name for column in predictor.columns)
            raise PredictorError(f"{folder} takes the columns {names}, too: use `loc2vec predict`")
        return cls(predictor, encoder)

    def _answers(self, places: Sequence[Place], coverage: float = COVERAGE) -> Predictions:
        return self.predictor.predict(self.encoder.encode(list(places)), coverage)


def fit_places(
    encoder: LocationEncoder,
    places: Sequence[LonLat],
    vectors: NDArray[np.floating],
    labels: Sequence[Any],
) -> PlacePredictor:
    """Learn labels from vectors [n, D] of places; neighbours of a block of 1 km stay together."""
    if len(places) != len(labels):
        raise LabelsError(f"{len(places)} places and {len(labels)} labels: give one label a place")
    lon, lat = np.array(places, np.float64).T
    target, known = Target.of("label", list(labels))
    about = encoder.model_id, encoder.fingerprint
    made = Predictor.fit(vectors.astype(np.float64), known, blocks(lat, lon), target, about)
    return PlacePredictor(made, encoder)
