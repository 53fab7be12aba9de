"""What the filters of a layer look for: the input that excites each most.

It is found from noise by gradient ascent: activation maximisation, Erhan et al. 2009. The
regularisation of Yosinski et al. 2015 (decay, blur) and shifts (Mordvintsev et al. 2015) keep the
picture from being a sum of high frequencies.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from loc2vec.errors import ExploreError
from loc2vec.explore.space import Tell
from loc2vec.model.arrays import Flags, Floats, Pixels
from loc2vec.paper.sheet import Sheet
from loc2vec.paper.strips import Cell, Row, Strips
from tiling.values import N_CHANNELS, TILE_SIZE

SIZE = 64  # pixels a side of the input whose middle is looked at
STEPS, RATE = 80, 0.08
BLUR_EVERY, SHIFT_PX = 8, 3
MUCH_PX = 10  # what a filter sees at once, from which on its input is shifted and blurred
DECAY = 0.002
COLUMNS = 8


@dataclass(frozen=True, eq=False)
class Filters(Sheet):
    """The inputs that excite the filters of a layer most.

    `inputs` float32 [n, 12, S, S] within 0..1, where S is what the layer sees at once. `before`,
    `after` float64 [n]: the answer of each filter to noise and to its input, before it is
    rectified. `alive` bool [n]: whether `after` is above 0. The others are dead: nothing was found
    that switches them on.
    """

    layer: str
    inputs: NDArray[np.float32]
    before: Floats
    after: Floats
    alive: Flags

    @property
    def dead(self) -> int:
        """How many of the filters are dead."""
        return int((~self.alive).sum())


def layers_of(network: nn.Module) -> dict[str, tuple[nn.Conv2d, nn.Module]]:
    """Return the convolutions of a network, the lowest first.

    Each comes with the module whose output is its answer: its batch norm, or itself.
    """
    modules = [
        (name, module) for name, module in network.named_modules() if not list(module.children())
    ]
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
    """Seek the inputs that most excite the first `count` filters of a layer, by default all.

    `tell` hears of each of the `steps`. Raises `ExploreError` when there is no such layer.
    """
    convolution, answering = _layer(network, layer)
    n = min(count or convolution.out_channels, convolution.out_channels)
    random = torch.Generator().manual_seed(seed)
    noise = (0.5 + 0.1 * torch.randn(n, N_CHANNELS, SIZE, SIZE, generator=random)).clamp(0, 1)
    inputs = noise
    with _Listener(network, answering) as listener:
        seen = _seen(listener, noise)
        for step in range(steps):
            blurred = step % BLUR_EVERY == BLUR_EVERY - 1 and step < steps - BLUR_EVERY
            inputs = _ascend(listener, inputs, seen, blurred, random)
            tell(1)
        with torch.no_grad():
            before, after = (listener.own(given).double().numpy() for given in (noise, inputs))
    found = inputs[:, :, seen, seen].numpy()
    alive = after > 0
    about = (
        f"{n} of {convolution.out_channels} filters ({'x'.join(map(str, convolution.kernel_size))})"
    )
    strips = _strips(f"What excites the filters of layer {layer}", about, found, alive, channels)
    return Filters(strips, layer, found, before, after, alive)


def _layer(network: nn.Module, layer: str) -> tuple[nn.Conv2d, nn.Module]:
    layers = layers_of(network)
    if layer not in layers:
        raise ExploreError(f"no layer is called {layer!r}: choose from {', '.join(layers)}")
    return layers[layer]


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
        """Return the answer of filter i to the middle of input i: [n, 12, S, S] -> [n]."""
        with contextlib.suppress(self._HeardError):
            self._network(inputs)
        numbers = torch.arange(len(inputs))
        middle = self._answer.shape[2] // 2
        return self._answer[numbers, numbers, middle, middle].float()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._hook.remove()


def _gradient(listener: _Listener, inputs: Tensor) -> Tensor:
    inputs = inputs.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(listener.own(inputs).sum(), inputs)
    return gradient


def _seen(listener: _Listener, noise: Tensor) -> slice:
    """Return the rows, and columns, of an input that its filter sees: where a gradient reaches."""
    rows = _gradient(listener, noise).abs().amax((0, 1, 3)).nonzero().flatten()
    return slice(int(rows.min()), int(rows.max()) + 1) if len(rows) else slice(None)


def _ascend(
    listener: _Listener, inputs: Tensor, seen: slice, blurred: bool, random: torch.Generator
) -> Tensor:
    """Go one step up: follow the gradient, and decay to the middle.

    Where the filter sees much, the input is shifted a little before, and sometimes blurred after.
    """
    side = inputs[0, 0, seen, seen].shape[0]
    reach = min(SHIFT_PX, side // MUCH_PX)
    shift = torch.randint(-reach, reach + 1, (2,), generator=random).tolist()
    moved = inputs.roll(shift, (2, 3))
    gradient = _gradient(listener, moved)
    length = (
        gradient[:, :, seen, seen].square().mean((1, 2, 3), keepdim=True).sqrt().clamp_min(1e-12)
    )
    up = moved + RATE * gradient / length
    up = up + DECAY * (0.5 - up)
    if blurred and side >= MUCH_PX:
        up = F.avg_pool2d(F.pad(up, (1, 1, 1, 1), mode="replicate"), 3, 1)
    return up.clamp(0, 1).roll([-part for part in shift], (2, 3))


def _strips(
    title: str, about: str, inputs: NDArray[np.float32], alive: Flags, channels: Sequence[str]
) -> Strips:
    cells = [
        _cell(number, one, bool(lives), channels)
        for number, (one, lives) in enumerate(zip(inputs, alive, strict=True))
    ]
    rows = [Row("", cells[start : start + COLUMNS]) for start in range(0, len(cells), COLUMNS)]
    return Strips(
        title,
        f"{about}, which see {inputs.shape[2]} pixels a side. Each picture was sought by gradient "
        "ascent from noise. Red, green and blue are the three channels that changed most, in the "
        "order below it, each histogram equalised. Dead, as nothing switches them on: "
        f"{(~alive).sum()}.",
        rows,
        0.0,
        channels,
    )


def _cell(number: int, one: NDArray[np.float32], alive: bool, channels: Sequence[str]) -> Cell:
    changed = np.abs(one - 0.5).mean((1, 2))
    strongest = np.argsort(-changed, kind="stable")[:3]
    picture = np.stack([_equalised(one[channel]) for channel in strongest], axis=2)
    tile = np.stack([_enlarged((255 * values).round().astype(np.uint8)) for values in one])
    names = [channels[channel].split(" and ")[0].split(",")[0] for channel in strongest.tolist()]
    return Cell(_enlarged(picture), f"{number}" + ("" if alive else " dead"), names, tile=tile)


def _enlarged(picture: Pixels) -> Pixels:
    return np.asarray(
        Image.fromarray(picture).resize((TILE_SIZE, TILE_SIZE), Image.Resampling.NEAREST)
    )


def _equalised(values: NDArray[np.float32]) -> Pixels:
    """Return values as grey levels, each equally often; equal values stay equal."""
    _, number, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - counts / 2
    grey: Pixels = (255 * ranks / values.size).astype(np.uint8)[number].reshape(values.shape)
    return grey
