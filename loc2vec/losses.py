"""SoftPN: the loss that pulls the pictures of one place together and pushes other places away.

Balntas, Johns, Tang, Mikolajczyk: PN-Net: Conjoined Triple Deep Network for Learning Local Image
Descriptors, arXiv 1601.05030. With D the Euclidean distance and D* = min(D(a, n), D(p, n)),

    d+ = e^D(a,p) / (e^D(a,p) + e^D*),   d- = e^D* / (e^D(a,p) + e^D*),
    loss = d+^2 + (1 - d-)^2 = 2 sigmoid(D(a,p) - D*)^2,

and the last form does not overflow.
"""

from typing import Literal

import torch
from torch import Tensor

Negatives = Literal["all", "hardest"]

EPSILON = 1e-12  # keeps the gradient of the square root finite between equal points


def distance(a: Tensor, b: Tensor) -> Tensor:
    """Euclidean distance along the last axis: [..., D], [..., D] -> [...]."""
    return (a - b).square().sum(-1).add(EPSILON).sqrt()


def soft_pn_of_distances(positive: Tensor, nearest_negative: Tensor) -> Tensor:
    """Mean of 2 sigmoid(D(a, p) - D*)^2 over distances of any one shape."""
    return 2 * torch.sigmoid(positive - nearest_negative).square().mean()


def soft_pn(anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """Mean SoftPN of triplets, each [n, D]."""
    nearest = torch.minimum(distance(anchor, negative), distance(positive, negative))
    return soft_pn_of_distances(distance(anchor, positive), nearest)


def triplet_distances(
    anchors: Tensor, positives: Tensor, overlapping: Tensor, negatives: Negatives
) -> tuple[Tensor, Tensor]:
    """Return D(a, p) and D* of every triplet of a batch, each [triplets].

    `anchors` [P, D], `positives` [P, K, D]; the anchors of the other places are the negatives, except
    where `overlapping` bool [P, P] is true (it is on the diagonal). "all" makes a triplet of every
    allowed negative; "hardest" makes one triplet a pair, with D* the least over the allowed negatives.
    Raises `ValueError` when no place has an allowed negative.
    """
    allowed = ~overlapping[:, None, :].expand(-1, positives.shape[1], -1)  # [P, K, P]
    if not allowed.any():
        raise ValueError(f"none of the {len(anchors)} places of the batch has a negative: all overlap")
    to_anchor = distance(anchors[:, None], anchors)[:, None, :]  # [P, 1, P]
    to_positive = distance(positives[:, :, None], anchors)  # [P, K, P]
    nearest = torch.minimum(to_anchor, to_positive)
    if negatives == "hardest":
        nearest = nearest.masked_fill(~allowed, torch.inf).amin(-1, keepdim=True)  # [P, K, 1]
        allowed = allowed.any(-1, keepdim=True)
    pairs = distance(anchors[:, None], positives)[:, :, None].expand_as(nearest)
    return pairs[allowed], nearest[allowed]


def soft_pn_in_batch(anchors: Tensor, positives: Tensor, overlapping: Tensor, negatives: Negatives = "all") -> Tensor:
    """Mean SoftPN over the triplets of a batch; arguments as in `triplet_distances`."""
    return soft_pn_of_distances(*triplet_distances(anchors, positives, overlapping, negatives))
