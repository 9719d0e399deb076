"""A front-end is a sequence of stages. Each gives a mean response, and may draw noise on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

from torch import Tensor, nn

from vonenet.v1.noise import Noise


class Stage(Protocol):
    """What every stage does; `VOneBlock` is one. A stage is a module whose forward is both steps.

    Attributes:
        in_channels: channels that it reads.
        out_channels: channels that it gives.
    """

    in_channels: int
    out_channels: int

    def __call__(self, images: Tensor) -> Tensor:
        """Return responses, with a draw of noise."""
        ...

    def mean_response(self, images: Tensor) -> Tensor:
        """Return responses before noise, (B, out_channels, H', W')."""
        ...

    def respond(self, mean_response: Tensor) -> Tensor:
        """Draw noise on a mean response; a stage without noise returns what it is given."""
        ...


class StageConfig(Protocol):
    """Settings of a stage that stands before V1: a frozen dataclass of plain values.

    Attributes:
        name: of the stage, under which it is found in a model and in files.
    """

    name: ClassVar[str]

    def build(self, in_channels: int, pixels_per_degree: float) -> nn.Module:
        """Build the stage, for images of this scale."""
        ...


def responses(stages: Sequence[Any], images: Tensor) -> Tensor:
    """Return the responses of the last stage; each stage reads those of the one before."""
    for stage in stages:
        images = stage(images)
    return images


def mean_response(stages: Sequence[Any], images: Tensor) -> Tensor:
    """Return what lies before the first noise: one pass of it serves any number of draws."""
    place = first_noisy(stages)
    result: Tensor = stages[place].mean_response(responses(stages[:place], images))
    return result


def respond(stages: Sequence[Any], mean_response: Tensor) -> Tensor:
    """Return the responses of the last stage after a draw of noise in each stage that has one."""
    first, *following = stages[first_noisy(stages) :]
    return responses(following, first.respond(mean_response))


def first_noisy(stages: Sequence[Any]) -> int:
    """Return the place of the first stage with noise, of the last one where none has any."""
    noisy = (i for i, stage in enumerate(stages) if _is_noisy(stage))
    return next(noisy, len(stages) - 1)


def _is_noisy(stage: nn.Module) -> bool:
    noise = getattr(stage, "noise", None)
    return noise.mode is not None if isinstance(noise, Noise) else noise is not None
