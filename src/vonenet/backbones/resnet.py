"""ResNets: torchvision's, whole and without conv1, bn1, relu and maxpool, and a small one of ours.

Written from He et al. 2016 (CVPR), table 1, and torchvision's `ResNet`, whose layer names they
keep.
"""

from collections import OrderedDict
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


# --- resnet_small: three residual blocks, made to train on one CPU in minutes. Ours, for
# demonstrations and tests; it comes from no paper.

_WIDTH = 16


def _block(stride: int) -> nn.Module:
    """Build a residual block of width 16, with a normalised 1x1 convolution as shortcut.

    The first block needs one too: V1 and its bottleneck deliver a scale of their own, and an
    identity would carry it past every normalisation to the classifier.
    """
    conv = nn.Conv2d(_WIDTH, _WIDTH, kernel_size=1, stride=stride, bias=False)
    shortcut = nn.Sequential(conv, nn.BatchNorm2d(_WIDTH))
    return without_inplace(BasicBlock(_WIDTH, _WIDTH, stride, shortcut))


def _stages_after_stem(num_classes: int) -> OrderedDict[str, nn.Module]:
    """Build blocks at 2, 4 and 8 pixels per position; the last one's units see 51 x 51 px."""
    return OrderedDict[str, nn.Module](
        block1=_block(stride=1),
        block2=_block(stride=2),
        block3=_block(stride=2),
        avgpool=nn.AdaptiveAvgPool2d(1),
        flatten=nn.Flatten(),
        fc=nn.Linear(_WIDTH, num_classes),
    )


def resnet_small(*, num_classes: int = 1000, in_chans: int = 3) -> nn.Module:
    """Build the small residual network with a 7x7 stem of stride 2, randomly initialised."""
    stages = OrderedDict[str, nn.Module](
        conv1=nn.Conv2d(in_chans, _WIDTH, kernel_size=7, stride=2, padding=3, bias=False),
        bn1=nn.BatchNorm2d(_WIDTH),
        relu=nn.ReLU(),
    )
    stages.update(_stages_after_stem(num_classes))
    return he_initialised(nn.Sequential(stages))


def resnet_small_backbone(*, num_classes: int = 1000) -> Backbone:
    """Build the small residual network without its stem, which has 16 channels and stride 2."""
    module = he_initialised(nn.Sequential(_stages_after_stem(num_classes)))
    return Backbone(module, in_channels=_WIDTH, stride=2, head="fc")
