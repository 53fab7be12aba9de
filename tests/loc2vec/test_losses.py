import math

import pytest
import torch
from torch import Tensor

from loc2vec.losses import distance, soft_pn, soft_pn_in_batch


def vectors(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def naive_distance(a: Tensor, b: Tensor) -> float:
    return math.sqrt(sum((x - y) ** 2 for x, y in zip(a.tolist(), b.tolist(), strict=True)))


def published(a: Tensor, p: Tensor, n: Tensor) -> float:
    """The ratio form of the paper, d+^2 + (1 - d-)^2."""
    positive = math.exp(naive_distance(a, p))
    negative = math.exp(min(naive_distance(a, n), naive_distance(p, n)))
    d_plus, d_minus = positive / (positive + negative), negative / (positive + negative)
    return d_plus**2 + (1 - d_minus) ** 2


def test_equals_the_published_form_triplet_by_triplet():
    a, p, n = vectors(30, seed=1), vectors(30, seed=2), vectors(30, seed=3)
    expected = sum(published(*triplet) for triplet in zip(a, p, n, strict=True)) / 30
    assert soft_pn(a, p, n).item() == pytest.approx(expected, rel=1e-9)


def test_takes_the_nearer_of_anchor_and_positive():
    a, p = torch.tensor([[0.0, 0.0]]), torch.tensor([[1.0, 0.0]])
    near_a, near_p = torch.tensor([[-0.5, 0.0]]), torch.tensor([[1.5, 0.0]])
    expected = 2 / (1 + math.exp(0.5 - 1)) ** 2
    assert soft_pn(a, p, near_a).item() == pytest.approx(expected, rel=1e-5)
    assert soft_pn(a, p, near_p).item() == pytest.approx(expected, rel=1e-5)


def test_good_triplets_are_cheaper_than_swapped_ones():
    a = vectors(20)
    p, n = a + 0.1 * vectors(20, seed=1), a + 3 * vectors(20, seed=2)
    assert soft_pn(a, p, n) < 0.5 < soft_pn(a, n, p)


def test_one_point_for_all_costs_a_half():
    a = torch.zeros(4, 5)
    assert soft_pn(a, a, a).item() == pytest.approx(0.5)
    assert soft_pn_in_batch(a, a[:, None], torch.eye(4, dtype=torch.bool)).item() == pytest.approx(0.5)


@pytest.mark.parametrize("negatives", ["all", "hardest"])
def test_gradients_flow_and_are_finite_where_points_coincide(negatives):
    anchors = vectors(6)
    positives = anchors[:, None] + vectors(6, 3, seed=1)
    positives[0, 0] = anchors[0]
    anchors[2] = anchors[1]
    anchors.requires_grad_()
    positives.requires_grad_()
    soft_pn_in_batch(anchors, positives, torch.eye(6, dtype=torch.bool), negatives).backward()
    for gradient in (anchors.grad, positives.grad):
        assert gradient is not None
        assert gradient.isfinite().all()
        assert gradient.abs().sum() > 0


def test_following_the_gradient_lowers_the_loss():
    anchors, positives = vectors(6).requires_grad_(), vectors(6, 3, seed=1).requires_grad_()
    optimizer = torch.optim.SGD([anchors, positives], lr=1.0)
    losses = []
    for _ in range(50):
        loss = soft_pn_in_batch(anchors, positives, torch.eye(6, dtype=torch.bool))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]


@pytest.mark.parametrize(("positive", "negative", "expected"), [(1e4, 0.0, 2.0), (0.0, 1e4, 0.0)])
def test_does_not_overflow(positive, negative, expected):
    a = torch.zeros(1, 2, requires_grad=True)
    loss = soft_pn(a, torch.tensor([[positive, 0.0]]), torch.tensor([[negative, 0.0]]))
    assert loss.item() == pytest.approx(expected)
    loss.backward()
    assert a.grad is not None
    assert a.grad.isfinite().all()


def naive_in_batch(anchors: Tensor, positives: Tensor, overlapping: Tensor, negatives: str) -> float:
    losses = []
    for i, (anchor, pairs) in enumerate(zip(anchors, positives, strict=True)):
        others = [n for j, n in enumerate(anchors) if not overlapping[i, j]]
        for p in pairs:
            each = [published(anchor, p, n) for n in others]
            if negatives == "all":
                losses += each
            elif each:
                losses.append(max(each))  # the nearest negative costs most
    return sum(losses) / len(losses)


@pytest.mark.parametrize("negatives", ["all", "hardest"])
def test_batch_equals_a_naive_loop(negatives):
    anchors, positives = vectors(7), vectors(7, 3, seed=1)
    overlapping = torch.eye(7, dtype=torch.bool)
    overlapping[1, 4] = overlapping[4, 1] = True
    overlapping[3] = overlapping[:, 3] = True  # this place has no negative: its pairs are left out
    result = soft_pn_in_batch(anchors, positives, overlapping, negatives)
    assert result.item() == pytest.approx(naive_in_batch(anchors, positives, overlapping, negatives), rel=1e-9)


def test_overlapping_places_do_not_repel():
    anchors = vectors(4).requires_grad_()
    overlapping = torch.eye(4, dtype=torch.bool)
    overlapping[0] = overlapping[:, 0] = True
    soft_pn_in_batch(anchors, vectors(4, 2, seed=1), overlapping).backward()
    assert anchors.grad is not None
    assert not anchors.grad[0].any()
    assert anchors.grad[1:].any(1).all()


def test_a_batch_that_overlaps_wholly_is_refused():
    with pytest.raises(ValueError, match="none of the 3 places"):
        soft_pn_in_batch(vectors(3), vectors(3, 2), torch.ones(3, 3, dtype=torch.bool))


def test_vectors_that_are_not_finite_show_in_the_loss():
    anchors = vectors(4)
    anchors[0, 0] = math.nan
    assert soft_pn_in_batch(anchors, vectors(4, 2), torch.eye(4, dtype=torch.bool)).isnan()


def test_distance_is_exact_for_points_far_from_the_origin():
    a = torch.tensor([[1000.0, 0.0]])
    assert distance(a, a + 0.001).item() == pytest.approx(0.001 * math.sqrt(2), rel=0.1)
    assert distance(a, a).item() == pytest.approx(0, abs=1e-5)
