"""AlexNet without its first convolution, as VOneAlexNet has it, and torchvision's full one.

Written from Krizhevsky 2014 (arXiv:1404.5997) as torchvision has it, from the back-end of the
original package (dicarlolab/vonenet, back_ends.py) and the shapes of its published weights. Behind
a V1 of stride 4 the second convolution takes a stride of 2 and the max-pools a padding of 1, so
that 224 pixels give maps of 56, 28, 14 and 7. The classifier then sees 7 x 7 positions where
torchvision's sees 6 x 6.
"""

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d
from torchvision.models import AlexNet

from vonenet.backbones.backbone import Backbone, without_inplace


class AlexNetBackEnd(nn.Module):
    """Second to fifth convolution and classifier of AlexNet: (batch, 64, h, w) to logits."""

    def __init__(self, num_classes: int = 1000) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(64, 192, kernel_size=5, stride=2, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
            nn.Conv2d(192, 384, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.Conv2d(384, 256, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.Conv2d(256, 256, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
        )
        self.avgpool = nn.AdaptiveAvgPool2d((7, 7))
        self.classifier = nn.Sequential(
            nn.Dropout(),
            nn.Linear(256 * 7 * 7, 4096),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(4096, 4096),
            nn.ReLU(),
            nn.Linear(4096, num_classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, 64, height / 4, width / 4) to logits (batch, num_classes)."""
        return cast(Tensor, self.classifier(self.avgpool(self.features(x)).flatten(1)))


def alexnet(*, num_classes: int = 1000, in_chans: int = 3) -> AlexNet:
    """Build torchvision's AlexNet, randomly initialised, with no in-place layer."""
    model = AlexNet(num_classes=num_classes)
    if in_chans != 3:
        model.features[0] = nn.Conv2d(in_chans, 64, kernel_size=11, stride=4, padding=2)
    return without_inplace(model)


def alexnet_backbone(*, num_classes: int = 1000) -> Backbone:
    """Build AlexNet without its first convolution, behind a V1 of stride 4."""
    return Backbone(AlexNetBackEnd(num_classes), in_channels=64, stride=4, head="classifier.6")


def alexnet_backbone_weights(whole: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Name and shape the weights of torchvision's AlexNet as `AlexNetBackEnd` does.

    torchvision's first linear layer sees 6 x 6 positions. Ours, on 7 x 7 of them, gives what
    torchvision's gives of the same map averaged to 6 x 6, as its own `avgpool` would do.
    """
    weights = {}
    for name, value in whole.items():
        part, number, *rest = name.split(".")
        if part == "features":
            if number == "0":
                continue
            number = str(int(number) - 3)  # without the first convolution, its ReLU and pool
        weights[".".join([part, number, *rest])] = value
    sixes = weights["classifier.1.weight"].reshape(-1, 256, 36)
    to_six = adaptive_avg_pool2d(torch.eye(49).reshape(49, 1, 7, 7), 6).reshape(49, 36)
    weights["classifier.1.weight"] = (sixes @ to_six.T).reshape(-1, 256 * 49)
    return weights
