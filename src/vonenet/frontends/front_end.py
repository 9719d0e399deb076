"""The front-end of a VOneNet: stages in their order, from images to the responses of V1."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from vonenet.errors import InputError
from vonenet.frontends import stage as stages_of
from vonenet.frontends.foveation import FoveationConfig
from vonenet.frontends.stage import StageConfig
from vonenet.frontends.subcortical import SubcorticalConfig
from vonenet.v1.block import VOneBlock
from vonenet.v1.config import VOneBlockConfig
from vonenet.v1.parameters import GaborParameters

V1_STAGE = "vone_block"
# Stages that may stand before V1, by the name that files have
STAGES: dict[str, Any] = {config.name: config for config in (SubcorticalConfig, FoveationConfig)}
# Mean and standard deviation that normalise pixels in [0, 1] for a stage that reads them so.
# Grey is 0 to V1: a uniform grey image drives no cell.
NORMALIZATIONS = {"normalized": (0.5, 0.5), "pixels": (0.0, 1.0)}


class FrontEnd(nn.Module):
    """Stages, one after the other.

    Args:
        stages: modules by name, the last of them V1 under the name `vone_block`.

    Raises:
        InputError: a stage that reads another number of channels than it is given.
    """

    def __init__(self, stages: Mapping[str, nn.Module]) -> None:
        super().__init__()
        for name, stage in stages.items():
            self.add_module(name, stage)
        for before, after in pairwise(stages):
            given, read = stages[before].out_channels, stages[after].in_channels
            if given != read:
                raise InputError(f"{after} reads {read} channels, and {before} gives {given}")

    def forward(self, images: Tensor) -> Tensor:
        """Compute noisy responses of V1, (B, cells, H', W'), to images, (B, in_chans, H, W)."""
        return stages_of.responses(self.stages, images)

    def mean_response(self, images: Tensor) -> Tensor:
        """Compute what lies before the first noise: with V1 alone, its mean response."""
        return stages_of.mean_response(self.stages, images)

    def respond(self, mean_response: Tensor) -> Tensor:
        """Compute noisy responses of V1 to what `mean_response` gave, with new draws."""
        return stages_of.respond(self.stages, mean_response)

    @property
    def stages(self) -> list[Any]:
        """The stages in their order."""
        return list(self.children())

    @property
    def normalization(self) -> tuple[float, float]:
        """Mean and standard deviation of pixels for the first stage that does not take any."""
        return NORMALIZATIONS[next(stage.reads for stage in self.stages if stage.reads)]


def build_front_end(
    v1: VOneBlockConfig,
    before_v1: Sequence[StageConfig] = (),
    gabor_parameters: GaborParameters | None = None,
) -> FrontEnd:
    """Build the stages before V1, and V1, for the geometry that V1's settings say.

    Args:
        v1: settings of V1; its `in_chans` are the channels of the images.
        before_v1: settings of the stages before it, in their order.
        gabor_parameters: V1's filters, instead of drawing them.
    """
    channels = v1.in_chans
    stages: dict[str, nn.Module] = {}
    for config in before_v1:
        if config.name in stages:
            raise InputError(f"two stages before V1 are called {config.name}; allowed: one of each")
        built: Any = config.build(channels, v1.pixels_per_degree)
        stages[config.name], channels = built, built.out_channels
    read = dataclasses.replace(v1, in_chans=channels)
    stages[V1_STAGE] = VOneBlock(read, gabor_parameters=gabor_parameters)
    return FrontEnd(stages)


def stage_to_dict(config: StageConfig) -> dict[str, Any]:
    """Return plain values, the stage's name among them."""
    return {"name": config.name, **dataclasses.asdict(config)}  # type: ignore[call-overload]


def stage_from_dict(data: Mapping[str, Any]) -> StageConfig:
    """Build settings from what `stage_to_dict` made, also with JSON's lists for tuples.

    Raises:
        InputError: a stage that is not known.
    """
    settings = dict(data)
    name = settings.pop("name", None)
    if name not in STAGES:
        raise InputError(f"stage {name!r} is not known; known are {', '.join(STAGES)}")
    config: StageConfig = STAGES[name](**settings)
    return config
