"""Trains the toy network in a folder: for torchrun, and to be run alone beside it."""

import argparse
import dataclasses
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from tests.training.toys import PX, Watched, toy_images, toy_model, toy_recipe
from vonenet import create_model
from vonenet.data import ImageArrays, PixelModel
from vonenet.errors import VOneNetError
from vonenet.training import train
from vonenet.training.config import AdversarialRecipe, AugmentationRecipe

RECIPE = toy_recipe(
    epochs=3,
    micro_batch_size=8,
    ema_decay=0.9,
    clip_norm=1.0,
    decision_samples=2,
    augmentation=AugmentationRecipe(crop="shift", shift_px=1, mixup=0.2),
)
# In L2, for the signs of steps in L-inf turn rounding into other pixels
ATTACK = AdversarialRecipe(epsilon=0.6, norm="l2", steps=2, gradient_samples=3)


def vonenet(**settings: Any) -> PixelModel:
    """A VOneNet, whose mean response the noise draws of an attack share.

    In float64: attacks make rounding errors grow from step to step.
    """
    torch.manual_seed(0)
    settings |= {"simple_channels": 16, "complex_channels": 16, "visual_degrees": 2.0}
    model = create_model("voneresnet_small", image_size=PX, in_chans=1, num_classes=10, **settings)
    return PixelModel(model, 0.5, 0.5).double()


def main(words: Sequence[str] | None = None) -> int:
    """Returns 3 and says why if the training was refused or stopped."""
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--attacked", action="store_true")
    parser.add_argument("--trainable", action="store_true")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--endless", action="store_true")
    parser.add_argument("--stop-after", type=int, help="images until the first process is stopped")
    chosen = parser.parse_args(words)

    def stop(asked: int) -> None:
        if asked == chosen.stop_after and os.environ.get("RANK", "0") == "0":
            os.kill(os.getpid(), signal.SIGTERM)

    shown = toy_images(85, "test")
    # wrong labels: validation gets worse, so that some epochs are not the best
    validation = ImageArrays(shown.images, (shown.labels + 1) % 10, shown.classes, "wrong")
    recipe = dataclasses.replace(
        RECIPE, data=dataclasses.replace(RECIPE.data, workers=chosen.workers)
    )
    if chosen.endless:
        endless = dataclasses.replace(recipe.optimization, epochs=10_000)
        recipe = dataclasses.replace(recipe, optimization=endless)
    model, count = toy_model(noise=0.5), 200
    if chosen.attacked:
        recipe = dataclasses.replace(recipe, adversarial=ATTACK)
        model, count = vonenet(), 64
    if chosen.trainable:
        penalized = dataclasses.replace(recipe.optimization, distribution_penalty=2.0)
        recipe = dataclasses.replace(recipe, optimization=penalized)
        model = vonenet(front_end="vonenet_trainable")
    try:
        train(
            model,
            Watched(toy_images(count), stop),
            recipe,
            validation=validation,
            out=chosen.out,
            progress=False,
            device="cpu",
        )
    except VOneNetError as error:
        sys.stderr.write(f"refused: {error}\n")
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
