"""VOneNet: a fixed model of V1, a 1x1 bottleneck, and any network without its own first stage.

    image (B, 3, H, W), normalised with mean 0.5 and std 0.5
      -> front-end    stages, of which the published VOneNet has one:
           vone_block simple and complex cells with neuronal noise     (B, 512, H/4, W/4)
      -> bottleneck   linear 1x1 convolution, trained                  (B, 64, H/4, W/4)
      -> model        the back-end, trained                            (B, num_classes)

After Dapello, Marques et al. 2020. Start reading here; `v1/block.py` is the next file. Stages that
came later stand in `frontends/`.
"""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

from torch import Tensor, nn

from vonenet.backbones import build_backbone
from vonenet.backbones.backbone import Backbone
from vonenet.errors import InputError, SettingError
from vonenet.frontends import stage as stages_of
from vonenet.frontends.front_end import (
    FrontEnd,
    build_front_end,
    stage_from_dict,
    stage_to_dict,
)
from vonenet.frontends.stage import StageConfig
from vonenet.v1.attributes import Answering
from vonenet.v1.block import VOneBlock
from vonenet.v1.checks import whole
from vonenet.v1.config import VOneBlockConfig, image_size_pair
from vonenet.v1.noise import Noise
from vonenet.v1.original import FILTERS, OriginalNames
from vonenet.v1.parameters import GaborParameters
from vonenet.v1.trainable import distribution_penalty

# Grey is 0: a uniform grey image drives no cell.
PIXEL_MEAN = (0.5, 0.5, 0.5)
PIXEL_STD = (0.5, 0.5, 0.5)
DEFAULT_FRONT_END = "vonenet"


@dataclass(frozen=True)
class VOneNetConfig:
    """All that is needed to build a VOneNet again, but its weights.

    Attributes:
        name: registered name.
        backbone: back-end, as `vonenet.backbones.build_backbone` knows it.
        num_classes: number of outputs.
        v1: settings of the V1 block; its stride defaults to that of the stage it replaces, and
            `in_chans` are the channels of the images.
        before_v1: settings of the stages before V1, in their order.
        front_end: name of the preset that these settings come from.
    """

    name: str
    backbone: str
    num_classes: int = 1000
    v1: VOneBlockConfig = field(default_factory=VOneBlockConfig)
    before_v1: tuple[StageConfig, ...] = ()
    front_end: str = DEFAULT_FRONT_END

    def __post_init__(self) -> None:
        vars(self)["num_classes"] = whole("num_classes", self.num_classes, 1)
        if self.v1.in_chans not in (1, 3):
            raise InputError(f"in_chans must be 3 (colour) or 1 (grey), got {self.v1.in_chans}")

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; `from_dict` gives an equal configuration back."""
        return {**dataclasses.asdict(self), "before_v1": list(map(stage_to_dict, self.before_v1))}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> VOneNetConfig:
        """Build a configuration from what `to_dict` made, also with JSON's lists for tuples."""
        before_v1 = tuple(map(stage_from_dict, data.get("before_v1", ())))
        return cls(**{**data, "v1": VOneBlockConfig(**data["v1"]), "before_v1": before_v1})


class VOneNet(Answering):
    """A fixed front-end, V1 and what may stand before it, and a trainable back-end.

    The stages of the front-end are children under their own names, V1 as `vone_block`.

    Args:
        front_end: the stages, built for images of the `image_size` in `config`.
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

    vone_block: VOneBlock

    def __init__(
        self,
        front_end: FrontEnd | None = None,
        backbone: Backbone | None = None,
        config: VOneNetConfig | None = None,
        **original: Any,
    ) -> None:
        if front_end is None or backbone is None or config is None or original:
            arch = original.pop("model_arch", "resnet50")
            settings = "".join(f", {name}={value!r}" for name, value in original.items())
            raise SettingError(
                "VOneNet(...) with settings, as in the original, is here "
                f"get_model({arch!r}, pretrained=False{settings})"
            )
        super().__init__()
        self._stage_names = [name for name, _ in front_end.named_children()]
        for name, stage in front_end.named_children():
            self.add_module(name, stage)
        self.bottleneck = nn.Conv2d(
            self.vone_block.out_channels, backbone.in_channels, kernel_size=1, bias=False
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
        return cls(build_front_end(v1, config.before_v1, gabor_parameters), backbone, config)

    def forward(self, images: Tensor) -> Tensor:
        """Compute logits, (B, num_classes), of normalised images, (B, in_chans, H, W)."""
        return self.logits_from_v1(stages_of.responses(self.stages, images))

    def mean_response(self, images: Tensor) -> Tensor:
        """Compute what lies before the first noise.

        With V1 alone it is V1's mean response, (B, cells, H', W'); with a noisy stage before V1 it
        is the mean response of that stage.
        """
        return stages_of.mean_response(self.stages, images)

    def forward_from_mean_response(self, mean_response: Tensor) -> Tensor:
        """Compute logits after one draw of noise for each element of a mean response.

        Repeat a mean response k times along the batch to see k draws for one pass of what is before
        the first noise.
        """
        return self.logits_from_v1(stages_of.respond(self.stages, mean_response))

    def logits_from_v1(self, responses: Tensor) -> Tensor:
        """Compute logits of V1 responses, noisy or not."""
        logits: Tensor = self.model(self.bottleneck(responses))
        return logits

    def distribution_penalty(self) -> Tensor:
        """Compute how far trainable filters are from their measured distribution, for a loss."""
        return distribution_penalty(self.vone_block)

    def __getitem__(self, index: int | slice) -> nn.Module:
        """Return V1, bottleneck or back-end by its place, as the original's `nn.Sequential`."""
        parts: nn.Module = nn.Sequential(OrderedDict(self.named_children()))[index]
        return parts

    @property
    def stages(self) -> list[Any]:
        """The stages of the front-end, V1 the last."""
        return [getattr(self, name) for name in self._stage_names]

    @property
    def front_end(self) -> FrontEnd:
        """The front-end as a module of its own, which shares this model's stages."""
        return FrontEnd(dict(zip(self._stage_names, self.stages, strict=True)))

    @property
    def noise(self) -> str | None:
        """V1's noise mode: `neuronal`, `gaussian`, or None. Assign to switch it.

        None silences the stages before V1 too; another mode has them as they were built.
        """
        return cast("str | None", self.vone_block.noise_mode)

    @noise.setter
    def noise(self, mode: str | None) -> None:
        self.vone_block.noise_mode = mode
        for stage in self.stages[:-1]:
            if isinstance(noise := getattr(stage, "noise", None), Noise):
                noise.set(None if mode is None else stage.config.noise)

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
        images_chans = self._config.v1.in_chans
        v1 = dataclasses.replace(self.vone_block.config, in_chans=images_chans)
        before_v1 = tuple(stage.config for stage in self.stages[:-1])
        return dataclasses.replace(self._config, v1=v1, before_v1=before_v1)

    @property
    def pretrained_cfg(self) -> dict[str, Any]:
        """Preprocessing that belongs to the model, in timm's terms."""
        v1 = self.config.v1
        mean, std = self.front_end.normalization
        return {
            "architecture": self._config.name,
            "num_classes": self._config.num_classes,
            "front_end": self._config.front_end,
            "input_size": (v1.in_chans, *image_size_pair(v1.image_size)),
            "mean": (mean,) * v1.in_chans,
            "std": (std,) * v1.in_chans,
            "interpolation": "bilinear",
            "crop_pct": 224 / 256,
            "crop_mode": "center",
            "classifier": self.head_name,
        }
