"""Where and how networks run: device, precision, batches of tiles."""

import ctypes
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from torch import Tensor, nn

from loc2vec.errors import DeviceError
from loc2vec.model.arrays import Pixels, Vectors
from tiling.machine import cpu_count, one_thread

Encode = Callable[[Pixels], Vectors]  # tiles [n, C, H, W] -> [n, D]

# Tiles encoded together. Each takes 9 MB: on the CPU, 64 are at most 4 % faster than 16 and take
# 430 MB more.
BATCH_SIZE, BATCH_SIZE_CPU = 64, 16
M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8  # malloc.h

# PyTorch counts the CPUs of the machine, also where a quota leaves fewer.
if torch.get_num_threads() > (cpus := cpu_count()):
    torch.set_num_threads(cpus)
# A forked process has no OpenMP threads: with more than one it would wait for its parent's forever.
os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))


def pick_device(name: str) -> torch.device:
    """Return the device called "auto", "cpu", "cuda" or "cuda:1"; `DeviceError` without it."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # unknown name; torch built without CUDA
        raise DeviceError(
            f"device {name!r} is not usable here ({_first_line(error)}): try cpu"
        ) from error
    return device


def batch_size_on(device: torch.device) -> int:
    """Return how many tiles to encode together on a device."""
    return BATCH_SIZE_CPU if device.type == "cpu" else BATCH_SIZE


def bfloat16_is_fast(device: torch.device) -> bool:
    """Tell whether the device has bfloat16 instructions; without them a CPU is slow at it."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def mixed_precision(device: torch.device) -> AbstractContextManager[object]:
    """Return the autocast of training: bfloat16 where it is fast, else float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=bfloat16_is_fast(device))


def keep_freed_memory(device: torch.device) -> None:
    """Make glibc keep freed memory instead of returning it to the system; for networks on a CPU.

    Otherwise large tensors are mapped anew every time: page faults took 40 % of a training step and
    50 % of encoding. All threads share one arena, or each would keep as much as it ever needed.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # absent in other C libraries
    if device.type == "cpu" and mallopt is not None:
        mallopt(M_ARENA_MAX, 1)
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, -1)


def to_device(tiles: Pixels, device: torch.device) -> Tensor:
    """Copy tiles uint8 [n, C, H, W] to a device."""
    writable = np.require(tiles, requirements=["C", "W"])  # torch shares no other memory
    return torch.from_numpy(writable).to(device, non_blocking=True)


@torch.inference_mode()
def encode_tiles(model: nn.Module, tiles: Pixels, batch_size: int | None = None) -> Vectors:
    """Encode tiles uint8 [n, C, H, W] as float32 [n, D] with a model in eval mode.

    One tile takes one thread: several wait longer for each other than they compute.
    """
    device = next(model.parameters()).device
    at_once = batch_size or batch_size_on(device)
    threads = one_thread(torch.get_num_threads, torch.set_num_threads)
    with threads if len(tiles) == 1 else nullcontext():
        chunks = [
            model(to_device(tiles[start : start + at_once], device)).float().cpu()
            for start in range(0, max(len(tiles), 1), at_once)
        ]
    return torch.cat(chunks).numpy()


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0]
