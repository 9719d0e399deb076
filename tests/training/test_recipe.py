"""Recipes: TOML round trip, refusals that name the field, and the learning rates."""

import dataclasses
from pathlib import Path

import pytest
import torch

from vonenet.errors import InputError
from vonenet.training import TrainingRecipe


def test_toml_round_trip(tmp_path: Path) -> None:
    recipe = TrainingRecipe(
        epochs=6, learning_rate=1e-5, schedule="cosine", horizontal_flip=False, warmup_epochs=0.5
    )
    recipe.write(tmp_path / "recipe.toml")
    assert TrainingRecipe.read(tmp_path / "recipe.toml") == recipe


def test_fields_left_out_keep_their_defaults(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text("# a header\nepochs = 3\nlearning_rate = 1\n")
    assert TrainingRecipe.read(path) == TrainingRecipe(epochs=3, learning_rate=1.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch = 3", r"no field 'epoch'; allowed: epochs, batch_size"),
        ("epochs = 2.5", r"epochs=2.5; allowed: int"),
        ("epochs = true", r"epochs=True; allowed: int"),
        ('learning_rate = "high"', r"learning_rate='high'; allowed: float"),
        ("epochs = 0", r"epochs=0; allowed: at least 1"),
        ("epochs = ", r"recipe\.toml cannot be read"),
    ],
)
def test_wrong_files_are_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text(text)
    with pytest.raises(InputError, match=message):
        TrainingRecipe.read(tmp_path / "recipe.toml")


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        TrainingRecipe.read(tmp_path / "recipe.toml")


@pytest.mark.parametrize(
    "values",
    [
        {"batch_size": 0},
        {"step_epochs": 0},
        {"learning_rate": 0.0},
        {"learning_rate": float("nan")},
        {"momentum": 1.0},
        {"label_smoothing": -0.1},
        {"weight_decay": -1.0},
        {"shift_px": -1},
        {"seed": -1},
        {"schedule": "linear"},
        {"warmup_epochs": 70.0},
        {"schedule": "onecycle", "warmup_epochs": 1.0},
    ],
)
def test_impossible_values_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(InputError, match=f"recipe: {list(values)[-1]}=.*; allowed"):
        TrainingRecipe(**values)  # type: ignore[arg-type]


def test_recipes_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        TrainingRecipe().epochs = 3  # type: ignore[misc]


# --- learning rates against PyTorch's schedulers, stepped 1000 times -----------------------------

STEPS = 1000


def pytorch_rates(kind: str) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.2)
    schedulers = torch.optim.lr_scheduler
    scheduler: torch.optim.lr_scheduler.LRScheduler
    if kind == "cosine":
        scheduler = schedulers.CosineAnnealingLR(optimizer, STEPS)
    elif kind == "onecycle":
        scheduler = schedulers.OneCycleLR(optimizer, 0.2, STEPS, cycle_momentum=False)
    else:
        scheduler = schedulers.StepLR(optimizer, STEPS // 5, gamma=0.1)
    rates = []
    for _ in range(STEPS):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize("schedule", ["cosine", "onecycle", "step"])
def test_schedules_agree_with_pytorch(schedule: str) -> None:
    recipe = TrainingRecipe(epochs=10, learning_rate=0.2, schedule=schedule, step_epochs=2)
    ours = [recipe.learning_rate_at(10 * step / STEPS) for step in range(STEPS)]
    assert ours == pytest.approx(pytorch_rates(schedule), abs=0.2 * 5 / STEPS)


def test_warmup_rises_linearly_to_the_peak() -> None:
    recipe = TrainingRecipe(epochs=10, learning_rate=0.2, schedule="cosine", warmup_epochs=2)
    rates = [recipe.learning_rate_at(epoch) for epoch in (0.5, 1, 2, 6, 10)]
    assert rates == pytest.approx([0.05, 0.1, 0.2, 0.1, 0])
