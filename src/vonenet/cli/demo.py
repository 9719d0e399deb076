"""`vonenet demo`: a small network and its VOneNet, trained alike, measured alike, one page."""

from __future__ import annotations

import dataclasses
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vonenet.cli.evaluate import Evaluate, run_evaluation
from vonenet.errors import InputError, Preempted

if TYPE_CHECKING:
    from vonenet.robustness import Condition
    from vonenet.training import TrainingRecipe

BASE, VONE = "base", "vonenet"
EXPERIMENT = "demo"  # what the rows belong to
NOTE = "demo.json"  # marks the folder of a demonstration


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
        """Train, measure, write the page and print its tables.

        Raises:
            InputError: The folder holds something else than an earlier demonstration.
        """
        from vonenet.cli.train import run_training
        from vonenet.files import locked_folder
        from vonenet.report.evaluation import write_evaluation_report
        from vonenet.v1.memory import keep_freed_memory

        keep_freed_memory()
        with locked_folder(self.out):
            self.clear()
            scale = QUICK if self.quick else FULL
            folders = [self.out / name for name in (BASE, VONE)]
            for folder in folders:
                recipe = self.recipe(scale, base=folder.name == BASE)
                try:
                    run_training(recipe, "embedded", folder, device="cpu")
                except (Preempted, KeyboardInterrupt) as stop:
                    raise type(stop)("stopped; the same command begins anew") from None
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
            run_evaluation(measurement, conditions=conditions(scale), experiment=EXPERIMENT)
            page = self.out / "report.html"
            print(write_evaluation_report([self.out, *folders], page))
            print(f"\nreport: {page.resolve()}")

    def clear(self) -> None:
        """Remove what an earlier demonstration left in the folder, and mark it as one's.

        Raises:
            InputError: The folder holds something else.
        """
        from vonenet.files import LOCK, write_whole
        from vonenet.results import AUDIT, EXAMPLES, RESULTS, V1_FILTERS, V1_RESPONSES, read_jsonl

        rows = self.out / RESULTS
        own = not {path.name for path in self.out.iterdir()} - {LOCK}
        if (self.out / NOTE).is_file() and not (self.out / AUDIT).exists():
            own = not rows.is_file() or all(r.experiment == EXPERIMENT for r in read_jsonl(rows))
        if not own:
            raise InputError(
                f"{self.out} holds something else than a demonstration, which would replace it; "
                "allowed: a new folder, as --out FOLDER"
            )
        write_whole(self.out / NOTE, json.dumps(dataclasses.asdict(self), default=str).encode())
        for name in (RESULTS, EXAMPLES, V1_FILTERS, V1_RESPONSES):
            (self.out / name).unlink(missing_ok=True)
        for name in (BASE, VONE):
            shutil.rmtree(self.out / name, ignore_errors=True)

    def recipe(self, scale: Scale, *, base: bool) -> TrainingRecipe:
        """Return the recipe of a network: that which is shipped, as long as the scale says."""
        from vonenet.cli.train import find_recipe
        from vonenet.training import TrainingRecipe

        recipe = TrainingRecipe.read(find_recipe("demo"))
        optimization = dataclasses.replace(recipe.optimization, epochs=scale.epochs, seed=self.seed)
        model = dataclasses.replace(recipe.model, base=base)
        return dataclasses.replace(recipe, model=model, optimization=optimization)


def conditions(scale: Scale) -> list[Condition]:
    """Return clean images, corruptions and attacks."""
    from vonenet.robustness import Attack, Clean, Corruption

    corrupted = [Corruption(name, s) for name in scale.corruptions for s in scale.severities]
    attacked = [
        Attack(norm, epsilon, scale.steps, scale.gradient_samples)
        for norm, epsilon in scale.attacks
    ]
    return [Clean(), *corrupted, *attacked]
