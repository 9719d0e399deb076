"""Push-pull inhibition: a simple cell is inhibited by what its opposite would answer.

After Strisciuglio, Lopez-Antequera & Petkov 2020 (Neural Computing and Applications 32:17957) and
their published code. Two half-wave rectified responses, of the cell's filter (push) and of the
filter of opposite contrast, wider in every direction (pull):

    x = max(push - alpha pull, 0)      push = max(g * image, 0)      pull = max(-w * image, 0)

An edge or a bar drives push or pull, noise drives both. The pull filter w is g enlarged: its
envelope and its wavelength are twice as wide, its peak is as high. A response is a firing rate, on
which the noise of V1 depends, so x is rectified; the published layer hands on negative values to
the batch norm behind it.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from vonenet.v1.checks import real
from vonenet.v1.filterbank import FilterBank
from vonenet.v1.gabor import quadrature_weights
from vonenet.v1.parameters import GaborParameters


@dataclass(frozen=True)
class PushPullConfig:
    """Settings of push-pull inhibition, with those of the published layer.

    Attributes:
        widening: size of the pull filter over that of the push filter.
        strength: alpha, the weight of the pull response.
    """

    widening: float = 2.0
    strength: float = 1.0

    def __post_init__(self) -> None:
        vars(self)["widening"] = real("push_pull.widening", self.widening, 1, 8)
        vars(self)["strength"] = real("push_pull.strength", self.strength, 0, 1e6)

    def kernel_size(self, push_px: int) -> int:
        """Return the side of the pull kernels, pixels, odd."""
        return int(push_px * self.widening) // 2 * 2 + 1


class PushPull(nn.Module):
    """The inhibition of simple cells by their pull filters.

    Args:
        config: settings.
        weight: dense weights of the enlarged filters, (cells, C, k, k); a buffer that is saved, as
            that of the push filters, and is all that the pull responses are computed from.
        stride: distance between responses, pixels.
    """

    def __init__(self, config: PushPullConfig, weight: Tensor, stride: int) -> None:
        super().__init__()
        self.strength = config.strength
        self.pull = FilterBank(weight, stride)

    def forward(self, push: Tensor, images: Tensor) -> Tensor:
        """Return inhibited responses of the shape of `push`, (B, cells, H', W')."""
        return F.relu(push - self.strength * F.relu(-self.pull(images)))

    def extra_repr(self) -> str:
        """Return the strength, for the printed model."""
        return f"strength {self.strength:g}"


def pull_weights(
    parameters: GaborParameters,
    config: PushPullConfig,
    pixels_per_degree: float,
    push_px: int,
    in_chans: int,
    dc_balanced: bool,
) -> Tensor:
    """Return dense weights of the enlarged filters, (n, in_chans, k, k).

    Widths are in cycles, so that an envelope grows with the wavelength.
    """
    wider = dataclasses.replace(
        parameters, frequency_cpd=parameters.frequency_cpd / config.widening
    )
    size = config.kernel_size(push_px)
    weight, _ = quadrature_weights(wider, pixels_per_degree, size, in_chans, dc_balanced)
    # A Gabor filter has the height 1 / (2 pi sigma_x sigma_y): as high as the push filter's
    return weight * config.widening**2
