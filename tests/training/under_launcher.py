"""Trains the toy network in a folder: for torchrun, and to be run alone beside it."""

import argparse
import dataclasses
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.training.toys import Watched, toy_images, toy_model, toy_recipe
from vonenet.errors import VOneNetError
from vonenet.training import train
from vonenet.training.recipe import AugmentationRecipe

RECIPE = toy_recipe(
    epochs=3,
    micro_batch_size=8,
    ema_decay=0.9,
    clip_norm=1.0,
    decision_samples=2,
    augmentation=AugmentationRecipe(crop="shift", shift_px=1, mixup=0.2),
)


def main(words: Sequence[str] | None = None) -> int:
    """Returns 3 and says why if the training was refused or stopped."""
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--shard", action="store_true")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--endless", action="store_true")
    parser.add_argument("--stop-after", type=int, help="images until the first process is stopped")
    chosen = parser.parse_args(words)

    def stop(asked: int) -> None:
        if asked == chosen.stop_after and os.environ.get("RANK", "0") == "0":
            os.kill(os.getpid(), signal.SIGTERM)

    recipe = dataclasses.replace(
        RECIPE, data=dataclasses.replace(RECIPE.data, workers=chosen.workers)
    )
    if chosen.endless:
        descent = dataclasses.replace(recipe.optimization, epochs=10_000)
        recipe = dataclasses.replace(recipe, optimization=descent)
    try:
        train(
            toy_model(noise=0.5),
            Watched(toy_images(), stop),
            recipe,
            validation=toy_images(85, "test"),
            out=chosen.out,
            shard=chosen.shard,
            progress=False,
            device="cpu",
        )
    except VOneNetError as error:
        sys.stderr.write(f"refused: {error}\n")
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
