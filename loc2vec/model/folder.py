"""Model folders: `config.json` and `model.safetensors`, enough to rebuild an encoder."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, load_file, save
from torch import Tensor, nn

from loc2vec.encoders.registry import ENCODERS, build, options_of
from loc2vec.errors import EncoderError, ModelError
from tiling.errors import UserError
from tiling.files.atomic import (
    read_json,
    replacing_folder,
    require_file,
    sha256_of,
    write_json,
)
from tiling.values import ATTRIBUTION, TileGeometry
from tiling.words import in_one_line

LICENCE = "MIT; trained on OpenStreetMap data, which is under the Open Database License 1.0"
CONFIG, WEIGHTS = "config.json", "model.safetensors"


@dataclass(frozen=True)
class ModelConfig:
    """What describes a model besides its weights; `training` holds facts for people to read."""

    name: str
    encoder: str
    options: dict[str, Any]  # `dim` and those of the encoder's family
    channels: tuple[str, ...]
    geometry: TileGeometry
    fingerprint: str  # of the channel catalogue and the tile geometry
    training: dict[str, Any] = field(default_factory=dict)
    catalogue: str | None = None  # the text of a user's own channels; None: the shipped ones

    def as_values(self) -> dict[str, Any]:
        """Return what JSON keeps: `catalogue` only where it is the user's own."""
        values = asdict(self) | {"geometry": self.geometry.as_values()}
        return {key: value for key, value in values.items() if value is not None}


CONFIGS = TypeAdapter(ModelConfig)


@dataclass(frozen=True, eq=False)
class Model:
    """A network with its configuration and the SHA-256 of its weights."""

    config: ModelConfig
    network: nn.Module
    sha256: str

    @property
    def model_id(self) -> str:
        return f"{self.config.name}@{self.sha256[:12]}"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the weights as bytes: PyTorch would share memory, one file descriptor a tensor."""
        return _rebuild, (self.config, _weights(self.network), self.sha256)


def save_model(
    folder: Path,
    network: nn.Module,
    config: ModelConfig,
    more: Callable[[Path], object] = lambda folder: None,
) -> None:
    """Write a model folder atomically, replacing an older one; `more` adds files to it."""
    with replacing_folder(folder) as temporary:
        more(temporary)
        save_weights(network, temporary / WEIGHTS)
        about = {
            "sha256": sha256_of(temporary / WEIGHTS),
            "licence": LICENCE,
            "attribution": ATTRIBUTION,
        }
        write_json(temporary / CONFIG, config.as_values() | about)


def _rebuild(config: ModelConfig, weights: bytes, sha256: str) -> Model:
    network = build(config.encoder, config.geometry.scales, **config.options)
    network.load_state_dict(load(weights))
    return Model(config, network.eval(), sha256)


def save_weights(network: nn.Module, path: Path) -> None:
    """Write parameters and buffers as safetensors."""
    path.write_bytes(_weights(network))


def _weights(network: nn.Module) -> bytes:
    return save({name: value.contiguous() for name, value in network.state_dict().items()})


def write_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    """Write tensors as safetensors; other users may read the file, unlike that of `save_file`."""
    path.write_bytes(save(tensors))


def load_model(folder: Path) -> Model:
    """Rebuild a model on the CPU, in eval mode; `ModelError` when a part is missing or altered."""
    if not folder.is_dir():
        raise ModelError(
            f"no model folder at {folder}: give a folder or one of {', '.join(shipped_names())}"
        )
    config, sha256 = _read_config(folder)
    if config.encoder not in ENCODERS:
        raise ModelError(
            f"model {folder} is of encoder {config.encoder!r}, which this version of loc2vec "
            f"does not have (it has {', '.join(sorted(ENCODERS))}): "
            "use the version that made the model"
        )
    found = _sha256_of_weights(folder / WEIGHTS)
    if found != sha256:
        raise ModelError(
            f"{folder / WEIGHTS} was altered (SHA-256 {found[:12]}, expected {sha256[:12]})"
        )
    try:
        config = replace(config, options=asdict(options_of(config.encoder, config.options)))
        _check_shapes(config, folder / WEIGHTS)
        network = build(config.encoder, config.geometry.scales, **config.options)
        network.load_state_dict(load_file(folder / WEIGHTS))
    except (EncoderError, SafetensorError, RuntimeError, ValueError, TypeError) as error:
        raise ModelError(f"model {folder} cannot be rebuilt: {in_one_line(error)}") from error
    return Model(config, network.eval(), sha256)


def _read_config(folder: Path) -> tuple[ModelConfig, str]:
    try:
        values = read_json(folder / CONFIG)
        sha256, _ = values["sha256"], values["options"]["dim"]  # every encoder has a dim
        TileGeometry(**values["geometry"])  # refuses keys of another version
        return CONFIGS.validate_python(values), str(sha256)
    except KeyError as error:
        raise ModelError(f"{folder} is no model folder: {CONFIG} lacks {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ModelError(
            f"{folder} is no model folder: {CONFIG}: {where}: {first['msg']}"
        ) from error
    except (UserError, TypeError, ValueError, ArithmeticError) as error:
        raise ModelError(f"{folder} is no model folder: {CONFIG}: {error}") from error


def _check_shapes(config: ModelConfig, path: Path) -> None:
    """Raise `ModelError` for weights of other shapes than those of the network.

    The network is built without memory for it, because a file may claim any size.
    """
    with torch.device("meta"):
        network = build(config.encoder, config.geometry.scales, **config.options)
    expected = {name: list(value.shape) for name, value in network.state_dict().items()}
    with safe_open(path, "pt") as file:
        found = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    if found != expected:
        raise ModelError(f"{path} does not hold the weights of encoder {config.encoder!r}")


def _sha256_of_weights(path: Path) -> str:
    require_file(path, ModelError, f"a model folder holds {CONFIG} and {WEIGHTS}")
    try:
        return sha256_of(path)
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from error


def shipped_names() -> list[str]:
    """Return the names of the models in the package."""
    folder = resources.files("loc2vec.model") / "weights"
    return sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []


def model_path(model: str | Path) -> Path:
    """Return the folder of a shipped model by its name; any other path is returned unchanged."""
    if isinstance(model, str) and model in shipped_names():
        return Path(str(resources.files("loc2vec.model") / "weights" / model))
    return Path(model)
