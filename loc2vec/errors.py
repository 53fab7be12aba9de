"""What can go wrong between tiles and vectors."""

import importlib.util

from tiling.errors import Loc2VecError, UserError


class EncoderError(UserError):
    """No encoder has this name, or it has no such option."""


class ModelError(UserError):
    """A model folder is missing, incomplete, altered or of an unknown encoder."""


class RunError(UserError):
    """A run cannot be begun or resumed: its folder, its configuration or its tiles do not fit."""


class DeviceError(UserError):
    """The device that was asked for is not there."""


class TrainingError(Loc2VecError):
    """Training came to a loss that is not finite."""


class InputError(UserError):
    """What was handed to an encoder is neither places nor tiles that it can take."""


class VectorsError(UserError):
    """A file of vectors is missing, damaged or not one of ours."""


class LabelsError(UserError):
    """Labels cannot be evaluated: the message names the task, the row or the column."""


class PredictorError(UserError):
    """A predictor is missing, damaged, or takes the vectors of another model."""


class ExploreError(UserError):
    """A figure cannot be made of what was given: the message says what is lacking."""


class ExtraError(UserError):
    """An optional part is asked for and its libraries are not installed."""


class ClientError(UserError):
    """A service does not answer, or says what is wrong with the question."""


class EarlierError(UserError):
    """Vectors cannot be brought up to date with this model."""


class EmbeddingError(Loc2VecError):
    """The network gave numbers that are not finite."""


def require_extra(extra: str, what: str, *libraries: str) -> None:
    """Raise `ExtraError` unless all `libraries` of an extra are installed; `what` needs them."""
    missing = [name for name in libraries if importlib.util.find_spec(name) is None]
    if missing:
        raise ExtraError(f"{what} needs {', '.join(missing)}: pip install 'loc2vec[{extra}]'")
