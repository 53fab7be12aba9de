"""Whitening: no correlation in training, the running statistics afterwards."""

import numpy as np
import pytest
import torch
from torch import Tensor

from loc2vec.encoders.whitening import Whitening


def correlated(n: int, seed: int = 0) -> Tensor:
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(n, 4)) @ np.array(
        [[5, 4, 0, 0], [0, 1, 0, 2], [0, 0, 0.1, 0], [0, 0, 0, 3]]
    )
    return torch.from_numpy(np.add(mixed, [10, -3, 0, 1])).float()


def covariance(x: Tensor) -> Tensor:
    return torch.cov(x.T)


def test_a_batch_leaves_without_correlation() -> None:
    white = Whitening(4)(correlated(500))
    torch.testing.assert_close(white.mean(0), torch.zeros(4), atol=1e-5, rtol=0)
    # the third number varies by 0.01 alone: the constant that is added tells
    torch.testing.assert_close(covariance(white)[:2, :2], torch.eye(2), atol=2e-3, rtol=0)
    assert 0.8 < covariance(white)[2, 2] < 1


def test_at_rest_it_whitens_places_that_it_has_not_seen() -> None:
    whitening = Whitening(4, momentum=0.1)
    for seed in range(200):
        whitening(correlated(64, seed))
    whitening.eval()
    white = whitening(correlated(5000, 999))
    torch.testing.assert_close(
        covariance(white), torch.diag(covariance(white).diag()), atol=0.1, rtol=0
    )
    assert (covariance(white).diag() - 1).abs().max() < 0.15


def test_the_first_numbers_are_whitened_as_if_they_were_alone() -> None:
    x = correlated(300)
    torch.testing.assert_close(Whitening(4)(x)[:, :2], Whitening(2)(x[:, :2]))


def test_gradients_are_right() -> None:
    x = correlated(12).double().requires_grad_()
    whitening = Whitening(4).double()
    weights = torch.from_numpy(np.random.default_rng(1).normal(size=(12, 4)))
    assert torch.autograd.gradcheck(lambda x: (whitening(x) * weights).sum(), (x,))


def test_a_constant_number_stays_finite() -> None:
    x = correlated(50)
    x[:, 1] = 7
    x.requires_grad_()
    white = Whitening(4)(x)
    white.square().sum().backward()
    assert white.isfinite().all()
    assert x.grad is not None
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("n", [1, 7])
def test_at_rest_a_vector_does_not_depend_on_its_batch(n: int) -> None:
    whitening = Whitening(4)
    whitening(correlated(64))
    whitening.eval()
    x = correlated(8, 3)
    torch.testing.assert_close(whitening(x)[:n], whitening(x[:n]))
