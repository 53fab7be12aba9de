"""What a run is made of, and what it comes to."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

from torch import nn

from loc2vec.encoders.inception import Inception
from loc2vec.encoders.multiscale import Multiscale
from loc2vec.encoders.registry import build, options_of, vector_size
from loc2vec.errors import RunError
from loc2vec.evaluation.retrieval import require_positives
from loc2vec.model.dataset import Dataset
from loc2vec.model.folder import Model, ModelConfig
from tiling.values import check_fingerprint


@dataclass(frozen=True)
class TrainConfig:
    """Everything but the tiles that decides what a run computes."""

    encoder: str = "loc2vec"
    dim: int = 16
    # of the encoder's family; the others have their defaults
    options: Mapping[str, Any] = field(default_factory=dict)
    places: int = 20  # in a batch
    pairs: int = 5  # positives of each place in a batch
    steps: int = 10_000
    learning_rate: float = 1e-3  # at its highest
    warm_up: int = 100  # steps of rising learning rate
    weight_decay: float = 1e-4
    loss: str = "softpn"  # or "nce"; "none" for a head alone
    projector: bool = False  # the loss is mostly of a projection of the vectors
    # what else is learned, by name, with the weight of its loss
    heads: Mapping[str, float] = field(default_factory=dict)
    nested: tuple[int, ...] = ()  # so many first numbers also learn by themselves
    channel_dropout: float = 0.05  # mean share of the channels that a positive lacks
    mirrored: bool = False  # tiles are also turned by quarter turns and mirrored, at random
    seed: int = 0
    eval_every: int = 500
    checkpoint_every: int = 100

    def encoder_options(self) -> dict[str, Any]:
        """Return all options of the encoder, including `dim`; raises `EncoderError`."""
        return asdict(options_of(self.encoder, {"dim": self.dim, **self.options}))


@dataclass(frozen=True, eq=False)
class Run:
    """A configuration, the tiles to train on, and the run folder to write.

    The best model is chosen on `validation`; without it, by the training loss. The weights start
    from `init`, a model of the same encoder and tiles; without it, they are random. The trunks of
    `multiscale` may start from a model of `inception`.
    """

    config: TrainConfig
    tiles: Dataset
    out: Path
    validation: Dataset | None = None
    init: Model | None = None

    @property
    def vector_size(self) -> int:
        """Return D, the length of a vector."""
        return vector_size(self.config.encoder, self.config.dim, self.tiles.geometry.scales)

    def check(self) -> None:
        """Raise `FingerprintError` or `RunError` when the parts do not fit each other."""
        for size in self.config.nested:
            if not 0 < size < self.vector_size:
                raise RunError(
                    f"--nested {size} needs vectors of more numbers, they have {self.vector_size}"
                )
        ours = self.tiles.fingerprint
        if self.validation is not None:
            check_fingerprint("the validation dataset", self.validation.fingerprint, ours)
            require_positives(self.validation)
        if self.init is not None:
            init = self.init.config
            if self._starts_trunks:
                ours = self.tiles.catalogue.fingerprint(init.geometry)
            else:
                self._check_encoder(init)
            check_fingerprint(f"model {init.name}", init.fingerprint, ours)

    @property
    def _starts_trunks(self) -> bool:
        """Tell whether `init` gives its layers to the trunks alone."""
        return self.init is not None and (self.init.config.encoder, self.config.encoder) == (
            "inception",
            "multiscale",
        )

    def _check_encoder(self, init: ModelConfig) -> None:
        encoder, options = self.config.encoder, self.config.encoder_options()
        if (encoder, options) != (init.encoder, init.options):
            raise RunError(
                f"model {init.name} is of encoder {init.encoder} {init.options}, "
                f"the run of {encoder} {options}"
            )

    def encoder(self) -> nn.Module:
        """Return the encoder as the run starts with it; its random weights need a seed."""
        network = build(
            self.config.encoder, self.tiles.geometry.scales, **self.config.encoder_options()
        )
        if self.init is not None:
            if isinstance(network, Multiscale) and self._starts_trunks:
                network.start_from(cast(Inception, self.init.network))
            else:
                network.load_state_dict(self.init.network.state_dict())
        return network

    def facts(self) -> dict[str, Any]:
        """Return what the run is made of, as JSON values; a resumed run must have the same."""
        config, validation = self.config, self.validation
        defaults = asdict(options_of(config.encoder, {"dim": config.dim}))
        options = config.encoder_options().items()
        changed = {name: value for name, value in options if value != defaults[name]}
        return asdict(config) | {
            "options": changed or None,
            "nested": list(config.nested),  # as it comes back from JSON
            "fingerprint": self.tiles.fingerprint,
            "train_places": self.tiles.n_places,
            "train_positives": self.tiles.positives,
            "init": None if self.init is None else self.init.model_id,
            "validation_places": None if validation is None else validation.n_places,
        }

    def model_config(self, training: dict[str, Any]) -> ModelConfig:
        """Describe a model of this run; `training` says how it was made and how good it is."""
        return ModelConfig(
            name=self.out.name,
            encoder=self.config.encoder,
            options=self.config.encoder_options(),
            channels=tuple(self.tiles.channels),
            geometry=self.tiles.geometry,
            fingerprint=self.tiles.fingerprint,
            training=training,
            catalogue=self.tiles.catalogue.carried,
        )


@dataclass(frozen=True)
class TrainResult:
    """What a run came to: it stands at `step`, less than `steps` when it was stopped.

    `best` is the greatest value of the metric `score`, reached at `best_step`: "recall@1", "-loss"
    without validation, "top-1 cell" with the geocell head alone. `skipped` steps changed nothing,
    because their loss or gradient was not finite.
    """

    out: Path
    step: int
    steps: int
    score: str
    best: float | None
    best_step: int | None
    skipped: int

    @property
    def finished(self) -> bool:
        return self.step == self.steps
