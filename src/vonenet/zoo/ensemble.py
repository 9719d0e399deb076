"""Ensembles: what models, or draws of a model's noise, say, averaged at one place.

Baidya, Dapello, DiCarlo & Marques 2021 (arXiv 2110.10645) average the logits of variants of V1;
Piper, Oliveira & Marques 2025 (arXiv 2506.03089) 2, 4 or 8 draws of one model, at the bottleneck,
the embedding or the logits. A classifier is linear: averaged embeddings give averaged logits.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as serialize
from torch import Tensor, nn

from vonenet.data import PixelModel
from vonenet.data.pixels import classes_of, described, inner_model, taking_pixels
from vonenet.errors import CheckpointError, InputError
from vonenet.files import write_whole
from vonenet.frontends import stage as stages_of
from vonenet.model import VOneNet
from vonenet.v1.checks import whole
from vonenet.zoo.checkpoints import (
    built,
    header_errors,
    header_value,
    packed,
    read_metadata,
    unpacked,
)
from vonenet.zoo.weights import read_safetensors

ENSEMBLE_FORMAT = "vonenet-ensemble-1"
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
        inner: list[Any] = list(map(inner_model, models))
        known = list(map(described, inner))
        first = _same("image sizes", [each.get("input_size") for each in known])
        _same("numbers of classes", [each.get("num_classes") for each in known])
        named = [classes_of(m) or getattr(inner_model(m), "class_names", None) for m in models]
        self.class_names = _same("classes", named)
        if at == "bottleneck":
            if others := [model for model in inner if not isinstance(model, VOneNet)]:
                kind = type(others[0]).__name__
                raise InputError(f"a {kind} has no bottleneck; allowed: VOneNets")
            shapes = [(m.bottleneck.out_channels, m.vone_block.stride) for m in inner]
            _same("bottlenecks", shapes)
        self.members: Any = nn.ModuleList(map(_taking_pixels, models))
        channels = first[0] if first else 1
        shared = {k: v for k, v in known[0].items() if all(each.get(k) == v for each in known)}
        own = {"mean": (0.0,) * channels, "std": (1.0,) * channels}
        self.pretrained_cfg = shared | own | ({"input_size": first} if first else {})

    def save(self, path: str | Path) -> None:
        """Write VOneNets and how they are combined to one safetensors file, whole or not at all.

        Raises:
            InputError: the file would not give this ensemble again.
        """
        tensors: dict[str, Tensor] = {}
        headers = []
        for i, member in enumerate(self.members):
            if not _is_alike(member):
                raise InputError(
                    f"model {i} of the ensemble normalises its images otherwise than its front-end "
                    "does, which a file does not keep; give Ensemble the VOneNet itself"
                )
            weights, header = packed(member.model, self.class_names)
            tensors |= {f"{i}.{name}": value for name, value in weights.items()}
            headers.append(header)
        parts = [id(part) for member in self.members for part in member.modules()]
        if len(set(parts)) < len(parts):
            raise InputError(
                "models of the ensemble share parts, which a file would hold as several; put "
                "copies (copy.deepcopy) in, or for draws of one model draws=..."
            )
        combined = {"at": self.at, "draws": self.draws, "members": headers}
        metadata = {"format": ENSEMBLE_FORMAT, "ensemble": json.dumps(combined)}
        write_whole(Path(path), serialize(tensors, metadata))

    @classmethod
    def load(cls, path: str | Path) -> Ensemble:
        """Load what `save` wrote, bit for bit.

        Raises:
            CheckpointError: the file is damaged, or no ensemble's.
        """
        path = Path(path)
        header = read_metadata(path)
        if header.get("format") != ENSEMBLE_FORMAT:
            raise CheckpointError(f"{path} is not there, or no file of an ensemble")
        combined = header_value(header, "ensemble", path)
        weights: dict[str, dict[str, Tensor]] = defaultdict(dict)
        for key, value in read_safetensors(path).items():
            number, _, name = key.partition(".")
            weights[number][name] = value
        with header_errors(path):
            headers = combined["members"]
            if weights.keys() - set(map(str, range(len(headers)))):
                raise InputError(f"it has weights of more than {len(headers)} models")
            stored = [unpacked(h, weights[str(i)], path) for i, h in enumerate(headers)]
            models = [built(each, path) for each in stored]
            return cls(models, combined["at"], combined["draws"])

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
    if isinstance(model, PixelModel) and not _is_alike(model):
        return model
    return taking_pixels(inner_model(model), f"a {type(model).__name__}")


def _is_alike(model: PixelModel) -> bool:
    """Tell whether a model normalises images as what is inside it wants them."""
    wanted = described(model.model)
    return all(
        bool((values.cpu().flatten() == torch.tensor(wanted.get(name, torch.nan))).all())
        for name, values in (("mean", model.mean), ("std", model.std))
    )


def _before_noise(member: Any, pixels: Tensor) -> Tensor:
    """Return a VOneNet's mean response; of any other model, the pixels."""
    if not isinstance(member.model, VOneNet):
        return pixels
    return member.model.mean_response(member.normalise(pixels))


def _same(what: str, values: Sequence[Any]) -> Any:
    """Return the one value of all members where it is known, or raise InputError."""
    if not values:
        raise InputError("an ensemble needs models, got none")
    known = [tuple(v) if isinstance(v, Sequence) else v for v in values if v is not None]
    if others := [value for value in known if value != known[0]]:
        raise InputError(f"the models have other {what}: {known[0]} and {others[0]}"[:200])
    return known[0] if known else None
