"""What the filters of a layer look for: the input that excites each most, found by gradient ascent from noise.

Erhan et al. 2009 (activation maximisation), with the regularisation of Yosinski et al. 2015 (decay, blur) and shifts
(Mordvintsev et al. 2015), so that the picture is no sum of high frequencies.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from loc2vec.errors import ExploreError
from loc2vec.explore.drawing import Figure, sheet
from loc2vec.explore.page import page
from loc2vec.explore.space import Tell
from loc2vec.explore.strips import Cell, Row, Strips
from tiling.values import N_CHANNELS

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float64]

SIZE = 64  # pixels a side of the input that is sought, for layers that take one of any size
STEPS, RATE = 80, 0.08
BLUR_EVERY, SHIFT_PX = 8, 3
DECAY = 0.002
COLUMNS = 8


@dataclass(frozen=True, eq=False)
class Filters:
    """The inputs that excite the filters of a layer most: `inputs` float32 [n, 12, S, S] within 0..1.

    `before`, `after` float64 [n]: the mean answer of each filter, before it is rectified, to noise and to its input;
    `alive` bool [n]: the filter answers above 0 somewhere in its input. The others are dead: nothing was found that
    switches them on.
    """

    layer: str
    inputs: NDArray[np.float32]
    before: Floats
    after: Floats
    alive: NDArray[np.bool_]
    strips: Strips

    @property
    def dead(self) -> int:
        """How many of the filters are dead."""
        return int((~self.alive).sum())

    def figure(self) -> Figure:
        """Draw the input of each filter."""
        return sheet(self.strips)

    def page(self) -> str:
        """Return the inputs as a page, on which each opens into its twelve channels."""
        return page(self.strips.title, self.strips.lead, [self.strips.rows], self.strips.channels)


def layers_of(network: nn.Module) -> dict[str, tuple[nn.Conv2d, nn.Module]]:
    """Return the convolutions of a network from the lowest on, each with what gives its answer: its batch norm."""
    modules = [(name, module) for name, module in network.named_modules() if not list(module.children())]
    behind = [module for _, module in modules[1:]] + [nn.Identity()]
    return {
        name: (module, after if isinstance(after, nn.BatchNorm2d) else module)
        for (name, module), after in zip(modules, behind, strict=True)
        if isinstance(module, nn.Conv2d)
    }


def excite(
    network: nn.Module,
    layer: str,
    channels: Sequence[str],
    count: int | None = None,
    steps: int = STEPS,
    seed: int = 0,
    tell: Tell = lambda n: None,
) -> Filters:
    """Seek the inputs that most excite the first `count` filters of a layer; `tell` hears of each of the `steps`.

    Raises `ExploreError` when there is no such layer.
    """
    layers = layers_of(network)
    if layer not in layers:
        raise ExploreError(f"no layer is called {layer!r}: choose from {', '.join(layers)}")
    convolution, answering = layers[layer]
    n = min(count or convolution.out_channels, convolution.out_channels)
    random = torch.Generator().manual_seed(seed)
    noise = (0.5 + 0.1 * torch.randn(n, N_CHANNELS, SIZE, SIZE, generator=random)).clamp(0, 1)
    inputs = noise
    with _Listener(network, answering) as listener:
        for step in range(steps):
            blurred = step % BLUR_EVERY == BLUR_EVERY - 1 and step < steps - BLUR_EVERY
            inputs = _ascend(listener, inputs, blurred, random)
            tell(1)
        with torch.no_grad():
            before, after = listener.own(noise), listener.own(inputs)
    alive = (after.amax((1, 2)) > 0).numpy()
    found = inputs.numpy()
    strips = _strips(layer, found, alive, convolution, channels)
    return Filters(layer, found, _means(before), _means(after), alive, strips)


def _means(answers: Tensor) -> Floats:
    means: Floats = answers.mean((1, 2)).double().numpy()
    return means


class _Listener:
    """Runs a network as far as one of its modules, and returns what that gives."""

    class _HeardError(Exception):
        """Enough of the network has run."""

    def __init__(self, network: nn.Module, module: nn.Module) -> None:
        self._network, self._answer = network, torch.empty(0)
        self._hook = module.register_forward_hook(self._hear)

    def _hear(self, module: nn.Module, given: tuple[Tensor, ...], answer: Tensor) -> None:
        self._answer = answer
        raise self._HeardError

    def own(self, inputs: Tensor) -> Tensor:
        """Return the answer of filter i to input i: [n, 12, S, S] -> [n, h, w]."""
        with contextlib.suppress(self._HeardError):
            self._network(inputs)
        numbers = torch.arange(len(inputs))
        return self._answer[numbers, numbers].float()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._hook.remove()


def _ascend(listener: _Listener, inputs: Tensor, blurred: bool, random: torch.Generator) -> Tensor:
    """Go one step up: shift a little, follow the gradient, decay to the middle, now and then blur."""
    shift = torch.randint(-SHIFT_PX, SHIFT_PX + 1, (2,), generator=random).tolist()
    moved = inputs.roll(shift, (2, 3)).requires_grad_()
    (gradient,) = torch.autograd.grad(listener.own(moved).mean((1, 2)).sum(), moved)
    length = gradient.square().mean((1, 2, 3), keepdim=True).sqrt().clamp_min(1e-12)
    with torch.no_grad():
        up = moved + RATE * gradient / length
        up = up + DECAY * (0.5 - up)
        if blurred:
            up = F.avg_pool2d(F.pad(up, (1, 1, 1, 1), mode="replicate"), 3, 1)
        return up.clamp(0, 1).roll([-part for part in shift], (2, 3))


def _strips(
    layer: str,
    inputs: NDArray[np.float32],
    alive: NDArray[np.bool_],
    convolution: nn.Conv2d,
    channels: Sequence[str],
) -> Strips:
    cells = [
        _cell(number, one, bool(lives), channels) for number, (one, lives) in enumerate(zip(inputs, alive, strict=True))
    ]
    rows = [Row("", cells[start : start + COLUMNS]) for start in range(0, len(cells), COLUMNS)]
    kernel = "x".join(map(str, convolution.kernel_size))
    return Strips(
        f"What excites the filters of layer {layer}",
        f"{len(inputs)} of {convolution.out_channels} filters ({kernel}). Each picture was sought by gradient ascent "
        "from noise; red, green and blue are the three channels that changed most, in the order below it, each with "
        f"its histogram equalised. {int((~alive).sum())} are dead: nothing was found that switches them on.",
        rows,
        0.0,
        channels,
    )


def _cell(number: int, one: NDArray[np.float32], alive: bool, channels: Sequence[str]) -> Cell:
    changed = np.abs(one - 0.5).mean((1, 2))
    strongest = np.argsort(-changed, kind="stable")[:3]
    picture = np.stack([_equalised(one[channel]) for channel in strongest], axis=2)
    tile = (255 * one).round().astype(np.uint8)
    twice = 128 // SIZE
    return Cell(
        picture.repeat(twice, 0).repeat(twice, 1),
        f"{number}" + ("" if alive else " dead"),
        [channels[channel].split(" and ")[0].split(",")[0] for channel in strongest.tolist()],
        tile=tile.repeat(twice, 1).repeat(twice, 2),
    )


def _equalised(values: NDArray[np.float32]) -> Pixels:
    """Return values as grey levels of which there are equally many each; equal values stay equal."""
    _, number, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - counts / 2
    grey: Pixels = (255 * ranks / values.size).astype(np.uint8)[number].reshape(values.shape)
    return grey
