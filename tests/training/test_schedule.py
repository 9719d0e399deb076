"""Learning rates beside PyTorch's own schedulers."""

import dataclasses

import pytest
import torch

from vonenet.training.config import OptimizationRecipe
from vonenet.training.optim import learning_rate_at

STEPS = 50  # an epoch
RECIPE = OptimizationRecipe(epochs=10, learning_rate=0.2, step_epochs=2)


def theirs(schedule: str, optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
    schedulers = torch.optim.lr_scheduler
    total = STEPS * RECIPE.epochs
    match schedule:
        case "cosine":
            return schedulers.CosineAnnealingLR(optimizer, total)
        case "step":
            return schedulers.StepLR(optimizer, STEPS * RECIPE.step_epochs)
        case "onecycle":
            # it counts its last step as the end; one step more makes the ends meet
            return schedulers.OneCycleLR(
                optimizer, RECIPE.learning_rate, total + 1, cycle_momentum=False
            )
        case _:
            return schedulers.ConstantLR(optimizer, factor=1.0)


@pytest.mark.filterwarnings("ignore:Detected call of")
@pytest.mark.parametrize("schedule", ["cosine", "step", "onecycle", "constant"])
def test_as_pytorchs_schedulers(schedule: str) -> None:
    recipe = dataclasses.replace(RECIPE, schedule=schedule)  # type: ignore[arg-type]
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=RECIPE.learning_rate)
    scheduler = theirs(schedule, optimizer)
    for step in range(STEPS * RECIPE.epochs):
        expected = optimizer.param_groups[0]["lr"]
        # PyTorch's one-cycle policy peaks one step early
        tolerance = 0.02 if schedule == "onecycle" else 1e-6
        ours = learning_rate_at(recipe, step / STEPS)
        assert ours == pytest.approx(expected, abs=tolerance * RECIPE.learning_rate), step
        scheduler.step()


@pytest.mark.parametrize("schedule", ["cosine", "step", "constant"])
def test_warm_up_is_a_straight_line(schedule: str) -> None:
    recipe = dataclasses.replace(RECIPE, schedule=schedule, warmup_epochs=2)  # type: ignore[arg-type]
    assert learning_rate_at(recipe, 0) == 0
    assert learning_rate_at(recipe, 0.5) == pytest.approx(0.05)
    assert learning_rate_at(recipe, 1.999) == pytest.approx(0.2, rel=1e-3)
