"""CORnet-S, whole and without its V1 area.

Written from its definition in Kubilius et al. 2019 (NeurIPS, "Brain-like object recognition with
high-performing shallow recurrent ANNs"): four areas named after the ventral stream, three of them
recurrent. Layer names and shapes are those of the published weights.
"""

from collections import OrderedDict

from torch import Tensor, nn
from torch.nn.functional import conv2d

from vonenet.backbones.backbone import Backbone, he_initialised

# The hidden layers of an area are this many times as wide as its output (Kubilius et al. 2019).
_EXPANSION = 4


class _SteppedConv2d(nn.Conv2d):
    """A convolution whose stride is an argument of the call, so that one module serves all steps.

    The original sets `stride` on the module while it runs, which makes a forward pass depend on the
    one before it.
    """

    def forward(self, x: Tensor, stride: int = 1) -> Tensor:
        """Convolve (batch, in_channels, height, width) with the given stride."""
        return conv2d(x, self.weight, self.bias, stride, self.padding)


class RecurrentArea(nn.Module):
    """A recurrent area of CORnet-S: one residual bottleneck block, run `times` times on its output.

    The convolutions are shared between steps, the normalisations are not. The first step halves the
    map; `output` is called once per step, so a hook on it sees the area's response over time.

    Args:
        in_channels: Channels of the area before.
        out_channels: Channels of this area.
        times: Number of recurrent steps.
    """

    def __init__(self, in_channels: int, out_channels: int, times: int) -> None:
        super().__init__()
        self.times = times
        hidden = _EXPANSION * out_channels
        self.conv_input = nn.Conv2d(in_channels, out_channels, kernel_size=1, bias=False)
        self.skip = nn.Conv2d(out_channels, out_channels, kernel_size=1, stride=2, bias=False)
        self.norm_skip = nn.BatchNorm2d(out_channels)
        self.conv1 = nn.Conv2d(out_channels, hidden, kernel_size=1, bias=False)
        self.nonlin1 = nn.ReLU()
        self.conv2 = _SteppedConv2d(hidden, hidden, kernel_size=3, padding=1, bias=False)
        self.nonlin2 = nn.ReLU()
        self.conv3 = nn.Conv2d(hidden, out_channels, kernel_size=1, bias=False)
        self.nonlin3 = nn.ReLU()
        self.output = nn.Identity()
        for step in range(times):
            self.add_module(f"norm1_{step}", nn.BatchNorm2d(hidden))
            self.add_module(f"norm2_{step}", nn.BatchNorm2d(hidden))
            self.add_module(f"norm3_{step}", nn.BatchNorm2d(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, in_channels, height, width) to (batch, out_channels, height / 2, ...)."""
        x = self.conv_input(x)
        for step in range(self.times):
            first = step == 0
            shortcut = self.norm_skip(self.skip(x)) if first else x
            x = self.nonlin1(self._norm(1, step)(self.conv1(x)))
            x = self.nonlin2(self._norm(2, step)(self.conv2(x, stride=2 if first else 1)))
            x = self._norm(3, step)(self.conv3(x))
            x = self.output(self.nonlin3(x + shortcut))
        return x

    def _norm(self, layer: int, step: int) -> nn.Module:
        return self.get_submodule(f"norm{layer}_{step}")


def _v1_area(in_chans: int) -> nn.Sequential:
    """Build CORnet-S's own V1, which a VOneBlock replaces: stride 4, 64 channels."""
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(in_chans, 64, kernel_size=7, stride=2, padding=3, bias=False),
            norm1=nn.BatchNorm2d(64),
            nonlin1=nn.ReLU(),
            pool=nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
            conv2=nn.Conv2d(64, 64, kernel_size=3, padding=1, bias=False),
            norm2=nn.BatchNorm2d(64),
            nonlin2=nn.ReLU(),
            output=nn.Identity(),
        )
    )


def _areas_after_v1(num_classes: int) -> OrderedDict[str, nn.Module]:
    """Build V2, V4, IT and the decoder, with the numbers of steps of Kubilius et al. 2019."""
    decoder = OrderedDict[str, nn.Module](
        avgpool=nn.AdaptiveAvgPool2d(1),
        flatten=nn.Flatten(),
        linear=nn.Linear(512, num_classes),
        output=nn.Identity(),
    )
    return OrderedDict[str, nn.Module](
        V2=RecurrentArea(64, 128, times=2),
        V4=RecurrentArea(128, 256, times=4),
        IT=RecurrentArea(256, 512, times=2),
        decoder=nn.Sequential(decoder),
    )


def cornet_s(*, num_classes: int = 1000, in_chans: int = 3) -> nn.Module:
    """Build CORnet-S, randomly initialised: children `V1`, `V2`, `V4`, `IT` and `decoder`."""
    areas = OrderedDict[str, nn.Module](V1=_v1_area(in_chans))
    areas.update(_areas_after_v1(num_classes))
    return he_initialised(nn.Sequential(areas))


def cornet_s_backbone(*, num_classes: int = 1000) -> Backbone:
    """Build CORnet-S without its V1, which has 64 channels and stride 4."""
    module = he_initialised(nn.Sequential(_areas_after_v1(num_classes)))
    return Backbone(module, in_channels=64, stride=4, head="decoder.linear")
