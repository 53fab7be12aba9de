"""Residual blocks with squeeze and excitation: the whole tile decides the weights of channels.

Hu, Shen, Sun: Squeeze-and-Excitation Networks, CVPR 2018, arXiv 1709.01507.
"""

from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from loc2vec.encoders.base import LEAK, STRICT, Count
from loc2vec.encoders.resnet import ResNet, ResNetOptions


@dataclass(frozen=True, config=STRICT)
class SEResNetOptions(ResNetOptions):
    """Options of `seresnet`: those of `resnet`, and `r`, the reduction of the squeezed channels."""

    r: Count = 8


class SEResNet(ResNet):
    """The residual network with a squeeze-and-excitation gate in every block."""

    def __init__(self, options: SEResNetOptions) -> None:
        super().__init__(options, lambda width: SqueezeExcitation(width, options.r))


class SqueezeExcitation(nn.Module):
    """Multiply each channel by a weight between 0 and 1: [n, C, H, W] -> the same shape."""

    def __init__(self, width: int, r: int) -> None:
        super().__init__()
        squeezed = max(width // r, 1)
        self.weigh = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),  # [n, C, 1, 1]
            nn.Conv2d(width, squeezed, 1),  # [n, C / r, 1, 1]
            nn.LeakyReLU(LEAK),
            nn.Conv2d(squeezed, width, 1),  # [n, C, 1, 1]
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the weighted channels."""
        weighed: Tensor = x * self.weigh(x)
        return weighed
