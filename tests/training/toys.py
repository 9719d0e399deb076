"""A small network, few images, and a short recipe for the tests of training."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from vonenet.data import ImageArrays, PixelModel, load_embedded
from vonenet.training import TrainingRecipe, train
from vonenet.training.config import (
    AdversarialRecipe,
    AugmentationRecipe,
    DataRecipe,
    OptimizationRecipe,
)
from vonenet.v1.noise import Noise

PX = 28
fit = partial(train, progress=False, device="cpu")


def toy_images(count: int = 200, split: str = "train") -> ImageArrays:
    return load_embedded(split, image_size=PX, in_chans=1).subset(count)


def toy_model(noise: float = 0.0) -> PixelModel:
    """A frozen first stage, then batch norm, dropout, and a trained readout; perhaps noise."""
    torch.manual_seed(0)
    filters = nn.Conv2d(1, 8, 5, stride=3).requires_grad_(False)
    readout = nn.Linear(8 * 8 * 8, 10)
    layers = [filters, nn.ReLU(), nn.BatchNorm2d(8), nn.Dropout(0.2), nn.Flatten(), readout]
    if noise:
        layers.insert(5, Noise("gaussian", noise, 0.0))
    return PixelModel(nn.Sequential(*layers), 0.5, 0.5)


OPTIMIZATION = OptimizationRecipe(
    epochs=2, batch_size=32, learning_rate=0.05, schedule="cosine", seed=5
)
AUGMENTATION = AugmentationRecipe(crop="shift", shift_px=1)


def toy_recipe(
    *,
    image_size: int = PX,
    workers: int = 0,
    augmentation: AugmentationRecipe = AUGMENTATION,
    adversarial: AdversarialRecipe | None = None,
    **optimization: Any,
) -> TrainingRecipe:
    return TrainingRecipe(
        data=DataRecipe(image_size=image_size, in_chans=1, workers=workers),
        optimization=dataclasses.replace(OPTIMIZATION, **optimization),
        augmentation=augmentation,
        adversarial=adversarial or AdversarialRecipe(),
    )


PLAIN = AugmentationRecipe(crop="centre", horizontal_flip=False)


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def same_weights(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


class CutError(Exception):
    """The end of a run in the middle."""


class Watched(ImageArrays):
    """Images that call somebody whenever one is asked for, with how many were before."""

    def __init__(self, images: ImageArrays, called: Callable[[int], object]) -> None:
        super().__init__(images.images, images.labels, images.classes, images.name)
        self.called = called
        self.asked = 0

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        self.called(self.asked)
        self.asked += 1
        return super().__getitem__(index)
