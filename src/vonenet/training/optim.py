"""What is trained, how fast, and by which optimizer: groups of parameters and the learning rate."""

from __future__ import annotations

import difflib
import fnmatch
import math
import re
from collections.abc import Sequence
from typing import Any

import torch
from timm.models import group_parameters
from timm.optim._optim_factory import create_optimizer_v2, list_optimizers
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from vonenet.data.pixels import inner_model
from vonenet.errors import InputError
from vonenet.training.config import OptimizationRecipe

# Parameters of trainable Gabor filters: 0 is one of their values, not the smallest
GABORS = "gabor_bank."
# timm's "sgd" takes Nesterov's step; in papers, and in a recipe here, it does not.
TIMM_NAMES = {"sgd": "momentum", "nesterov": "sgd"}
LOOKAHEAD = "lookahead_"
# A layer is a child of the network, or, where children are numbered, one of those:
# layer1.0.conv1.weight -> layer1.0, fc.weight -> fc
LAYER = re.compile(r"[^.]+(\.\d+)?")
# One-cycle policy (Smith & Topin 2018, arXiv:1708.07120), with the defaults of PyTorch's OneCycleLR
ONECYCLE_RISE = 0.3
ONECYCLE_START = 1 / 25
ONECYCLE_END = ONECYCLE_START / 1e4


def build_optimizer(model: nn.Module, recipe: OptimizationRecipe) -> torch.optim.Optimizer:
    """Freeze what the recipe says and return timm's optimizer of the rest.

    Raises:
        InputError: timm knows no such optimizer, or it cannot be made of this recipe; and as
            `parameter_groups` does.
    """
    name = recipe.optimizer.lower()
    known = [*map(str, list_optimizers()), *TIMM_NAMES]
    if name.removeprefix(LOOKAHEAD) not in known:
        near = difflib.get_close_matches(name, known, n=5) or ["sgd", "nesterov", "adamw", "lamb"]
        raise InputError(
            f"optimization.optimizer={recipe.optimizer!r} is unknown; near it: {', '.join(near)}"
        )
    groups = parameter_groups(model, recipe)
    try:
        optimizer: torch.optim.Optimizer = create_optimizer_v2(
            groups, TIMM_NAMES.get(name, name), lr=recipe.learning_rate, momentum=recipe.momentum
        )
    except (TypeError, ValueError, AssertionError, ImportError) as error:
        raise InputError(
            f"optimization.optimizer={recipe.optimizer!r} cannot be made of this recipe: {error}"
        ) from error
    return optimizer


def parameter_groups(model: nn.Module, recipe: OptimizationRecipe) -> list[dict[str, Any]]:
    """Freeze what the recipe says and return the other parameters in groups.

    Returns:
        Groups with "params", "weight_decay" and "lr_scale", the factor of the learning rate: 1 for
        the last layer, `layer_decay` times as much for each layer before it.

    Raises:
        InputError: A pattern of `frozen` matches nothing, or nothing is left to train.
    """
    network = inner_model(model)
    frozen = _frozen_names(network, recipe.frozen)
    layers = layer_numbers(network)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if name in frozen:
            parameter.requires_grad_(False)
        if parameter.requires_grad:
            scale = recipe.layer_decay ** (max(layers.values()) - layers[name])
            decayed = recipe.decay_norms_and_biases or parameter.ndim > 1
            decayed = decayed and GABORS not in name
            key = (scale, recipe.weight_decay if decayed else 0.0)
            groups.setdefault(key, []).append(parameter)
    if not groups:
        raise InputError(
            "the model has no parameter that requires a gradient; nothing to train with "
            f"optimization.frozen={list(recipe.frozen)!r}"
        )
    return [
        {"params": parameters, "weight_decay": weight_decay, "lr_scale": scale}
        for (scale, weight_decay), parameters in groups.items()
    ]


def layer_numbers(network: nn.Module) -> dict[str, int]:
    """Return the number of the layer of each parameter, from 0 at the input.

    Of a VOneNet: what its front-end trains and the bottleneck, then the back-end's layers. A
    network of timm has timm's own layers. In any other a layer is what `LAYER` says, in the order
    of definition, and a norm belongs to the layer before it.
    """
    children = dict(network.named_children())
    if {"bottleneck", "model"} <= children.keys():
        names = (name for name, _ in network.named_parameters())
        first = {name: 0 for name in names if not name.startswith("model.")}
        after = layer_numbers(children["model"])
        return first | {f"model.{name}": number + 1 for name, number in after.items()}
    matcher: Any = getattr(network, "group_matcher", None)
    if matcher is not None:
        return dict(group_parameters(network, matcher(coarse=False), reverse=True))
    layers: dict[str, list[tuple[str, nn.Parameter]]] = {}
    for name, parameter in network.named_parameters():
        layer = LAYER.match(name)
        assert layer is not None
        layers.setdefault(layer[0], []).append((name, parameter))
    numbers: dict[str, int] = {}
    number = -1
    for members in layers.values():
        if number < 0 or any(parameter.ndim > 1 for _, parameter in members):
            number += 1
        numbers.update(dict.fromkeys((name for name, _ in members), number))
    return numbers


def keep_frozen_in_eval(model: nn.Module, patterns: Sequence[str]) -> None:
    """Put batch norms whose running statistics are frozen into eval mode, after `model.train()`."""
    network = inner_model(model)
    frozen = _frozen_names(network, patterns)
    for name, module in network.named_modules():
        if isinstance(module, _BatchNorm) and f"{name}.running_mean" in frozen:
            module.eval()


def _frozen_names(network: nn.Module, patterns: Sequence[str]) -> set[str]:
    """Return the names in the network's state dict that a pattern matches."""
    names = list(network.state_dict())
    frozen: set[str] = set()
    for pattern in patterns:
        found = fnmatch.filter(names, pattern)
        if not found:
            near = difflib.get_close_matches(pattern, names, n=3, cutoff=0.4) or names[:3]
            raise InputError(
                f"optimization.frozen={pattern!r} matches nothing in the network; "
                f"nearest: {', '.join(near)}"
            )
        frozen.update(found)
    return frozen


def learning_rate_at(recipe: OptimizationRecipe, epoch: float) -> float:
    """Return the learning rate at a time in epochs, from 0 to `recipe.epochs`.

    timm's schedulers have no one-cycle policy; the others agree with them.
    """
    peak, warmup = recipe.learning_rate, recipe.warmup_epochs
    if epoch < warmup:
        return peak * epoch / warmup
    match recipe.schedule:
        case "onecycle":
            rise = ONECYCLE_RISE * recipe.epochs
            if epoch < rise:
                return peak * _cosine(ONECYCLE_START, 1, epoch / rise)
            return peak * _cosine(1, ONECYCLE_END, (epoch - rise) / (recipe.epochs - rise))
        case "cosine":
            return peak * _cosine(1, 0, (epoch - warmup) / (recipe.epochs - warmup))
        case "step":
            return peak * float(0.1 ** (epoch // recipe.step_epochs))
        case "constant":
            return peak


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
