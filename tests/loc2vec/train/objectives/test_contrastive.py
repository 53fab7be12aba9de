import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from loc2vec.train.objectives.contrastive import (
    LOSSES,
    NCE_SHARPNESS,
    Pairs,
    distances_among,
    nce,
    pairs_of,
    soft_pn,
    soft_pn_of_distances,
)

Loss = Callable[[Pairs], Tensor]
BOTH = pytest.mark.parametrize("loss", LOSSES.values(), ids=list(LOSSES))


def vectors(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(
        *shape, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )


def apart(n: int) -> Tensor:
    return torch.eye(n, dtype=torch.bool)


def naive_distance(a: Tensor, b: Tensor) -> float:
    return math.sqrt(sum((x - y) ** 2 for x, y in zip(a.tolist(), b.tolist(), strict=True)))


def published(positive: float, negative: float) -> float:
    """The ratio form of the paper, d+^2 + (1 - d-)^2."""
    e_positive, e_negative = math.exp(positive), math.exp(negative)
    d_plus, d_minus = e_positive / (e_positive + e_negative), e_negative / (e_positive + e_negative)
    return d_plus**2 + (1 - d_minus) ** 2


def naive(loss: str, views: Tensor, overlapping: Tensor) -> float:
    """Both losses as their definitions read, pair by pair."""
    costs = []
    for place, own in enumerate(views):
        negatives = [
            n for other in range(len(views)) if not overlapping[place, other] for n in views[other]
        ]
        if not negatives:
            continue
        for i in range(len(own)):
            for j in range(i):
                positive = naive_distance(own[i], own[j])
                to = [[naive_distance(own[view], n) for n in negatives] for view in (i, j)]
                if loss == "softpn":
                    mean = sum(math.exp(-d) for d in to[0] + to[1]) / len(to[0] + to[1])
                    costs.append(published(positive, -math.log(mean)))
                else:
                    own_share = math.exp(-NCE_SHARPNESS * positive)
                    shares = [
                        own_share / (own_share + sum(math.exp(-NCE_SHARPNESS * d) for d in each))
                        for each in to
                    ]
                    costs.append(-sum(map(math.log, shares)) / 2)
    return sum(costs) / len(costs)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_batch_equals_a_naive_loop(loss: str) -> None:
    views = vectors(6, 4)
    overlapping = apart(6)
    overlapping[1, 4] = overlapping[4, 1] = True
    overlapping[3] = overlapping[:, 3] = True  # this place has no negative: its pairs are left out
    assert LOSSES[loss](pairs_of(views, overlapping)).item() == pytest.approx(
        naive(loss, views, overlapping), rel=1e-9
    )


def test_soft_pn_is_the_published_form() -> None:
    positive, negative = vectors(30, seed=1)[:, 0].exp(), vectors(30, seed=2)[:, 0].exp()
    expected = [published(*pair) for pair in zip(positive.tolist(), negative.tolist(), strict=True)]
    assert soft_pn_of_distances(positive, negative).tolist() == pytest.approx(expected, rel=1e-9)


def test_one_negative_is_its_own_soft_minimum() -> None:
    views = torch.tensor([[[0.0, 0.0], [1.0, 0.0]], [[-0.5, 0.0], [-0.5, 0.0]]])
    near, far = math.exp(-0.5), math.exp(-1.5)
    first = published(1.0, -math.log((near + far) / 2))
    second = published(0.0, -math.log((near + far) / 2))
    assert soft_pn(pairs_of(views, apart(2))).item() == pytest.approx(
        (first + second) / 2, rel=1e-4
    )


@BOTH
def test_places_kept_together_are_cheaper_than_mixed_ones(
    loss: Loss,
) -> None:
    views = 3 * vectors(8)[:, None] + 0.1 * vectors(8, 3, seed=1)
    mixed = views.flatten(0, 1)[
        torch.randperm(24, generator=torch.Generator().manual_seed(0))
    ].unflatten(0, (8, 3))
    assert loss(pairs_of(views, apart(8))) < 0.3 * loss(pairs_of(mixed, apart(8)))


def test_one_point_for_all_costs_a_half_or_the_log_of_the_choices() -> None:
    pairs = pairs_of(torch.zeros(4, 2, 5), apart(4))
    assert soft_pn(pairs).item() == pytest.approx(0.5)
    assert nce(pairs).item() == pytest.approx(math.log(7), rel=1e-4)


@BOTH
def test_gradients_flow_and_are_finite_where_points_coincide(
    loss: Loss,
) -> None:
    views = vectors(6, 4)
    views[0, 1] = views[0, 0]
    views[2] = views[1]
    views.requires_grad_()
    loss(pairs_of(views, apart(6))).backward()
    assert views.grad is not None
    assert views.grad.isfinite().all()
    assert views.grad.abs().sum() > 0


@BOTH
def test_following_the_gradient_lowers_the_loss(loss: Loss) -> None:
    views = vectors(6, 3).requires_grad_()
    optimizer = torch.optim.SGD([views], lr=1.0)
    costs = []
    for _ in range(100):
        cost = loss(pairs_of(views, apart(6)))
        optimizer.zero_grad()
        cost.backward()
        optimizer.step()
        costs.append(cost.item())
    assert costs[-1] < 0.3 * costs[0]


@pytest.mark.parametrize(("positive", "negative", "expected"), [(1e4, 0.0, 2.0), (0.0, 1e4, 0.0)])
def test_soft_pn_does_not_overflow(positive: float, negative: float, expected: float) -> None:
    both = torch.tensor([positive, negative], requires_grad=True)
    loss = soft_pn_of_distances(both[0], both[1])
    assert loss.item() == pytest.approx(expected)
    loss.backward()
    assert both.grad is not None
    assert both.grad.isfinite().all()


@BOTH
def test_far_points_do_not_overflow(loss: Loss) -> None:
    views = (1e4 * vectors(4, 2).float()).requires_grad_()
    cost = loss(pairs_of(views, apart(4)))
    cost.backward()
    assert views.grad is not None
    assert cost.isfinite()
    assert views.grad.isfinite().all()


@BOTH
def test_overlapping_places_do_not_repel(loss: Loss) -> None:
    views = vectors(4, 3).requires_grad_()
    overlapping = apart(4)
    overlapping[0] = overlapping[:, 0] = True
    loss(pairs_of(views, overlapping)).backward()
    assert views.grad is not None
    assert not views.grad[0].any()
    assert views.grad[1:].any(2).all()


@BOTH
def test_a_batch_without_negatives_has_no_loss(loss: Loss) -> None:
    assert loss(pairs_of(vectors(3, 2), torch.ones(3, 3, dtype=torch.bool))).isnan()


@BOTH
def test_vectors_that_are_not_finite_show_in_the_loss(
    loss: Loss,
) -> None:
    views = vectors(4, 2)
    views[0, 0] = math.nan
    assert loss(pairs_of(views, apart(4))).isnan()


def test_distance_is_exact_for_points_far_from_the_origin() -> None:
    a = torch.tensor([1000.0, 0.0])
    found = distances_among(torch.stack([a, a + 0.001, a]))
    assert found[0, 1].item() == pytest.approx(0.001 * math.sqrt(2), rel=0.1)
    assert found[0, 2].item() == pytest.approx(0, abs=1e-5)
