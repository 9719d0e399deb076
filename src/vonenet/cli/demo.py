"""`vonenet demo`: a small network and its VOneNet, trained alike, measured alike, one page."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vonenet.robustness import Condition

BASE, VONE = "base", "vonenet"
# recipes/demo.toml, which is not in an installed package
RECIPE: dict[str, dict[str, Any]] = {
    "model": {
        "name": "voneresnet_small",
        "settings": {
            "visual_degrees": 2.0,
            "simple_channels": 128,
            "complex_channels": 128,
            "kernel_size": 15,
            "stride": 2,
            "sf_max": 5.6,
        },
    },
    "data": {"image_size": 32, "in_chans": 1},
    "optimization": {
        "epochs": 6,
        "batch_size": 64,
        "learning_rate": 0.1,
        "weight_decay": 5e-4,
        "schedule": "onecycle",
    },
    "augmentation": {"crop": "centre"},
}
QUICK_CORRUPTIONS = ("gaussian_noise", "defocus_blur", "brightness", "contrast")
CORRUPTIONS = (
    *QUICK_CORRUPTIONS,
    "shot_noise",
    "impulse_noise",
    "pixelate",
    "jpeg_compression",
)
# Norm and radius in pixels of [0, 1]; the paper's radii do little to such images
QUICK_ATTACKS = (("linf", 8 / 255), ("l2", 0.6))
ATTACKS = (("linf", 4 / 255), ("linf", 8 / 255), ("l2", 0.6), ("l2", 1.5))


@dataclass(frozen=True)
class Demo:
    """Train a small network and its VOneNet on embedded images, measure both, write a report.

    What an earlier demonstration left in the folder is replaced.

    Attributes:
        quick: fewer images, epochs and conditions: about a minute.
        out: folder for report.html, results.jsonl and the folders of both trainings.
        seed: seed of weights, order, noise and corruptions.
    """

    quick: bool = False
    out: Path = Path("demo")
    seed: int = 0

    def run(self) -> None:
        """Train, measure, write the page and print its tables."""
        from vonenet.cli.evaluate import Evaluate
        from vonenet.cli.evaluation import run_evaluation
        from vonenet.cli.training import run_training
        from vonenet.v1.memory import keep_freed_memory
        from vonenet.report.evaluation import write_evaluation_report
        from vonenet.training import TrainingRecipe

        keep_freed_memory()
        self._remove_earlier()
        folders = [self.out / name for name in (BASE, VONE)]
        for folder in folders:
            recipe = TrainingRecipe.from_tables(self.recipe(base=folder.name == BASE))
            run_training(recipe, "embedded", folder, device="cpu")
        measurement = Evaluate(
            models=tuple(map(str, folders)),
            data="embedded",
            limit=500 if self.quick else None,
            attack_limit=100 if self.quick else 250,
            out=self.out,
            batch_size=50,
            audit=False,
            seed=self.seed,
            device="cpu",
        )
        run_evaluation(measurement, conditions=self.conditions(), experiment="demo")
        page = self.out / "report.html"
        print(write_evaluation_report([self.out, *folders], page))
        print(f"\nreport: {page.resolve()}")

    def recipe(self, *, base: bool) -> dict[str, dict[str, Any]]:
        """Return the tables of the recipe, which both networks share."""
        optimization = RECIPE["optimization"] | {"seed": self.seed}
        if self.quick:
            optimization["epochs"] = 3
        return RECIPE | {
            "model": RECIPE["model"] | {"base": base},
            "optimization": optimization,
        }

    def conditions(self) -> list[Condition]:
        """Return clean images, corruptions, and attacks at radii of the demonstration's own."""
        from vonenet.robustness import Attack, Clean, Corruption

        names = QUICK_CORRUPTIONS if self.quick else CORRUPTIONS
        severities = (3, 5) if self.quick else (1, 3, 5)
        steps, samples = (10, 4) if self.quick else (20, 8)
        return [
            Clean(),
            *(Corruption(name, severity) for name in names for severity in severities),
            *(
                Attack(norm, epsilon, steps, samples)
                for norm, epsilon in (QUICK_ATTACKS if self.quick else ATTACKS)
            ),
        ]

    def _remove_earlier(self) -> None:
        from vonenet.results import EXAMPLES, RESULTS, RUN, V1_FILTERS, V1_RESPONSES

        for name in (RESULTS, EXAMPLES, V1_FILTERS, V1_RESPONSES):
            (self.out / name).unlink(missing_ok=True)
        for name in (BASE, VONE):
            if (self.out / name / RUN).is_file():
                shutil.rmtree(self.out / name)
