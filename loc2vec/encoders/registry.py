"""Encoders by name, as in model folders and on the command line.

A new family is a file beside this one and a row in `ENCODERS`; `resnet.py` is a short example. Its
number of parameters goes into `tests/loc2vec/encoders/test_families.py`.
"""

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, NamedTuple, get_args

from pydantic import ValidationError
from torch import nn

from loc2vec.encoders.base import Options
from loc2vec.encoders.densenet import DenseNet, DenseNetOptions
from loc2vec.encoders.inception import Inception, InceptionOptions
from loc2vec.encoders.loc2vec import Loc2Vec, Loc2VecOptions
from loc2vec.encoders.multiscale import Multiscale, MultiscaleOptions
from loc2vec.encoders.resnet import ResNet, ResNetOptions
from loc2vec.encoders.rowlstm import RowLSTM, RowLSTMOptions
from loc2vec.encoders.rsan import RSAN, RSANOptions
from loc2vec.encoders.scales import SharedScales
from loc2vec.encoders.seresnet import SEResNet, SEResNetOptions
from loc2vec.encoders.shufflenet import ShuffleNet, ShuffleNetOptions
from loc2vec.encoders.stn import SpatialTransformer, SpatialTransformerOptions
from loc2vec.encoders.vit import ViT, ViTOptions
from loc2vec.errors import EncoderError


class Family(NamedTuple):
    """A kind of encoder: its options, and a function from options to a fresh network.

    The network maps tiles uint8 [n, 12, 128, 128] to float32 [n, dim]. Where `joins`, it reads all
    scales of a tile at once, uint8 [n, scales * 12, 128, 128]; `network` then takes their number.
    """

    options: type[Options]
    network: Callable[..., nn.Module]
    joins: bool = False


ENCODERS: dict[str, Family] = {
    "loc2vec": Family(Loc2VecOptions, Loc2Vec),
    "stn": Family(SpatialTransformerOptions, SpatialTransformer),
    "resnet": Family(ResNetOptions, ResNet),
    "seresnet": Family(SEResNetOptions, SEResNet),
    "densenet": Family(DenseNetOptions, DenseNet),
    "inception": Family(InceptionOptions, Inception),
    "multiscale": Family(MultiscaleOptions, Multiscale, joins=True),
    "shufflenet": Family(ShuffleNetOptions, ShuffleNet),
    "vit": Family(ViTOptions, ViT),
    "rsan": Family(RSANOptions, RSAN),
    "rowlstm": Family(RowLSTMOptions, RowLSTM),
}


def options_of(name: str, values: Mapping[str, Any]) -> Options:
    """Return the options of a family: `values`, which may be text, over the defaults.

    Raises `EncoderError`, which lists the known encoders, or the options of the family.
    """
    if name not in ENCODERS:
        raise EncoderError(
            f"no encoder is called {name!r}: choose one of {', '.join(sorted(ENCODERS))}"
        )
    kind = ENCODERS[name].options
    unknown = sorted(set(values) - {each.name for each in fields(kind)})
    if unknown:
        raise EncoderError(
            f"encoder {name!r} has no option {unknown[0]!r}: its options are {choices(name)}"
        )
    try:
        return kind(**values)
    except ValidationError as error:
        first = error.errors()[0]
        option = ".".join(map(str, first["loc"]))
        raise EncoderError(
            f"encoder {name!r}, option {option}={first['input']!r}: {first['msg']}; "
            f"its options are {choices(name)}"
        ) from error


def choices(name: str) -> str:
    """Return the options of a family as text, with their choices or defaults."""
    return ", ".join(
        f"{option.name}={'|'.join(_choices(option.type)) or option.default}"
        for option in fields(ENCODERS[name].options)
    )


def _choices(kind: Any) -> tuple[str, ...]:
    """Return the strings of a `Literal`; nothing for other types."""
    values = get_args(kind)
    return values if all(isinstance(value, str) for value in values) else ()


def build(name: str, scales: int = 1, /, **options: Any) -> nn.Module:
    """Return a fresh encoder for tiles with `scales` scales; raises `EncoderError`."""
    chosen, family = options_of(name, options), ENCODERS[name]
    if family.joins:
        return family.network(chosen, scales)
    network = family.network(chosen)
    return network if scales == 1 else SharedScales(network, scales)


def vector_size(name: str, dim: int, scales: int) -> int:
    """Return how many numbers a vector has; families that do not join scales have `dim` of each."""
    return dim if ENCODERS[name].joins else dim * scales
