"""`resnet_small`: three residual blocks of width 16, made to train on one CPU in minutes.

Ours, for demonstrations and tests; it comes from no paper.
"""

from collections import OrderedDict

from torch import nn

from vonenet.backbones.backbone import Backbone, without_inplace
from vonenet.backbones.resnet import BasicBlock

_WIDTH = 16


def _block(stride: int) -> nn.Module:
    """A residual block of width 16, with a normalised 1x1 convolution as shortcut.

    The first block needs one too: V1 and its bottleneck deliver a scale of their own, and an
    identity would carry it past every normalisation to the classifier.
    """
    conv = nn.Conv2d(_WIDTH, _WIDTH, kernel_size=1, stride=stride, bias=False)
    shortcut = nn.Sequential(conv, nn.BatchNorm2d(_WIDTH))
    return without_inplace(BasicBlock(_WIDTH, _WIDTH, stride, shortcut))


def _stages_after_stem(num_classes: int) -> OrderedDict[str, nn.Module]:
    """Blocks at 2, 4 and 8 pixels per position: a unit of the last one sees 51 x 51 pixels."""
    return OrderedDict[str, nn.Module](
        block1=_block(stride=1),
        block2=_block(stride=2),
        block3=_block(stride=2),
        avgpool=nn.AdaptiveAvgPool2d(1),
        flatten=nn.Flatten(),
        fc=nn.Linear(_WIDTH, num_classes),
    )


def _initialise(model: nn.Module) -> nn.Module:
    """He et al. 2015 initialisation of the convolutions, as torchvision's ResNets have it."""
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return model


def resnet_small(*, num_classes: int = 1000, in_chans: int = 3) -> nn.Module:
    """Build the small residual network with a 7x7 stem of stride 2, randomly initialised.

    Args:
        num_classes: Width of the logits.
        in_chans: Channels of the image.
    """
    stages = OrderedDict[str, nn.Module](
        conv1=nn.Conv2d(in_chans, _WIDTH, kernel_size=7, stride=2, padding=3, bias=False),
        bn1=nn.BatchNorm2d(_WIDTH),
        relu=nn.ReLU(),
    )
    stages.update(_stages_after_stem(num_classes))
    return _initialise(nn.Sequential(stages))


def resnet_small_backbone(*, num_classes: int = 1000) -> Backbone:
    """Build the small residual network without its stem, which has 16 channels and stride 2."""
    module = _initialise(nn.Sequential(_stages_after_stem(num_classes)))
    return Backbone(module, in_channels=_WIDTH, stride=2, head="fc")
