"""A recurrent reader: LSTMs sweep patches along rows, then columns, then read the rows.

Visin, Kastner, Cho, Matteucci, Courville, Bengio: ReNet: A Recurrent Neural Network Based
Alternative to Convolutional Networks, 2015, arXiv 1505.00393.
"""

from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from loc2vec.encoders.base import STRICT, Count, Options, TileEncoder
from tiling.values import N_CHANNELS

PATCH = 4  # pixels a side
WIDTH = 48  # numbers of a patch


@dataclass(frozen=True, config=STRICT)
class RowLSTMOptions(Options):
    """Options of `rowlstm`: `hidden`, the size of an LSTM's state in each direction."""

    hidden: Count = 64


class RowLSTM(TileEncoder):
    """Three bidirectional LSTMs; the last states of the third one are the features.

    `torch.compile(network)` leaves LSTMs as they are and compiles the rest, with the same results.
    `fullgraph=True` needs `torch._dynamo.config.allow_rnn`.
    """

    def __init__(self, options: RowLSTMOptions) -> None:
        hidden = options.hidden
        super().__init__()
        self.patches = nn.Conv2d(N_CHANNELS, WIDTH, PATCH, stride=PATCH)  # [n, 48, 32, 32]
        self.norm = nn.LayerNorm(WIDTH)
        self.along_rows = nn.LSTM(WIDTH, hidden, batch_first=True, bidirectional=True)
        self.down_columns = nn.LSTM(2 * hidden, hidden, batch_first=True, bidirectional=True)
        self.reader = nn.LSTM(2 * hidden, hidden, batch_first=True, bidirectional=True)
        self.embedding = nn.Linear(2 * hidden, options.dim)  # [n, dim]

    def read(self, x: Tensor) -> Tensor:
        """Return the features of tiles: [n, 12, 128, 128] -> [n, 2 * hidden]."""
        patches = self.norm(self.patches(x).permute(0, 2, 3, 1))  # [n, row, column, 48]
        n, rows, columns, _ = patches.shape
        along = self.along_rows(patches.flatten(0, 1))[0]  # [n * row, column, 2 * hidden]
        # [n * column, row, 2 * hidden]
        turned = along.unflatten(0, (n, rows)).transpose(1, 2).flatten(0, 1)
        # [n, column, row, 2 * hidden]
        down = self.down_columns(turned)[0].unflatten(0, (n, columns))
        last = self.reader(down.mean(1))[1][0]  # of the rows, in order: [2, n, hidden]
        features: Tensor = last.transpose(0, 1).flatten(1)
        return features
