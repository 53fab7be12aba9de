"""The contrastive losses, SoftPN and NCE: pull the views of a place together, push others away.

A batch is P places with V views each: the anchor and its positives. Any two views of a place are a
pair (a, p). Every view of another place is a negative n. D is the Euclidean distance.

SoftPN is the loss of Balntas, Johns, Tang, Mikolajczyk: PN-Net: Conjoined Triple Deep Network for
Learning Local Image Descriptors, arXiv 1601.05030. With D* = min(D(a, n), D(p, n)),

    d+ = e^D(a,p) / (e^D(a,p) + e^D*),   d- = e^D* / (e^D(a,p) + e^D*),
    loss = d+^2 + (1 - d-)^2 = 2 sigmoid(D(a,p) - D*)^2.

The last form does not overflow. In a batch, D* is the soft minimum over all negatives of both
views, -log(mean(e^-D)). The hard minimum of that many distances would shrink all distances.

NCE is the cross-entropy of choosing p among p and the negatives of a by e^(-2 D(a, .)); van den
Oord, Li, Vinyals: Representation Learning with Contrastive Predictive Coding, arXiv 1807.03748.
"""

from collections.abc import Callable
from math import log
from typing import NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from loc2vec.train.batches import Batch
from loc2vec.train.objectives.objective import Objective, Outcome
from loc2vec.train.run import Run

EPSILON = 1e-12  # keeps the gradient of the square root finite between equal points
NCE_SHARPNESS = 2.0
PROJECTOR_WIDTH, PROJECTED = 128, 32
DIRECT = 0.2  # weight of the loss of the vectors themselves, beside that of their projection
FAR = 1e9  # the distance of a view that is no negative: its share e^-D is 0


def distances_among(vectors: Tensor) -> Tensor:
    """Return the Euclidean distances of all pairs of vectors: [n, D] -> [n, n].

    A product of matrices gives them 10 times as fast as differences do. It errs by about 1e-3 of
    the spread of the vectors where two are equal, as on the diagonal.
    """
    centred = vectors - vectors.mean(0).detach()  # exact also far from the origin
    square = centred.square().sum(-1)
    apart = square[:, None] + square - 2 * centred @ centred.T
    return apart.clamp(min=EPSILON).sqrt()


def soft_pn_of_distances(positive: Tensor, nearest_negative: Tensor) -> Tensor:
    """Return SoftPN of D(a, p) and D*, two tensors of the same shape."""
    return 2 * torch.sigmoid(positive - nearest_negative).square()


class Pairs(NamedTuple):
    """The pairs of a batch: each place has Q = V (V - 1) / 2.

    `positive` [P, Q]: D(a, p).
    `negative` [P, V, P * V]: distance of each view to every view of the batch, or `FAR`.
    `first`, `second` int64 [Q]: the two views of a pair.
    `weight` [P]: 1, or 0 for a place without negatives.
    """

    positive: Tensor
    negative: Tensor
    first: Tensor
    second: Tensor
    weight: Tensor

    def mean(self, values: Tensor) -> Tensor:
        """Return the mean of values [P, Q] over the pairs with negatives; NaN if there are none."""
        return (values.mean(1) * self.weight).sum() / self.weight.sum()


def pairs_of(views: Tensor, overlapping: Tensor) -> Pairs:
    """Return the pairs of views [P, V, D].

    Two places are no negatives of each other where `overlapping` bool [P, P] is true.
    """
    places, per_place, _ = views.shape
    flat = views.flatten(0, 1)
    among = distances_among(flat).view(places, per_place, places, per_place)
    negative = among.masked_fill(overlapping[:, None, :, None], FAR).flatten(2)
    own = among.diagonal(dim1=0, dim2=2).permute(2, 0, 1)  # [P, V, V]
    first, second = torch.triu_indices(per_place, per_place, 1, device=views.device)
    weight = (~overlapping).any(1).to(views.dtype)
    return Pairs(own[:, first, second], negative, first, second, weight)


def soft_pn(pairs: Pairs) -> Tensor:
    """Return the mean SoftPN of the pairs, with the soft minimum over their negatives as D*."""
    many = (pairs.negative < FAR).sum(-1).clamp(min=1).to(pairs.negative.dtype)
    near = torch.logsumexp(-pairs.negative, -1) - many.log()  # [P, V]
    nearest = log(2) - torch.logaddexp(near[:, pairs.first], near[:, pairs.second])  # [P, Q]
    return pairs.mean(soft_pn_of_distances(pairs.positive, nearest))


def nce(pairs: Pairs) -> Tensor:
    """Return the mean NCE of the pairs; each view of a pair looks for the other."""
    among = torch.logsumexp(-NCE_SHARPNESS * pairs.negative, -1)  # [P, V]
    apart = NCE_SHARPNESS * pairs.positive
    return pairs.mean(
        (F.softplus(apart + among[:, pairs.first]) + F.softplus(apart + among[:, pairs.second])) / 2
    )


LOSSES: dict[str, Callable[[Pairs], Tensor]] = {"softpn": soft_pn, "nce": nce}
NO_LOSS = "none"  # no contrastive objective


class Contrastive(Objective):
    """A contrastive loss on the vectors, or mostly on a projection of them.

    With a `projector`, the vectors keep what tells kinds of places apart, although the loss asks
    only which place it is. It is thrown away after training. Chen, Kornblith, Norouzi, Hinton:
    A Simple Framework for Contrastive Learning of Visual Representations, ICML 2020,
    arXiv 2002.05709.
    """

    name = "contrastive"

    def __init__(self, loss: str, projector: nn.Module | None = None) -> None:
        super().__init__()
        self.loss = LOSSES[loss]
        self.projector = projector

    @classmethod
    def of(cls, run: Run, size: int) -> Self:
        """Return the objective of a run's `loss`, with a fresh projector if it has one."""
        config = run.config
        return cls(config.loss, projector_of(size) if config.projector else None)

    def forward(self, vectors: Tensor, batch: Batch) -> Outcome:
        """Return the loss, mean distances, and how many pairs are nearer than all negatives."""
        pairs = pairs_of(vectors, batch.overlapping)
        loss = self.loss(pairs)
        if self.projector is not None:
            projected = self.projector(vectors.flatten(0, 1)).unflatten(0, vectors.shape[:2])
            loss = self.loss(pairs_of(projected, batch.overlapping)) + DIRECT * loss
        with torch.no_grad():
            nearest = pairs.negative.amin(-1)[:, pairs.first]  # [P, Q], of the first view
            metrics = {
                "positive_distance": pairs.mean(pairs.positive),
                "nearest_negative_distance": pairs.mean(nearest),
                "easy_share": pairs.mean((pairs.positive < nearest).float()),
            }
        return Outcome(loss, metrics)


def projector_of(dim: int) -> nn.Module:
    """Return a fresh projector: [n, dim] -> [n, 32]."""
    return nn.Sequential(
        nn.Linear(dim, PROJECTOR_WIDTH),
        nn.BatchNorm1d(PROJECTOR_WIDTH),
        nn.ReLU(),
        nn.Linear(PROJECTOR_WIDTH, PROJECTED),
    )
