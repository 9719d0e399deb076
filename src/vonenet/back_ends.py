"""The original package's module of this name: its back-ends, without V1 and bottleneck."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn
from torch.nn import Flatten as Flatten
from torch.nn import Identity as Identity

from vonenet.backbones import build_backbone
from vonenet.backbones.resnet import BLOCKS, BasicBlock, Bottleneck
from vonenet.errors import InputError

__all__ = ["AlexNetBackEnd", "BasicBlock", "Bottleneck", "CORnetSBackEnd", "ResNetBackEnd"]


def AlexNetBackEnd(num_classes: int = 1000) -> nn.Module:  # noqa: N802
    """Build what follows V1 in VOneAlexNet."""
    return build_backbone("alexnet", num_classes=num_classes).module


def CORnetSBackEnd(num_classes: int = 1000) -> nn.Module:  # noqa: N802
    """Build what follows V1 in VOneCORnet-S."""
    return build_backbone("cornet_s", num_classes=num_classes).module


def ResNetBackEnd(  # noqa: N802
    block: type[nn.Module], layers: Sequence[int], num_classes: int = 1000
) -> nn.Module:
    """Build what follows V1 in a VOneResNet of the published depths."""
    for depth, known in BLOCKS.items():
        if (block, list(layers)) == known:
            return build_backbone(f"resnet{depth}", num_classes=num_classes).module
    raise InputError(
        f"no ResNet has {getattr(block, '__name__', block)} in layers of {list(layers)}; type "
        f"ResNetBackEnd(Bottleneck, [3, 4, 6, 3]) for ResNet-50, known depths: {[*BLOCKS]}"
    )
