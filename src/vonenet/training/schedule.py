"""The learning rate at any moment of a training, as a function of the recipe alone."""

from __future__ import annotations

import math

from vonenet.training.recipe import OptimizationRecipe

# One-cycle policy (Smith & Topin 2018, arXiv:1708.07120), with PyTorch's defaults
ONECYCLE_RISE = 0.3
ONECYCLE_START = 1 / 25
ONECYCLE_END = ONECYCLE_START / 1e4


def learning_rate_at(recipe: OptimizationRecipe, epoch: float) -> float:
    """Learning rate at a point of time, in epochs from 0 to `recipe.epochs`."""
    return recipe.learning_rate * _factor(recipe, epoch)


def _factor(recipe: OptimizationRecipe, epoch: float) -> float:
    if recipe.schedule == "onecycle":
        rise = ONECYCLE_RISE * recipe.epochs
        if epoch < rise:
            return _cosine(ONECYCLE_START, 1, epoch / rise)
        return _cosine(1, ONECYCLE_END, (epoch - rise) / (recipe.epochs - rise))
    if epoch < recipe.warmup_epochs:
        return epoch / recipe.warmup_epochs
    match recipe.schedule:
        case "cosine":
            fall = recipe.epochs - recipe.warmup_epochs
            return _cosine(1, 0, (epoch - recipe.warmup_epochs) / fall)
        case "step":
            return float(0.1 ** (epoch // recipe.step_epochs))
        case "constant":
            return 1.0


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
