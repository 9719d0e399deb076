"""Ensembles: what models, or draws of a model's noise, say, averaged at one place.

Baidya, Dapello, DiCarlo & Marques 2021 (arXiv 2110.10645) average the logits of variants of V1;
Piper, Oliveira & Marques 2025 (arXiv 2506.03089) 2, 4 or 8 draws of one model, at the bottleneck,
the embedding or the logits. A classifier is linear: averaged embeddings give averaged logits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vonenet.data import PixelModel
from vonenet.errors import InputError
from vonenet.frontends import stage as stages_of
from vonenet.model import VOneNet
from vonenet.v1.checks import whole

PLACES = ("bottleneck", "logits")


class Ensemble(nn.Module):
    """Several models as one, from pixels in [0, 1] to logits.

    Within `fixed_noise` every draw of a member is one and the same.

    Args:
        models: VOneNets or, to average logits, any models with mean and std in `pretrained_cfg`
            or within a `PixelModel`; of images of one size and of the same classes.
        at: where is averaged: `logits`, or the `bottleneck`, behind which the first model's
            back-end decides, trained with the ensemble or on draws of the one model.
        draws: of noise of each model, for one pass of what is before its first noise.

    Raises:
        InputError: models that do not fit each other or the place.
    """

    def __init__(self, models: Sequence[nn.Module], at: str = "logits", draws: int = 1) -> None:
        super().__init__()
        if at not in PLACES:
            raise InputError(f"at must be {' or '.join(PLACES)}, got {at!r}")
        self.at, self.draws = at, whole("draws", draws, 1)
        self.members: Any = nn.ModuleList(map(_taking_pixels, models))
        inner: list[Any] = [member.model for member in self.members]
        described = [_described(model) for model in inner]
        first = _same("image sizes", [each.get("input_size") for each in described])
        _same("numbers of classes", [each.get("num_classes") for each in described])
        named = [m.classes or getattr(m.model, "class_names", None) for m in self.members]
        self.class_names = _same("classes", named)
        if at == "bottleneck":
            if others := [model for model in inner if not isinstance(model, VOneNet)]:
                kind = type(others[0]).__name__
                raise InputError(f"a {kind} has no bottleneck; allowed: VOneNets")
            shapes = [(m.bottleneck.out_channels, m.vone_block.stride) for m in inner]
            _same("bottlenecks", shapes)
        channels = first[0] if first else 1
        self.pretrained_cfg = {**described[0], "mean": (0.0,) * channels, "std": (1.0,) * channels}

    def forward(self, pixels: Tensor) -> Tensor:
        """Compute logits, (B, num_classes), of images (B, C, H, W)."""
        return self.forward_from_mean_response(self.mean_response(pixels))

    def mean_response(self, pixels: Tensor) -> Tensor:
        """Compute what lies before the first noise of a single member; of several, the pixels."""
        return _before_noise(self.members[0], pixels) if len(self.members) == 1 else pixels

    def forward_from_mean_response(self, mean_response: Tensor) -> Tensor:
        """Compute logits with fresh draws for every element of a mean response."""
        drawn = []
        for member in self.members:
            start = mean_response
            if len(self.members) > 1:
                start = _before_noise(member, start)
            drawn += [self._answer(member, start) for _ in range(self.draws)]
        mean = torch.stack(drawn).mean(dim=0)
        logits: Tensor = mean if self.at == "logits" else self.members[0].model.model(mean)
        return logits

    def _answer(self, member: Any, start: Tensor) -> Tensor:
        """Return a member's output at the place of averaging."""
        model, answer = member.model, member
        if isinstance(model, VOneNet):
            answer = model.forward_from_mean_response
            if self.at == "bottleneck":
                start, answer = stages_of.respond(model.stages, start), model.bottleneck
        result: Tensor = answer(start)
        return result


def _taking_pixels(model: nn.Module) -> PixelModel:
    if isinstance(model, PixelModel):
        return model
    described = _described(model)
    if "mean" not in described or "std" not in described:
        raise InputError(
            f"a {type(model).__name__} does not say how its images are normalised; allowed: "
            "vonenet.data.PixelModel(model, mean, std)"
        )
    return PixelModel(model, described["mean"], described["std"])


def _before_noise(member: Any, pixels: Tensor) -> Tensor:
    """Return a VOneNet's mean response; of any other model, the pixels."""
    if not isinstance(member.model, VOneNet):
        return pixels
    return member.model.mean_response(member.normalise(pixels))


def _described(model: Any) -> Mapping[str, Any]:
    described = getattr(model, "pretrained_cfg", None)
    return described if isinstance(described, Mapping) else {}


def _same(what: str, values: Sequence[Any]) -> Any:
    """Return the one value of all members where it is known, or raise InputError."""
    if not values:
        raise InputError("an ensemble needs models, got none")
    known = [tuple(v) if isinstance(v, Sequence) else v for v in values if v is not None]
    if others := [value for value in known if value != known[0]]:
        raise InputError(f"the models have other {what}: {known[0]} and {others[0]}"[:200])
    return known[0] if known else None
