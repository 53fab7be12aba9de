"""Classifiers of sequences of vectors: an LSTM and a transformer encoder."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence
from torch.optim import AdamW
from torch.optim.lr_scheduler import CosineAnnealingLR

from loc2vec.trips.trip import Sequences
from tiling.machine import one_thread

WIDTH = 32
EPOCHS, BATCH = 40, 64
LEARNING_RATE, WEIGHT_DECAY = 3e-3, 1e-2
DROPOUT = 0.2


class LSTM(nn.Module):
    """A bidirectional LSTM (Hochreiter and Schmidhuber 1997); two last states give the class."""

    def __init__(self, dim: int, classes: int) -> None:
        super().__init__()
        self.read = nn.LSTM(dim, WIDTH, batch_first=True, bidirectional=True)
        self.drop = nn.Dropout(DROPOUT)
        self.tell = nn.Linear(2 * WIDTH, classes)

    def forward(self, vectors: Tensor, lengths: Tensor) -> Tensor:
        """Return the logits: float32 [n, T, D], int64 [n] -> [n, K]."""
        packed = pack_padded_sequence(vectors, lengths, batch_first=True, enforce_sorted=False)
        _, (last, _) = self.read(packed)  # [2, n, WIDTH]
        logits: Tensor = self.tell(self.drop(last.transpose(0, 1).flatten(1)))
        return logits


class Transformer(nn.Module):
    """Two pre-norm encoder layers with sine/cosine positions; their mean gives the class.

    Vaswani et al., arXiv 1706.03762.
    """

    def __init__(self, dim: int, classes: int) -> None:
        super().__init__()
        self.widen = nn.Linear(dim, WIDTH)
        layer = nn.TransformerEncoderLayer(
            WIDTH, 4, 2 * WIDTH, DROPOUT, batch_first=True, norm_first=True
        )
        self.read = nn.TransformerEncoder(layer, 2, nn.LayerNorm(WIDTH), enable_nested_tensor=False)
        self.tell = nn.Linear(WIDTH, classes)

    def forward(self, vectors: Tensor, lengths: Tensor) -> Tensor:
        """Return the logits: float32 [n, T, D], int64 [n] -> [n, K]."""
        absent = torch.arange(vectors.shape[1]) >= lengths[:, None]  # [n, T]
        points = self.read(
            self.widen(vectors) + positions(vectors.shape[1]), src_key_padding_mask=absent
        )
        present = ~absent[..., None]
        logits: Tensor = self.tell((points * present).sum(1) / present.sum(1))
        return logits


def positions(count: int) -> Tensor:
    """Return the sines and cosines of the positions 0..count-1: float32 [count, WIDTH]."""
    rate = 10_000 ** (-torch.arange(0, WIDTH, 2) / WIDTH)
    angle = torch.arange(count)[:, None] * rate
    return torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1)


READERS: dict[str, Callable[[int, int], nn.Module]] = {"LSTM": LSTM, "transformer": Transformer}


@dataclass(frozen=True, slots=True)
class Reader:
    """A classifier to fit: its kind in `READERS`, how many classes K, the seed of its weights."""

    kind: str
    classes: int
    seed: int

    def fit_predict(
        self, seen: Sequences, target: NDArray[np.int64], asked: Sequences
    ) -> NDArray[np.float64]:
        """Fit on the trips `seen`, and return the probability of each class of others: [n, K].

        Vectors are standardised by the points of `seen`. Rare classes weigh more, so all count
        alike. The number of epochs is fixed: no test trip chooses it.
        """
        mean, spread = seen.statistics()
        vectors, lengths = seen.standardised(mean, spread), torch.from_numpy(seen.lengths)
        model = self._fit(vectors, lengths, torch.from_numpy(target)).eval()
        with torch.inference_mode():
            logits = model(asked.standardised(mean, spread), torch.from_numpy(asked.lengths))
        probability: NDArray[np.float64] = logits.softmax(1).double().numpy()
        return probability

    def _fit(self, vectors: Tensor, lengths: Tensor, truth: Tensor) -> nn.Module:
        """Train on float32 [n, T, D], int64 [n], int64 [n]; the caller's random state stays."""
        weight = 1 / torch.bincount(truth, minlength=self.classes).clamp(min=1)
        # The steps are so small that more threads would only wait for each other.
        with (
            torch.random.fork_rng(devices=[]),
            one_thread(torch.get_num_threads, torch.set_num_threads),
        ):
            torch.manual_seed(self.seed)
            model = READERS[self.kind](vectors.shape[2], self.classes)
            steps = EPOCHS * -(-len(vectors) // BATCH)
            optimizer = AdamW(model.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
            schedule = CosineAnnealingLR(optimizer, steps)
            for _ in range(EPOCHS):
                for rows in torch.split(torch.randperm(len(vectors)), BATCH):
                    loss = F.cross_entropy(model(vectors[rows], lengths[rows]), truth[rows], weight)
                    optimizer.zero_grad()
                    loss.backward()  # type: ignore[no-untyped-call]
                    optimizer.step()
                    schedule.step()
        return model
