"""The optimizer of a recipe, by its name in timm."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

import torch
from timm.optim._optim_factory import create_optimizer_v2, list_optimizers

from vonenet.errors import InputError
from vonenet.training.recipe import OptimizationRecipe
from vonenet.training.schedule import learning_rate_at

# timm's "sgd" takes Nesterov's step; in papers, and in a recipe here, it does not.
TIMM_NAMES = {"sgd": "momentum", "nesterov": "sgd"}
LOOKAHEAD = "lookahead_"


def build_optimizer(
    groups: list[dict[str, Any]], recipe: OptimizationRecipe
) -> torch.optim.Optimizer:
    """Timm's optimizer of the recipe's name.

    Args:
        groups: parameter groups with "params", "weight_decay" and "lr_scale".
        recipe: its name, learning rate and momentum.

    Raises:
        InputError: if timm knows no such optimizer, or it cannot be made of this recipe.
    """
    name = recipe.optimizer.lower()
    known = [*map(str, list_optimizers()), *TIMM_NAMES]
    if name.removeprefix(LOOKAHEAD) not in known:
        near = get_close_matches(name, known, n=5) or ["sgd", "nesterov", "adamw", "lamb"]
        raise InputError(
            f"optimization.optimizer={recipe.optimizer!r} is unknown; near it: {', '.join(near)}"
        )
    try:
        optimizer: torch.optim.Optimizer = create_optimizer_v2(
            groups, TIMM_NAMES.get(name, name), lr=recipe.learning_rate, momentum=recipe.momentum
        )
    except (TypeError, ValueError, AssertionError, ImportError) as error:
        raise InputError(
            f"optimization.optimizer={recipe.optimizer!r} cannot be made of this recipe: {error}"
        ) from error
    return optimizer


def set_learning_rate(
    optimizer: torch.optim.Optimizer, recipe: OptimizationRecipe, epoch: float
) -> float:
    """Sets every group's learning rate for a point of time, in epochs; returns the recipe's."""
    rate = learning_rate_at(recipe, epoch)
    for group in optimizer.param_groups:
        group["lr"] = rate * group["lr_scale"]
    return rate
