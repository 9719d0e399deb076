"""`vonenet demo`: a small network and its VOneNet, trained alike, measured alike, one page."""

from __future__ import annotations

import shutil
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vonenet.cli.evaluate import Evaluate, run_evaluation

if TYPE_CHECKING:
    from vonenet.robustness import Condition

BASE, VONE = "base", "vonenet"
# recipes/demo.toml, which an installed package has not
RECIPE = """
[model]
name = "voneresnet_small"
settings = {visual_degrees = 2.0, simple_channels = 128, complex_channels = 128, kernel_size = 15, \
stride = 2, sf_max = 5.6}
[data]
image_size = 32
in_chans = 1
[optimization]
batch_size = 64
learning_rate = 0.1
weight_decay = 5e-4
schedule = "onecycle"
[augmentation]
crop = "centre"
"""


@dataclass(frozen=True)
class Scale:
    """How much is trained and measured; radii are in pixels of [0, 1]."""

    epochs: int = 6
    test_images: int = 2_000
    attack_images: int = 250
    steps: int = 20
    gradient_samples: int = 8
    corruptions: tuple[str, ...] = (
        "gaussian_noise",
        "shot_noise",
        "impulse_noise",
        "defocus_blur",
        "brightness",
        "contrast",
        "pixelate",
        "jpeg_compression",
    )
    severities: tuple[int, ...] = (1, 3, 5)
    attacks: tuple[tuple[str, float], ...] = (
        ("linf", 4 / 255),
        ("linf", 8 / 255),
        ("l2", 0.6),
        ("l2", 1.5),
    )


FULL = Scale()
QUICK = Scale(
    epochs=3,
    test_images=500,
    attack_images=100,
    steps=10,
    gradient_samples=4,
    corruptions=("gaussian_noise", "defocus_blur", "brightness", "contrast"),
    severities=(3, 5),
    attacks=(("linf", 8 / 255), ("l2", 0.6)),
)


@dataclass(frozen=True)
class Demo:
    """Train a small network and its VOneNet on embedded images, measure both, write a report.

    What an earlier demonstration left in the folder is replaced.

    Attributes:
        quick: fewer images, epochs and conditions: two to three minutes.
        out: folder for report.html, results.jsonl and the folders of both trainings.
        seed: seed of weights, order, noise and corruptions.
    """

    quick: bool = False
    out: Path = Path("demo")
    seed: int = 0

    def run(self) -> None:
        """Train, measure, write the page and print its tables."""
        from vonenet.cli.train import run_training
        from vonenet.report.evaluation import write_evaluation_report
        from vonenet.results import EXAMPLES, RESULTS, RUN, V1_FILTERS, V1_RESPONSES
        from vonenet.training import TrainingRecipe
        from vonenet.v1.memory import keep_freed_memory

        keep_freed_memory()
        for name in (RESULTS, EXAMPLES, V1_FILTERS, V1_RESPONSES):
            (self.out / name).unlink(missing_ok=True)
        scale = QUICK if self.quick else FULL
        folders = [self.out / name for name in (BASE, VONE)]
        for folder in folders:
            if (folder / RUN).is_file():
                shutil.rmtree(folder)
            tables = self.recipe(scale, base=folder.name == BASE)
            run_training(TrainingRecipe.from_tables(tables), "embedded", folder, device="cpu")
        measurement = Evaluate(
            models=tuple(map(str, folders)),
            data="embedded",
            limit=scale.test_images,
            attack_limit=scale.attack_images,
            out=self.out,
            batch_size=50,
            audit=False,
            seed=self.seed,
            device="cpu",
        )
        run_evaluation(measurement, conditions=conditions(scale), experiment="demo")
        page = self.out / "report.html"
        print(write_evaluation_report([self.out, *folders], page))
        print(f"\nreport: {page.resolve()}")

    def recipe(self, scale: Scale, *, base: bool) -> dict[str, dict[str, Any]]:
        """Return the tables of the recipe that both networks share."""
        tables = tomllib.loads(RECIPE)
        tables["model"]["base"] = base
        tables["optimization"] |= {"epochs": scale.epochs, "seed": self.seed}
        return tables


def conditions(scale: Scale) -> list[Condition]:
    """Return clean images, corruptions and attacks."""
    from vonenet.robustness import Attack, Clean, Corruption

    corrupted = [Corruption(name, s) for name in scale.corruptions for s in scale.severities]
    attacked = [
        Attack(norm, epsilon, scale.steps, scale.gradient_samples)
        for norm, epsilon in scale.attacks
    ]
    return [Clean(), *corrupted, *attacked]
