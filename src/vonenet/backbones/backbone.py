"""What every back-end is: a network without its first stage, and what that stage must deliver."""

from dataclasses import dataclass
from typing import TypeVar

from torch import nn


@dataclass(frozen=True)
class Backbone:
    """A network whose first stage has been taken away, ready to stand behind V1 and its bottleneck.

    Attributes:
        module: Maps the bottleneck's output, (batch, in_channels, height / stride, width / stride),
            to logits, (batch, num_classes).
        in_channels: Channels that the bottleneck must deliver.
        stride: Stride in pixels of the stage that was taken away; a V1 of this stride keeps every
            later feature map at the stride it has in the base network.
        head: Dotted name within `module` of the final classifier, an `nn.Linear` (a 1x1 `nn.Conv2d`
            in some timm models), which a checkpoint for other classes cannot fill.
    """

    module: nn.Module
    in_channels: int
    stride: int
    head: str


ModuleT = TypeVar("ModuleT", bound=nn.Module)


def without_inplace(module: ModuleT) -> ModuleT:
    """Make every activation and dropout of `module` return a new tensor; return `module`.

    An in-place one would overwrite what a forward hook on the layer before it has been handed.
    """
    for layer in module.modules():
        if getattr(layer, "inplace", False) is True:
            layer.inplace = False  # type: ignore[assignment]  # a plain attribute of the layer
    return module


def he_initialised(module: ModuleT) -> ModuleT:
    """Draw every convolution of `module` from N(0, 2 / fan_out); return `module`.

    He et al. 2015 (arXiv:1502.01852), as in torchvision's ResNets and in CORnet-S.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return module
