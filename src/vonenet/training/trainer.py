"""The training loop: SGD by a recipe, on any model that takes pixels in [0, 1]."""

import dataclasses
import json
import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader
from tqdm import tqdm

from vonenet.data.dataset import ImageDataset
from vonenet.data.seeding import device_of, seeded
from vonenet.errors import InputError, VOneNetError
from vonenet.training.augment import flip_some, shift
from vonenet.training.recipe import TrainingRecipe

Loader: TypeAlias = "DataLoader[tuple[Tensor, Tensor]]"
Bar: TypeAlias = "tqdm[Any]"


@dataclass(frozen=True)
class EpochRecord:
    """What one epoch gave.

    Attributes:
        epoch: From 1.
        loss: Mean training loss.
        accuracy: Training accuracy, on augmented images, while the weights moved.
        learning_rate: Of the epoch's last step.
        images_per_second: Training throughput.
        seconds: Training time, validation apart.
        validation_accuracy: Accuracy afterwards, one decision per image; None without data.
    """

    epoch: int
    loss: float
    accuracy: float
    learning_rate: float
    images_per_second: float
    seconds: float
    validation_accuracy: float | None = None


@dataclass(frozen=True)
class TrainingLog:
    """A finished training: its recipe and one record per epoch."""

    recipe: TrainingRecipe
    epochs: list[EpochRecord] = field(default_factory=list)


def train(
    model: nn.Module,
    dataset: ImageDataset,
    recipe: TrainingRecipe,
    *,
    validation: ImageDataset | None = None,
    progress: bool = True,
    label: str = "training",
    log_path: Path | str | None = None,
) -> TrainingLog:
    """Trains a model in place, on the device where it is, and leaves it in eval mode.

    The run depends on model, data and recipe alone: order and augmentation have a generator of
    their own; dropout and a model's noise draw from torch's, seeded here and restored afterwards.

    Args:
        model: Takes pixels in [0, 1], usually a `PixelModel`. Only parameters that require a
            gradient are trained.
        dataset: Training images. In each epoch the last batch is left out if it is not full,
            unless it is the only one.
        recipe: How to train.
        validation: Images to measure after every epoch.
        progress: Show a progress bar over the whole run.
        label: What the progress bar calls the run.
        log_path: JSON-lines file that gets one record per epoch; an old one is replaced.

    Raises:
        InputError: If the model has nothing to train.
        VOneNetError: If the loss stops being finite.
    """
    optimizer = _optimizer(model, recipe)
    loader = _loader(dataset, recipe)
    images = recipe.epochs * len(loader) * min(recipe.batch_size, len(dataset))
    log = TrainingLog(recipe)
    with (
        seeded(recipe.seed, device_of(model)),
        tqdm(total=images, unit="img", disable=not progress) as bar,
    ):
        for epoch in range(recipe.epochs):
            bar.set_description(f"{label}, epoch {epoch + 1}/{recipe.epochs}")
            record = _train_epoch(model, loader, optimizer, recipe, epoch, bar)
            if validation is not None:
                accuracy = _accuracy(model, validation, recipe.batch_size)
                record = dataclasses.replace(record, validation_accuracy=accuracy)
            log.epochs.append(record)
            if log_path is not None:
                _write(log, Path(log_path))
    model.eval()
    return log


def _optimizer(model: nn.Module, recipe: TrainingRecipe) -> torch.optim.Optimizer:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trained:
        raise InputError("the model has no parameter that requires a gradient; nothing to train")
    return torch.optim.SGD(
        trained,
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
    )


def _loader(dataset: ImageDataset, recipe: TrainingRecipe) -> Loader:
    return DataLoader(
        dataset,  # type: ignore[arg-type]  # collation turns labels into tensors
        recipe.batch_size,
        shuffle=True,
        generator=torch.Generator().manual_seed(recipe.seed),
        drop_last=len(dataset) >= recipe.batch_size,
    )


def _train_epoch(
    model: nn.Module,
    loader: Loader,
    optimizer: torch.optim.Optimizer,
    recipe: TrainingRecipe,
    epoch: int,
    bar: Bar,
) -> EpochRecord:
    """One pass over the data."""
    model.train()
    start = time.perf_counter()
    loss_sum, correct, seen = 0.0, 0, 0
    for step, (pixels, labels) in enumerate(loader):
        # The middle of the step, so that no step of a warm-up has learning rate 0.
        elapsed_epochs = epoch + (step + 0.5) / len(loader)
        pixels = _augment(pixels, recipe, loader.generator)
        loss, hits = _train_step(model, pixels, labels, optimizer, recipe, elapsed_epochs)
        loss_sum += loss * len(labels)
        correct += hits
        seen += len(labels)
        bar.set_postfix(loss=f"{loss_sum / seen:.3f}", refresh=False)
        bar.update(len(labels))
    seconds = time.perf_counter() - start
    return EpochRecord(
        epoch=epoch + 1,
        loss=loss_sum / seen,
        accuracy=correct / seen,
        learning_rate=recipe.learning_rate_at(elapsed_epochs),
        images_per_second=seen / seconds,
        seconds=seconds,
    )


def _augment(pixels: Tensor, recipe: TrainingRecipe, generator: torch.Generator) -> Tensor:
    if recipe.horizontal_flip:
        pixels = flip_some(pixels, generator)
    if recipe.shift_px:
        pixels = shift(pixels, recipe.shift_px, generator)
    return pixels


def _train_step(
    model: nn.Module,
    pixels: Tensor,
    labels: Tensor,
    optimizer: torch.optim.Optimizer,
    recipe: TrainingRecipe,
    elapsed_epochs: float,
) -> tuple[float, int]:
    """One step of the optimiser; returns the loss and the number of correct decisions."""
    device = device_of(model)
    labels = labels.to(device)
    logits = model(pixels.to(device))
    loss = cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)
    value = loss.item()
    if not math.isfinite(value):
        raise VOneNetError(
            f"the loss is {value} after {elapsed_epochs:.2f} epochs; a learning_rate below "
            f"{recipe.learning_rate:g} or a warm-up usually helps"
        )
    optimizer.param_groups[0]["lr"] = recipe.learning_rate_at(elapsed_epochs)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return value, int((logits.argmax(dim=1) == labels).sum())


@torch.no_grad()
def _accuracy(model: nn.Module, dataset: ImageDataset, batch_size: int) -> float:
    model.eval()
    device = device_of(model)
    loader = DataLoader(dataset, batch_size, generator=torch.Generator())
    hits = [(model(x.to(device)).argmax(dim=1).cpu() == y).sum() for x, y in loader]
    return int(torch.stack(hits).sum()) / len(dataset)


def _write(log: TrainingLog, path: Path) -> None:
    """Writes the records so far, one line each."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(dataclasses.asdict(record)) + "\n" for record in log.epochs]
    path.write_text("".join(lines), encoding="utf-8")
