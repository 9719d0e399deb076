"""A training run: a recipe and the address of images become a folder with trained weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import nn
from tqdm import tqdm

from vonenet.data import ImageDataset, PixelModel, open_dataset, readable
from vonenet.data.dataset import held_out, share_of
from vonenet.data.seeding import seeded
from vonenet.errors import InputError, SettingError
from vonenet.model import PIXEL_MEAN, PIXEL_STD, VOneNet
from vonenet.training import TrainingLog, TrainingRecipe, train
from vonenet.zoo.checkpoints import save_base_checkpoint, save_checkpoint
from vonenet.zoo.registry import create_base_model, create_model

# Whose published weights bring the normalisation that they were trained with
PUBLISHED_BY = ("timm", "torchvision")


def run_training(
    recipe: TrainingRecipe,
    address: str,
    out: Path,
    *,
    trackers: Sequence[str] = (),
    checkpoint_minutes: float = 10.0,
    device: str = "auto",
    progress: bool = True,
) -> TrainingLog:
    """Train what a recipe says on the images of an address, into a folder; or go on there.

    The address is as `vonenet.data.open_dataset` takes it; the other arguments are those of
    `vonenet.training.train`.

    Raises:
        InputError: Something in the recipe or at the address cannot be used.
        Preempted: After SIGTERM; the same call goes on.
    """
    training, validation = open_parts(recipe, address, progress)
    return train(
        build_model(recipe, len(training.classes)),
        training,
        recipe,
        validation=validation,
        out=out,
        export=exporter(recipe, training.classes),
        progress=progress,
        label=out.name,
        trackers=trackers,
        checkpoint_minutes=checkpoint_minutes,
        device=device,
    )


def open_parts(
    recipe: TrainingRecipe, address: str, progress: bool = False
) -> tuple[ImageDataset, ImageDataset]:
    """Return the images to train on and those to measure on, as many as the recipe says.

    Raises:
        InputError: There are none, the parts are one and the same, or their classes differ.
    """
    data = recipe.data
    shape = {"image_size": data.image_size, "in_chans": data.in_chans}
    training = open_dataset(address, data.train_split, **shape)
    if share := share_of(data.validation_split):
        training, validation = held_out(training, share)
    else:
        validation = open_dataset(address, data.validation_split, **shape)
        _check_parts(training, validation, address)
    if data.broken == "skip":
        training, validation = (_readable(part, progress) for part in (training, validation))
    return _limited(training, data.limit), _limited(validation, data.validation_limit)


def build_model(recipe: TrainingRecipe, num_classes: int) -> PixelModel:
    """Return the network of a recipe with fresh weights, drawn from the recipe's seed.

    A base network has no V1 stage, and `model.settings`, which are that stage's, do not concern it.

    Raises:
        InputError: An unknown name, or settings that cannot be used.
    """
    model, data = recipe.model, recipe.data
    shared: dict[str, Any] = {
        "num_classes": num_classes,
        "in_chans": data.in_chans,
        "image_size": data.image_size,
        "backbone_weights": model.backbone_weights,
    }
    taken = sorted(shared.keys() & model.settings.keys())
    if taken:
        raise InputError(
            f"model.settings has {taken[0]!r}, which the recipe's [data] and [model] tables give; "
            "allowed: the other settings of vonenet.create_model"
        )
    with seeded(recipe.optimization.seed, torch.device("cpu")):
        if model.base:
            base = create_base_model(model.name, **shared)
            return PixelModel(base, *_normalisation(base, recipe))
        try:
            vone = create_model(model.name, **shared | model.settings)
        except SettingError as error:
            raise InputError(f"model.settings: {error}") from error
    return PixelModel(vone, PIXEL_MEAN[: data.in_chans], PIXEL_STD[: data.in_chans])


def exporter(recipe: TrainingRecipe, classes: Sequence[str]) -> Callable[[nn.Module, Path], object]:
    """Return what writes a trained network's weights, with all that is needed to build it again."""

    def export(model: nn.Module, path: Path) -> None:
        assert isinstance(model, PixelModel)
        if isinstance(model.model, VOneNet):
            save_checkpoint(model.model, path, classes=classes)
            return
        save_base_checkpoint(
            model.model,
            path,
            name=recipe.model.name,
            mean=model.mean.flatten().tolist(),
            std=model.std.flatten().tolist(),
            classes=classes,
            in_chans=recipe.data.in_chans,
            image_size=recipe.data.image_size,
        )

    return export


def _normalisation(
    base: nn.Module, recipe: TrainingRecipe
) -> tuple[Sequence[float], Sequence[float]]:
    """Return mean and std of a base network's images: those of its published weights, or ours."""
    channels, weights = recipe.data.in_chans, recipe.model.backbone_weights
    if weights is None or not weights.startswith(PUBLISHED_BY):
        return PIXEL_MEAN[:channels], PIXEL_STD[:channels]
    described = getattr(base, "pretrained_cfg", None) or {}
    mean = described.get("mean", IMAGENET_DEFAULT_MEAN)
    std = described.get("std", IMAGENET_DEFAULT_STD)
    return mean[:channels], std[:channels]


def _limited(dataset: ImageDataset, limit: int | None) -> ImageDataset:
    return dataset if limit is None else dataset.subset(min(limit, len(dataset)))


def _readable(dataset: ImageDataset, progress: bool) -> ImageDataset:
    """Return the data set without the images that cannot be read, and name the first few."""
    kept, broken = readable(dataset, progress=progress)
    for error in broken[:10]:
        tqdm.write(f"skipped {error.image}: {error.reason}")
    if broken:
        tqdm.write(f"{len(broken)} of {len(dataset)} images of {dataset.name!r} are skipped")
    return kept


def _check_parts(training: ImageDataset, validation: ImageDataset, address: str) -> None:
    """Refuse parts that are one and the same, or whose classes differ."""
    same_name, same_size = training.name == validation.name, len(training) == len(validation)
    if same_name or (same_size and training.describe(0) == validation.describe(0)):
        raise InputError(
            f"{address!r} has one part, {training.name!r}, for training and validation; to keep a "
            "tenth of each class for validation, set data.validation_split to '10%'"
        )
    ours, theirs = training.classes, validation.classes
    if ours != theirs:
        differing = [*(n for n in ours if n not in theirs), *(n for n in theirs if n not in ours)]
        raise InputError(
            f"training and validation images of {address!r} have different classes: {len(ours)} "
            f"and {len(theirs)}, first difference {[*differing, 'their order'][0]!r}"
        )
