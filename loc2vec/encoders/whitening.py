"""Whitening: vectors whose numbers have variance 1 and no correlation over the places.

Huang, Yang, Lang, Deng: Decorrelated Batch Normalization, CVPR 2018, arXiv 1804.08450; here with
the triangular root of the covariance, whose gradient is finite where eigenvalues are equal. So the
Euclidean distance weighs all directions that the training places show alike.
"""

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

EPSILON = 1e-3  # added to the variances: a number that is constant in a batch stays small


class Whitening(nn.Module):
    """Whitens vectors [n, D]: by their own batch in training, by running statistics otherwise."""

    mean: Tensor  # [D]
    covariance: Tensor  # [D, D]
    matrix: Tensor  # [D, D], by which centred vectors are multiplied

    def __init__(self, dim: int, momentum: float = 0.02) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("covariance", torch.eye(dim))
        self.register_buffer("matrix", torch.eye(dim))
        self.total: Callable[[Tensor], Tensor] = lambda part: part
        self.processes = 1

    def share(self, total: Callable[[Tensor], Tensor], processes: int) -> None:
        """Take the statistics over several processes; `total` sums a tensor over them."""
        self.total, self.processes = total, processes

    def forward(self, x: Tensor) -> Tensor:
        """Return whitened vectors: float32 [n, D] -> float32 [n, D]."""
        if not self.training:
            return (x - self.mean) @ self.matrix.T
        count = len(x) * self.processes
        mean = self.total(x.sum(0)) / count
        centred = x - mean
        covariance = self.total(centred.T @ centred) / (count - 1)
        with torch.no_grad():
            self.mean.lerp_(mean, self.momentum)
            self.covariance.lerp_(covariance, self.momentum)
            self.matrix.copy_(inverse_root(self.covariance))
        return centred @ inverse_root(covariance).T


def inverse_root(covariance: Tensor) -> Tensor:
    """Return the inverse L^-1 of the triangular root of a covariance L L^T: [D, D]."""
    identity = torch.eye(len(covariance), dtype=covariance.dtype, device=covariance.device)
    # Without raising: a batch that is not finite is skipped by its loss.
    root, _ = torch.linalg.cholesky_ex(covariance + EPSILON * identity)
    return cast(Tensor, torch.linalg.solve_triangular(root, identity, upper=False))
