"""A predictor: what was learned from labelled places, with the model that its vectors are of."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from zipfile import BadZipFile

import numpy as np
from numpy.typing import ArrayLike, NDArray

from loc2vec.errors import PredictorError
from loc2vec.model.arrays import Flags, Floats, Places
from loc2vec.predict.columns import Column
from loc2vec.predict.estimators import PlaceClassifier, PlaceRegressor
from loc2vec.predict.target import Target
from tiling.errors import UserError
from tiling.files.atomic import read_json, replacing_folder, write_json
from tiling.values import ATTRIBUTION

ABOUT, FITTED = "predictor.json", "fitted.skops"
COVERAGE = 0.9
# Whose types a file may hold; anything else is refused before it is built.
TRUSTED = ("loc2vec.predict.estimators.", "sklearn.", "numpy.", "scipy.")


@dataclass(frozen=True, eq=False)
class Predictions:
    """Answers for places, float64 or int64 [n] each, in their order.

    `value`: the number, or the number of the likeliest class. `low`, `high`: the ends of the
    interval of a number; `probability` [n, K] of each class; `far`: an extrapolation.
    """

    target: Target
    value: NDArray[Any]
    far: Flags
    low: Floats | None = None
    high: Floats | None = None
    probability: Floats | None = None

    @property
    def shown(self) -> Floats:
        """What a map shows: the number, the likelihood, or the number of the class."""
        if self.target.kind == "alike" and self.probability is not None:
            return self.probability[:, 1]
        return np.asarray(self.value, np.float64)


@dataclass(frozen=True, eq=False)
class Predictor:
    """A fitted estimator with its target.

    `model`, `fingerprint`: of the vectors it takes. `share`: for examples without a value, how many
    of those that are alike the estimator knows as such (Elkan and Noto 2008), else 1. `scores`:
    what it was judged by, as plain values. `columns`: of the user's, whose features it takes behind
    those of a vector.
    """

    target: Target
    estimator: PlaceClassifier | PlaceRegressor
    model: str
    fingerprint: str
    share: float = 1.0
    scores: dict[str, Any] | None = None
    columns: tuple[Column, ...] = ()

    @classmethod
    def fit(
        cls,
        vectors: Floats,
        known: NDArray[Any],
        group: Places,
        target: Target,
        about: tuple[str, str],
    ) -> Self:
        """Fit to features float [n, D] and what `target` makes of their labels.

        `group` int64 [n] keeps neighbours together; `about`: model and fingerprint.
        """
        chosen = fresh(target)
        chosen.fit(vectors, known, group)
        share = 1.0
        if target.kind == "alike" and isinstance(chosen, PlaceClassifier):
            likeness = chosen.unseen_[known == 1, 1]
            share = float(np.nanmean(likeness)) if np.isfinite(likeness).any() else 1.0
        return cls(target, chosen, *about, share)

    def predict(self, vectors: ArrayLike, coverage: float = COVERAGE) -> Predictions:
        """Answer for vectors [n, D], or with columns for vectors and features [n, D + F]."""
        values = np.asarray(vectors, np.float64)
        far = self.estimator.far(values)
        if isinstance(self.estimator, PlaceRegressor):
            ends = self.estimator.predict_interval(values, coverage)
            value = self.target.told(self.estimator.predict(values))
            low, high = self.target.told(ends).T
            return Predictions(self.target, value, far, low, high)
        probability = self.estimator.predict_proba(values)
        if self.target.kind == "alike":
            like = np.clip(probability[:, 1] / max(self.share, 1e-6), 0, 1)
            probability = np.stack([1 - like, like], axis=1)
        return Predictions(self.target, probability.argmax(1), far, probability=probability)

    def save(self, folder: Path) -> None:
        """Write JSON and a skops file, which holds no code, in place of an older folder."""
        about = {
            "target": self.target.as_values(),
            "model": self.model,
            "fingerprint": self.fingerprint,
            "share": self.share,
            "scores": self.scores,
            "columns": [column.as_values() for column in self.columns],
            "attribution": ATTRIBUTION,
        }
        import skops.io  # takes seconds: not for those who predict nothing

        with replacing_folder(folder) as temporary:
            (temporary / FITTED).write_bytes(skops.io.dumps(self.estimator))
            write_json(temporary / ABOUT, about)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote; `PredictorError` where a part is missing or holds other types."""
        import skops.io

        try:
            values = read_json(folder / ABOUT)
            data = (folder / FITTED).read_bytes()
            found = skops.io.get_untrusted_types(data=data)
            foreign = [name for name in found if not name.startswith(TRUSTED)]
            if foreign:
                raise PredictorError(
                    f"{folder / FITTED} holds {foreign[0]}, no part of a predictor"
                )
            return cls(
                Target.from_values(values["target"]),
                skops.io.load(io.BytesIO(data), trusted=found),
                values["model"],
                values["fingerprint"],
                values["share"],
                values["scores"],
                tuple(Column.from_values(column) for column in values["columns"]),
            )
        except PredictorError:
            raise
        except (OSError, KeyError, TypeError, ValueError, BadZipFile, UserError) as error:
            raise PredictorError(
                f"{folder} is no predictor: {error}: make one with `loc2vec predict --report`"
            ) from error

    def check(self, model: str, fingerprint: str) -> None:
        """Raise `PredictorError` unless it takes the vectors of this model."""
        if (self.model, self.fingerprint) != (model, fingerprint):
            raise PredictorError(
                f"the predictor takes vectors of {self.model} (fingerprint {self.fingerprint}), "
                f"not of {model} ({fingerprint}): give that --model"
            )


def fresh(target: Target) -> PlaceClassifier | PlaceRegressor:
    """Return the estimator for a target, not fitted."""
    return PlaceRegressor() if target.kind == "number" else PlaceClassifier()
