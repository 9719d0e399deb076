"""The `vonenet train` command: its options are a recipe's fields, with the values of the file."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro

from vonenet.errors import InputError
from vonenet.training import TrainingLog, TrainingRecipe
from vonenet.training.recipe import (
    AdversarialRecipe,
    AugmentationRecipe,
    DataRecipe,
    ModelRecipe,
    OptimizationRecipe,
)

SUFFIX = ".toml"
Recipe = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RECIPE")]
# The tables of a recipe, whose fields are options; the recipe is made, and checked, of them later
Model = Annotated[ModelRecipe, tyro.conf.OmitArgPrefixes]
Data = Annotated[DataRecipe, tyro.conf.OmitArgPrefixes]
Optimization = Annotated[OptimizationRecipe, tyro.conf.OmitArgPrefixes]
Augmentation = Annotated[AugmentationRecipe, tyro.conf.OmitArgPrefixes]
Adversarial = Annotated[AdversarialRecipe, tyro.conf.OmitArgPrefixes]


def train_command(arguments: Sequence[str]) -> Callable[..., None]:
    """The command for these arguments, whose defaults are those of the recipe among them.

    Raises:
        InputError: the recipe cannot be read.
    """
    recipes = [argument for argument in arguments if argument.endswith(SUFFIX)]
    defaults = TrainingRecipe.read(recipes[0]) if recipes else TrainingRecipe()

    def train(
        path: Recipe,
        data: str,
        out: Path | None = None,
        device: Literal["auto", "cpu", "cuda"] = "auto",
        shard: bool = False,
        track: tuple[Literal["tensorboard", "wandb"], ...] = (),
        checkpoint_minutes: float = 10.0,
        model: Model = defaults.model,
        images: Data = defaults.data,
        optimization: Optimization = defaults.optimization,
        augmentation: Augmentation = defaults.augmentation,
        adversarial: Adversarial = defaults.adversarial,
    ) -> None:
        """Train a network by a recipe; started again, go on where it was stopped.

        Under torchrun or accelerate launch the processes share each batch. A run that is told to
        stop (SIGTERM) saves and exits with status 75: run it again.

        Args:
            path: a TOML file; recipes/ has some.
            data: where the images are, as for `vonenet data inspect`.
            out: folder of the run; runs/ and the recipe's name if not given.
            device: where to compute; auto takes a GPU if there is one.
            shard: share weights and optimizer memory out among the processes (FSDP2).
            track: also tell TensorBoard or Weights & Biases.
            checkpoint_minutes: minutes between checkpoints within an epoch; there is one after
                each epoch.
            model: The network. Like all that follows, these override what the recipe says.
            images: The images.
            optimization: The descent.
            augmentation: What is done to training images.
            adversarial: Whether and how training images are attacked.
        """
        from vonenet.cli.training import run_training

        if not recipes or str(path) != recipes[0]:
            raise InputError(f"recipe {path} must be a {SUFFIX} file")
        recipe = TrainingRecipe(
            model=model,
            data=images,
            optimization=optimization,
            augmentation=augmentation,
            adversarial=adversarial,
        )
        folder = out or Path("runs", path.stem)
        log = run_training(
            recipe,
            data,
            folder,
            trackers=track,
            checkpoint_minutes=checkpoint_minutes,
            device=device,
            shard=shard,
        )
        if os.environ.get("RANK", "0") == "0":  # set by torchrun and accelerate launch
            print(finished_text(log, folder))

    return train


def finished_text(log: TrainingLog, folder: Path) -> str:
    """What a finished training says at its end."""
    last = log.epochs[-1]
    lines = [f"{len(log.epochs)} epochs: training loss {last.loss:.3f}"]
    accuracies = {each.epoch: each.validation_accuracy for each in log.epochs}
    known = {epoch: value for epoch, value in accuracies.items() if value is not None}
    if known:
        best = max(known, key=lambda epoch: known[epoch])
        lines[0] += (
            f", validation accuracy {100 * known[max(known)]:.1f} % at the end, "
            f"{100 * known[best]:.1f} % at best (epoch {best})"
        )
    lines += [
        f"weights: {folder / 'model.safetensors'}",
        f"next: vonenet evaluate {folder} --data ADDRESS",
        f"curves: vonenet report {folder}",
    ]
    return "\n".join(lines)
