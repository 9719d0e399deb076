"""What is trained, and how fast: frozen parts, weight decay, learning rates by layer."""

from __future__ import annotations

import difflib
import fnmatch
import re
from collections.abc import Iterable, Sequence
from typing import Any

from timm.models import group_parameters
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from vonenet.data.pixels import PixelModel
from vonenet.errors import InputError
from vonenet.training.recipe import OptimizationRecipe

# A layer is a child of the network, or, where children are numbered, one of those:
# layer1.0.conv1.weight -> layer1.0, fc.weight -> fc
LAYER = re.compile(r"[^.]+(\.\d+)?")


def trained_groups(model: nn.Module, recipe: OptimizationRecipe) -> list[dict[str, Any]]:
    """Parameter groups for an optimizer, after freezing what the recipe says.

    Frozen parameters require no gradient from here on. Batch norms among them are still to be kept
    in eval mode while training: see `keep_frozen_in_eval`.

    Args:
        model: Before it is wrapped for distribution.
        recipe: Its `frozen`, `weight_decay`, `decay_norms_and_biases` and `layer_decay`.

    Returns:
        Groups with "params", "weight_decay" and "lr_scale", the factor of the learning rate: 1 for
        the last layer, `layer_decay` times as much for each layer before it.

    Raises:
        InputError: If a pattern matches nothing, or nothing is left to train.
    """
    network = _network(model)
    frozen = _frozen_names(network, recipe.frozen)
    for name, parameter in network.named_parameters():
        if name in frozen:
            parameter.requires_grad_(False)
    scales = _learning_rate_scales(network, recipe.layer_decay)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            is_decayed = recipe.decay_norms_and_biases or parameter.ndim > 1
            key = (scales[name], recipe.weight_decay if is_decayed else 0.0)
            groups.setdefault(key, []).append(parameter)
    if not groups:
        raise InputError(
            "the model has no parameter that requires a gradient; nothing to train"
            + (f" with optimization.frozen={list(recipe.frozen)!r}" if recipe.frozen else "")
        )
    return [
        {"params": parameters, "weight_decay": weight_decay, "lr_scale": scale}
        for (scale, weight_decay), parameters in groups.items()
    ]


def keep_frozen_in_eval(model: nn.Module, patterns: Sequence[str]) -> None:
    """Puts batch norms whose running statistics are frozen into eval mode.

    `model.train()` puts them back into training mode, so call this after it, every time.

    Args:
        model: As `trained_groups` takes it.
        patterns: `recipe.frozen`.

    Raises:
        InputError: If a pattern matches nothing.
    """
    network = _network(model)
    frozen = _frozen_names(network, patterns)
    for name, module in network.named_modules():
        if isinstance(module, _BatchNorm) and f"{name}.running_mean" in frozen:
            module.eval()


def _network(model: nn.Module) -> nn.Module:
    """The network whose state dict has the names that recipes speak of."""
    return model.model if isinstance(model, PixelModel) else model


def _frozen_names(network: nn.Module, patterns: Iterable[str]) -> set[str]:
    """Names in the network's state dict that a pattern matches."""
    names = list(network.state_dict())
    frozen: set[str] = set()
    for pattern in patterns:
        found = fnmatch.filter(names, pattern)
        if not found:
            raise InputError(
                f"optimization.frozen={pattern!r} matches nothing in the network; "
                f"nearest: {', '.join(_nearest(pattern, names))}"
            )
        frozen.update(found)
    return frozen


def _nearest(pattern: str, names: Sequence[str]) -> list[str]:
    """Patterns and names like one that matches nothing."""
    parts = [name.split(".") for name in names]
    stems = {".".join(each[:depth]) + ".*" for each in parts for depth in range(1, len(each))}
    known = [*sorted(stems), *names]
    return difflib.get_close_matches(pattern, known, n=3, cutoff=0.4) or sorted(stems)[:3]


def _learning_rate_scales(network: nn.Module, layer_decay: float) -> dict[str, float]:
    layers = layers_of(network)
    return {
        name: layer_decay ** (len(layers) - 1 - number)
        for number, names in enumerate(layers)
        for name in names
    }


def layers_of(network: nn.Module) -> list[list[str]]:
    """Parameter names by layer, from input to output.

    Of a VOneNet: the bottleneck, then the back-end's layers. A network of timm has timm's own
    grouping. In any other a layer is what `LAYER` says, in the order of definition, and a norm
    belongs to the layer before it.
    """
    children = dict(network.named_children())
    if {"bottleneck", "model"} <= children.keys():
        bottleneck = [f"bottleneck.{name}" for name, _ in children["bottleneck"].named_parameters()]
        after = layers_of(children["model"])
        return [bottleneck, *[[f"model.{name}" for name in names] for names in after]]
    matcher = getattr(network, "group_matcher", None)
    if matcher is not None:
        grouped = group_parameters(network, matcher(coarse=False))
        return [grouped[number] for number in sorted(grouped)]
    return _layers_by_name(network)


def _layers_by_name(network: nn.Module) -> list[list[str]]:
    layers: dict[str, list[str]] = {}
    for name, _ in network.named_parameters():
        matched = LAYER.match(name)
        assert matched is not None
        layers.setdefault(matched[0], []).append(name)
    ranks = {name: parameter.ndim for name, parameter in network.named_parameters()}
    merged: list[list[str]] = []
    for names in layers.values():
        if merged and all(ranks[name] <= 1 for name in names):
            merged[-1] += names
        else:
            merged.append(names)
    return merged
