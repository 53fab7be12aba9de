"""Training by several processes, one a device, as `torchrun` starts them.

Each process takes its part of the places of every batch. Batch statistics and gradients are summed
over the processes, and every process computes the loss of all vectors. So the number of processes
changes how long a run takes, but not its results, except for the rounding of sums.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Self, cast

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from loc2vec.encoders.whitening import Whitening
from loc2vec.errors import DeviceError, RunError
from loc2vec.model.compute import pick_device

PATIENCE = timedelta(hours=1)  # the others wait while the first process evaluates


@dataclass(frozen=True)
class World:
    """One process of a run: number `rank` of `size`, with `of_host` of them on this machine."""

    rank: int = 0
    size: int = 1
    of_host: int = 1

    @classmethod
    def of_environment(cls) -> Self:
        """Return the position that `torchrun` gave this process; without it, rank 0 of 1."""
        if not dist.is_torchelastic_launched():
            return cls()
        return cls(*(int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")))

    @property
    def leads(self) -> bool:
        """Tell whether this is the process that writes files and messages."""
        return self.rank == 0

    def part(self, n: int) -> slice:
        """Return which of n rows belong to this process; n is a multiple of `size`."""
        share = n // self.size
        return slice(self.rank * share, (self.rank + 1) * share)

    def gather(self, rows: Tensor) -> Tensor:
        """Return the rows of all processes, by rank; gradients flow to this process's own rows."""
        if self.size == 1:
            return rows
        whole = [torch.empty_like(rows) for _ in range(self.size)]
        dist.all_gather(whole, rows.detach())
        whole[self.rank] = rows
        return torch.cat(whole)

    def sum_gradients(self, network: nn.Module) -> None:
        """Replace the gradients by their sum over all processes, sent as one message.

        `DistributedDataParallel` overlaps sending with the backward pass, which pays for large
        networks only. It also keeps the process group alive, whose threads then abort the process
        at its end.
        """
        if self.size == 1:
            return
        gradients = [
            parameter.grad for parameter in network.parameters() if parameter.grad is not None
        ]
        whole = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(whole)
        parts = torch.split(whole, [gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view(gradient.shape))

    def wait(self) -> None:
        """Wait until all processes have reached this point."""
        if self.size > 1:
            dist.barrier()

    def any(self, flag: bool, device: torch.device) -> bool:
        """Tell whether the flag is set in any process."""
        if self.size == 1:
            return flag
        flags = torch.tensor(float(flag), device=device)
        dist.all_reduce(flags, dist.ReduceOp.MAX)
        return bool(flags.item())


@contextmanager
def joined(device: str) -> Iterator[tuple[World, torch.device]]:
    """Join the processes that `torchrun` started, if any; give this one's position and device.

    Raises `DeviceError` when there are fewer GPUs than processes.
    """
    world, where = World.of_environment(), pick_device(device)
    if world.size == 1:
        yield world, where
        return
    on_gpu = where.type == "cuda"
    if on_gpu:
        if world.of_host > torch.cuda.device_count() or where.index is not None:
            raise DeviceError(
                f"{world.of_host} processes need as many GPUs, "
                f"here are {torch.cuda.device_count()}: "
                "lower --nproc-per-node, and leave the GPU's number out of --device"
            )
        where = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(where)
    dist.init_process_group(
        "nccl" if on_gpu else "gloo", timeout=PATIENCE, device_id=where if on_gpu else None
    )
    try:
        yield world, where
        world.wait()  # for the first one to have written
    finally:
        dist.destroy_process_group()


def use_whole_batches(network: nn.Module, world: World) -> None:
    """Make batch norms and whitening use the whole batch, instead of this process's part.

    Raises `RunError` for other modules whose results depend on the batch or on random numbers.
    """
    if world.size == 1:
        return
    for name, module in network.named_children():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            setattr(network, name, WholeBatchNorm(module, world))
        elif isinstance(module, Whitening):
            module.share(_sum, world.size)
        elif isinstance(module, nn.modules.batchnorm._BatchNorm | nn.modules.dropout._DropoutNd):
            raise RunError(
                f"{type(module).__name__} cannot be trained by several processes: use one"
            )
        else:
            use_whole_batches(module, world)


class _Sum(torch.autograd.Function):
    """The sum over the processes; its gradient is the sum of the processes' gradients."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        dist.all_reduce(total)
        return total


def _sum(values: Tensor) -> Tensor:
    """Sum values over the processes."""
    return cast(Tensor, _Sum.apply(values))  # type: ignore[no-untyped-call]


class WholeBatchNorm(nn.Module):
    """Batch normalisation by the mean and the variance of the whole batch.

    `nn.SyncBatchNorm` does the same, but only on GPUs; the tests run on CPUs.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, norm: nn.BatchNorm1d | nn.BatchNorm2d, world: World) -> None:
        super().__init__()
        self.weight, self.bias = norm.weight, norm.bias  # so that the names of the parameters stay
        for name, buffer in norm.named_buffers():
            self.register_buffer(name, buffer)
        self.eps, self.momentum, self.world = norm.eps, float(norm.momentum or 0), world

    def forward(self, x: Tensor) -> Tensor:
        """Normalise x [n, C] or [n, C, H, W]; sums are float32 where x is bfloat16."""
        if not self.training:
            return F.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        axes = [axis for axis in range(x.dim()) if axis != 1]
        shape = [1, -1] + [1] * (x.dim() - 2)
        count = x.numel() // x.shape[1] * self.world.size
        values = x.to(torch.promote_types(x.dtype, torch.float32))
        mean = _sum(values.sum(axes)) / count
        centred = values - mean.view(shape)
        variance = _sum(centred.square().sum(axes)) / count
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        scale = self.weight * (variance + self.eps).rsqrt()
        whole: Tensor = centred * scale.view(shape) + self.bias.view(shape)
        return whole.to(x.dtype)
