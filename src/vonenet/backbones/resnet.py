"""ResNets: torchvision's, whole and without conv1, bn1, relu and maxpool, and small ones of ours.

Written from He et al. 2016 (CVPR), table 1, and torchvision's `ResNet`, whose layer names they
keep.
"""

from collections import OrderedDict
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

from torch import Tensor, nn
from torchvision.models import resnet as torchvision_resnet
from torchvision.models.resnet import ResNet

from vonenet.backbones.backbone import Backbone, he_initialised, without_inplace


class BasicBlock(torchvision_resnet.BasicBlock):  # type: ignore[misc]  # torchvision is untyped
    """Two 3x3 convolutions and a shortcut; unlike torchvision's, it adds out of place.

    torchvision writes the sum into the output of `bn2`, and so into what a hook on `bn2` holds.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, inplanes, height, width) to (batch, planes, height / stride, ...)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        return cast(Tensor, self.relu(self.bn2(self.conv2(out)) + shortcut))


class Bottleneck(torchvision_resnet.Bottleneck):  # type: ignore[misc]  # torchvision is untyped
    """1x1, 3x3 and 1x1 convolutions and a shortcut, added out of place as in `BasicBlock`."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, inplanes, height, width) to (batch, 4 planes, height / stride, ...)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        return cast(Tensor, self.relu(self.bn3(self.conv3(out)) + shortcut))


# He et al. 2016, table 1: blocks in layer1 to layer4.
BLOCKS: dict[int, tuple[type[nn.Module], list[int]]] = {
    18: (BasicBlock, [2, 2, 2, 2]),
    34: (BasicBlock, [3, 4, 6, 3]),
    50: (Bottleneck, [3, 4, 6, 3]),
    101: (Bottleneck, [3, 4, 23, 3]),
    152: (Bottleneck, [3, 8, 36, 3]),
}
DEPTHS = tuple(BLOCKS)


class ResNetBackEnd(nn.Module):
    """`layer1` to `layer4`, `avgpool` and `fc` of a whole ResNet, whose stem is left behind."""

    def __init__(self, whole: ResNet) -> None:
        super().__init__()
        self.layer1, self.layer2 = whole.layer1, whole.layer2
        self.layer3, self.layer4 = whole.layer3, whole.layer4
        self.avgpool, self.fc = whole.avgpool, whole.fc

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, 64, height / 4, width / 4) to logits (batch, num_classes)."""
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return cast(Tensor, self.fc(self.avgpool(x).flatten(1)))


def resnet(depth: int, *, num_classes: int = 1000, in_chans: int = 3) -> ResNet:
    """Build torchvision's ResNet of one of `DEPTHS`, randomly initialised, no layer in place."""
    block, blocks_per_layer = BLOCKS[depth]
    model = ResNet(block, blocks_per_layer, num_classes=num_classes)
    if in_chans != 3:
        model.conv1 = nn.Conv2d(in_chans, 64, kernel_size=7, stride=2, padding=3, bias=False)
        nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
    return without_inplace(model)


def resnet_backbone(depth: int, *, num_classes: int = 1000) -> Backbone:
    """Build the ResNet of one of `DEPTHS` without its stem, which has 64 channels and stride 4."""
    module = ResNetBackEnd(resnet(depth, num_classes=num_classes))
    return Backbone(module, in_channels=64, stride=4, head="fc")


# --- Two residual networks of ours, of one basic block a stage; they come from no paper.
# resnet_small trains on one CPU in minutes, for demonstrations and tests. resnet_tiny, for Tiny
# ImageNet, trains 600 images of 64 px a second on one core (AMD EPYC, Zen 5).


@dataclass(frozen=True)
class Small:
    """Settings of one of the two.

    Attributes:
        widths: channels of each block; the stem has those of the first.
        stem_stride: pixels between the stem's positions. Blocks after the first halve the map.
        stem_affine: whether the stem's normalisation has a scale and a shift. Without them its
            outputs have a variance of their own, and added noise means the same in any training.
    """

    widths: tuple[int, ...]
    stem_stride: int
    stem_affine: bool


SMALL = {
    "resnet_small": Small((16, 16, 16), 2, stem_affine=True),
    "resnet_tiny": Small((64, 128, 256), 4, stem_affine=False),
}


def _block(inputs: int, width: int, stride: int) -> nn.Module:
    """Build a residual block with a normalised 1x1 convolution as shortcut.

    The first block needs one too: V1 and its bottleneck deliver a scale of their own, and an
    identity would carry it past every normalisation to the classifier.
    """
    conv = nn.Conv2d(inputs, width, kernel_size=1, stride=stride, bias=False)
    shortcut = nn.Sequential(conv, nn.BatchNorm2d(width))
    return without_inplace(BasicBlock(inputs, width, stride, shortcut))


def _stages_after_stem(widths: tuple[int, ...], num_classes: int) -> OrderedDict[str, nn.Module]:
    stages = OrderedDict[str, nn.Module]()
    for i, (inputs, width) in enumerate(pairwise((widths[0], *widths))):
        stages[f"block{i + 1}"] = _block(inputs, width, stride=2 if i else 1)
    stages["avgpool"] = nn.AdaptiveAvgPool2d(1)
    stages["flatten"] = nn.Flatten()
    stages["fc"] = nn.Linear(widths[-1], num_classes)
    return stages


def small_resnet(name: str, *, num_classes: int = 1000, in_chans: int = 3) -> nn.Module:
    """Build one of `SMALL` with a 7x7 stem, randomly initialised."""
    small = SMALL[name]
    stem = nn.Conv2d(in_chans, small.widths[0], 7, small.stem_stride, padding=3, bias=False)
    stages = OrderedDict[str, nn.Module](
        conv1=stem,
        bn1=nn.BatchNorm2d(small.widths[0], affine=small.stem_affine),
        relu=nn.ReLU(),
    )
    stages.update(_stages_after_stem(small.widths, num_classes))
    return he_initialised(nn.Sequential(stages))


def small_resnet_backbone(name: str, *, num_classes: int = 1000) -> Backbone:
    """Build one of `SMALL` without its stem."""
    small = SMALL[name]
    module = he_initialised(nn.Sequential(_stages_after_stem(small.widths, num_classes)))
    return Backbone(module, in_channels=small.widths[0], stride=small.stem_stride, head="fc")
