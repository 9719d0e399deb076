"""The study of docs/evidence.md: trains its networks and measures them.

python scripts/study.py search --data PATH/tiny-imagenet     # settings of V1, in small
python scripts/study.py arms --data PATH/tiny-imagenet A C --seeds 0 1 2
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from tyro.conf import Positional

from vonenet.cli.evaluate import Evaluate, run_evaluation
from vonenet.cli.train import run_training
from vonenet.training.config import TrainingRecipe

ROOT = Path(__file__).parents[1]
RECIPE = ROOT / "recipes" / "tiny_imagenet_voneresnet_tiny.toml"
CLASSES = "?classes=100"

# What each arm has that the recipe has not. Two are not complete: of D the strength is still to be
# chosen on held-out images, before its first run; and H, the ensemble, is not here yet.
ARMS: dict[str, dict[str, Any]] = {
    "A": {"model": {"base": True}},
    "B": {"model": {"settings": {"front_end": "vonenet_no_noise"}}},
    "C": {},
    "D": {"model": {"base": True, "stem_noise": 1.0}},
    "E": {"model": {"base": True}, "augmentation": {"gaussian_noise": 0.1}},
    "F": {"model": {"settings": {"front_end": "evnet2025"}}},
    "G": {"model": {"settings": {"front_end": "vonenet2026"}}},
}

# Settings of C that the search tries, one at a time
CANDIDATES: dict[str, dict[str, Any]] = {
    "base": ARMS["A"],
    "default": ARMS["C"],
    "4 degrees": {"model": {"settings": {"visual_degrees": 4.0}}},
    "8 degrees": {"model": {"settings": {"visual_degrees": 8.0}}},
    "own frequency laws": {"model": {"settings": {"filters": "by_cell_type"}}},
    "DC-balanced": {"model": {"settings": {"dc_balanced": True}}},
    "half the noise": {"model": {"settings": {"fano_factor": 0.25}}},
    "twice the noise": {"model": {"settings": {"fano_factor": 4.0}}},
    "half the gain": {"model": {"settings": {"k_exc": 12.5}}},
    "evnet2025": ARMS["F"],
    "vonenet2026": ARMS["G"],
}
# Of each candidate: images, epochs, and images that are attacked
SMALL = {"data": {"limit": 20_000}, "optimization": {"epochs": 6}}
ATTACKED = 500


@dataclass(frozen=True)
class Search:
    """Train each candidate on a fifth of the images, and measure it on held-out training images.

    Attributes:
        names: candidates; all if none is given.
        data: the folder of Tiny ImageNet.
        out: folder for the runs, and for results.jsonl.
        seed: of weights, order and noise.
    """

    names: Annotated[Positional[tuple[str, ...]], tyro.conf.arg(metavar="NAME...")] = ()
    data: str = "tiny-imagenet"
    out: Path = Path("build/search")
    seed: int = 0

    def run(self) -> None:
        """Train and measure; what is done already is not done again."""
        for name in self.names or CANDIDATES:
            run = self.out / name.replace(" ", "_")
            recipe = recipe_of(CANDIDATES[name], SMALL, self.seed)
            run_training(recipe, self.data + CLASSES, run, progress=False)
            measured = Evaluate(
                (str(run),),
                data=self.data + CLASSES,
                split="validation",
                attack_limit=ATTACKED,
                out=self.out,
                audit=False,
            )
            run_evaluation(measured, experiment="search", progress=False)
            print(name, "done", flush=True)


@dataclass(frozen=True)
class Arms:
    """Train arms of the study.

    Attributes:
        names: letters of arms.
        data: the folder of Tiny ImageNet.
        out: folder for the runs, one per arm and seed.
        seeds: of weights, order and noise.
    """

    names: Positional[tuple[str, ...]]
    data: str = "tiny-imagenet"
    out: Path = Path("build/study")
    seeds: tuple[int, ...] = (0,)

    def run(self) -> None:
        """Train one after the other; a run that was stopped goes on."""
        for seed in self.seeds:
            for name in self.names:
                recipe = recipe_of(ARMS[name], {}, seed)
                run_training(recipe, self.data + CLASSES, self.out / f"{name}{seed}")


def recipe_of(arm: Mapping[str, Any], scale: Mapping[str, Any], seed: int) -> TrainingRecipe:
    """Return the study's recipe with the changes of an arm, a scale and a seed."""
    tables: dict[str, dict[str, Any]] = dataclasses.asdict(TrainingRecipe.read(RECIPE))
    for changes in (arm, scale, {"optimization": {"seed": seed}}):
        for name, values in changes.items():
            settings = tables[name].get("settings", {}) | values.get("settings", {})
            tables[name] |= values | ({"settings": settings} if settings else {})
    return TrainingRecipe.from_tables(tables)


if __name__ == "__main__":
    tyro.cli(Search | Arms).run()
