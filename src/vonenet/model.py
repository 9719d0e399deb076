"""VOneNet: a fixed model of V1, a 1x1 bottleneck, and any network without its own first stage.

    image (B, 3, H, W), normalised with mean 0.5 and std 0.5
      -> vone_block   simple and complex cells with neuronal noise     (B, 512, H/4, W/4)
      -> bottleneck   linear 1x1 convolution, trained                  (B, 64, H/4, W/4)
      -> model        the back-end, trained                            (B, num_classes)

After Dapello, Marques et al. 2020. Start reading here; `v1/block.py` is the next file.
"""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

from torch import Tensor, nn

from vonenet.backbones import build_backbone
from vonenet.backbones.backbone import Backbone
from vonenet.errors import SettingError
from vonenet.v1.attributes import Answering
from vonenet.v1.block import VOneBlock
from vonenet.v1.checks import whole
from vonenet.v1.config import VOneBlockConfig, image_size_pair
from vonenet.v1.original import FILTERS, OriginalNames
from vonenet.v1.parameters import GaborParameters

# Grey is 0: a uniform grey image drives no cell.
PIXEL_MEAN = (0.5, 0.5, 0.5)
PIXEL_STD = (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class VOneNetConfig:
    """All that is needed to build a VOneNet again, but its weights.

    Attributes:
        name: registered name.
        backbone: back-end, as `vonenet.backbones.build_backbone` knows it.
        num_classes: number of outputs.
        v1: settings of the V1 block; its stride defaults to that of the stage it replaces.
    """

    name: str
    backbone: str
    num_classes: int = 1000
    v1: VOneBlockConfig = field(default_factory=VOneBlockConfig)

    def __post_init__(self) -> None:
        vars(self)["num_classes"] = whole("num_classes", self.num_classes, 1)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; `from_dict` gives an equal configuration back."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> VOneNetConfig:
        """Build a configuration from what `to_dict` made, also with JSON's lists for tuples."""
        return cls(**{**data, "v1": VOneBlockConfig(**data["v1"])})


class VOneNet(Answering):
    """A fixed model of V1 in front of a trainable back-end.

    Args:
        vone_block: the V1 block, built for images of its `config.image_size`.
        backbone: what follows the bottleneck.
        config: what both were built from.

    Attributes:
        head_name: dotted name of the last linear layer, for those who replace it.
        pretrained_cfg: input size, mean, std and more, as timm's transforms read it.
        class_names: names of the outputs, where they are known.
    """

    instead: ClassVar = {
        **{
            name: line.replace("VOneBlock(block.config, ", "create_model(model.config.name, ")
            for name, line in OriginalNames.instead.items()
        },
        **{name: f"model.vone_block.{name} = {{value}}" for name in OriginalNames.settable},
        **dict.fromkeys(
            FILTERS, "VOneNet.from_config(model.config, gabor_parameters=GaborParameters(...))"
        ),
        "config": "VOneNet.from_config(config)",
        "num_classes": "create_model(model.config.name, num_classes={value})",
    }

    def __init__(
        self,
        vone_block: VOneBlock | None = None,
        backbone: Backbone | None = None,
        config: VOneNetConfig | None = None,
        **original: Any,
    ) -> None:
        if vone_block is None or backbone is None or config is None or original:
            arch = original.pop("model_arch", "resnet50")
            settings = "".join(f", {name}={value!r}" for name, value in original.items())
            raise SettingError(
                "VOneNet(...) with settings, as in the original, is here "
                f"get_model({arch!r}, pretrained=False{settings})"
            )
        super().__init__()
        self.vone_block = vone_block
        self.bottleneck = nn.Conv2d(
            vone_block.out_channels, backbone.in_channels, kernel_size=1, bias=False
        )
        nn.init.kaiming_normal_(self.bottleneck.weight, mode="fan_out", nonlinearity="relu")
        self.model = backbone.module
        self.head_name = f"model.{backbone.head}"
        self.class_names: tuple[str, ...] | None = None
        self._config = config

    @classmethod
    def from_config(
        cls, config: VOneNetConfig, gabor_parameters: GaborParameters | None = None
    ) -> VOneNet:
        """Build a VOneNet with fresh trainable weights."""
        backbone = build_backbone(
            config.backbone,
            num_classes=config.num_classes,
            image_size=image_size_pair(config.v1.image_size),
            stride=config.v1.stride,
        )
        v1 = dataclasses.replace(config.v1, stride=config.v1.stride or backbone.stride)
        block = VOneBlock(v1, gabor_parameters=gabor_parameters)
        return cls(block, backbone, config)

    def forward(self, images: Tensor) -> Tensor:
        """Compute logits, (B, num_classes), of normalised images, (B, in_chans, H, W)."""
        return self.logits_from_v1(self.vone_block(images))

    def mean_response(self, images: Tensor) -> Tensor:
        """Compute V1's mean response, before noise: (B, cells, H', W')."""
        return self.vone_block.mean_response(images)

    def forward_from_mean_response(self, mean_response: Tensor) -> Tensor:
        """Compute logits after one draw of noise for each element of a mean response.

        Repeat a mean response k times along the batch to see k draws for one pass of the filters.
        """
        return self.logits_from_v1(self.vone_block.respond(mean_response))

    def logits_from_v1(self, responses: Tensor) -> Tensor:
        """Compute logits of V1 responses, noisy or not."""
        logits: Tensor = self.model(self.bottleneck(responses))
        return logits

    def __getitem__(self, index: int | slice) -> nn.Module:
        """Return V1, bottleneck or back-end by its place, as the original's `nn.Sequential`."""
        parts: nn.Module = nn.Sequential(OrderedDict(self.named_children()))[index]
        return parts

    @property
    def noise(self) -> str | None:
        """The noise mode: `neuronal`, `gaussian`, or None. Assign to switch it."""
        return cast("str | None", self.vone_block.noise_mode)

    @noise.setter
    def noise(self, mode: str | None) -> None:
        self.vone_block.noise_mode = mode

    @property
    def visual_degrees(self) -> float:
        """Visual angle of the image's shorter side, degrees."""
        return self.vone_block.config.resolved_visual_degrees

    @property
    def image_size(self) -> int | tuple[int, int]:
        """Height and width that the model is built for, pixels; one number if they are equal."""
        return self.vone_block.image_size

    @property
    def gabor_params(self) -> dict[str, Any] | None:
        """The filters in the original's names and units, None where they are unknown."""
        return cast("dict[str, Any] | None", self.vone_block.gabor_params)

    @property
    def config(self) -> VOneNetConfig:
        """What this model is built from, every default filled in."""
        return dataclasses.replace(self._config, v1=self.vone_block.config)

    @property
    def pretrained_cfg(self) -> dict[str, Any]:
        """Preprocessing that belongs to the model, in timm's terms."""
        v1 = self.vone_block.config
        return {
            "architecture": self._config.name,
            "num_classes": self._config.num_classes,
            "input_size": (v1.in_chans, *image_size_pair(v1.image_size)),
            "mean": PIXEL_MEAN[: v1.in_chans],
            "std": PIXEL_STD[: v1.in_chans],
            "interpolation": "bilinear",
            "crop_pct": 224 / 256,
            "crop_mode": "center",
            "classifier": self.head_name,
        }
