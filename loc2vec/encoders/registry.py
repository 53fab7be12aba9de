"""Encoders by name: what a model folder and the command line refer to."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, NamedTuple, get_args

from pydantic import ValidationError
from torch import nn

from loc2vec.encoders.base import Options
from loc2vec.encoders.densenet import DenseNet, DenseNetOptions
from loc2vec.encoders.inception import Inception, InceptionOptions
from loc2vec.encoders.loc2vec import Loc2Vec, Loc2VecOptions
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
    """A kind of encoder: its options, and what makes a fresh network of them.

    The network maps tiles uint8 [n, 12, 128, 128] to float32 [n, dim].
    """

    options: type[Options]
    network: Callable[[Any], nn.Module]


ENCODERS: dict[str, Family] = {
    "loc2vec": Family(Loc2VecOptions, Loc2Vec),
    "stn": Family(SpatialTransformerOptions, SpatialTransformer),
    "resnet": Family(ResNetOptions, ResNet),
    "seresnet": Family(SEResNetOptions, SEResNet),
    "densenet": Family(DenseNetOptions, DenseNet),
    "inception": Family(InceptionOptions, Inception),
    "shufflenet": Family(ShuffleNetOptions, ShuffleNet),
    "vit": Family(ViTOptions, ViT),
    "rsan": Family(RSANOptions, RSAN),
    "rowlstm": Family(RowLSTMOptions, RowLSTM),
}


def options_of(name: str, values: Mapping[str, Any]) -> Options:
    """Return the options of a family, the default where `values` (also as text) has none.

    Raises `EncoderError`, which lists the names there are, or the options that the family has.
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
            f"encoder {name!r}, option {option}={first['input']!r}: {first['msg']}; its options are {choices(name)}"
        ) from error


def choices(name: str) -> str:
    """Say which options a family has, with what each may be, or its default."""
    return ", ".join(
        f"{each.name}={'|'.join(map(str, get_args(each.type))) if _is_choice(each.type) else each.default}"
        for each in fields(ENCODERS[name].options)
    )


def _is_choice(kind: Any) -> bool:
    return all(isinstance(value, str) for value in get_args(kind)) and bool(get_args(kind))


def build(name: str, scales: int = 1, /, **options: Any) -> nn.Module:
    """Make a fresh encoder of tiles with so many scales, or raise the `EncoderError` of `options_of`."""
    chosen = options_of(name, options)
    network = ENCODERS[name].network(chosen)
    return network if scales == 1 else SharedScales(network, scales)
