"""How strong our attacks are beside those of other libraries, at equal budget.

    python -m vonenet.benchmarks.attack_strength --out docs/attack-strength.md

Trains the demonstration's two small networks (about four minutes on one core; kept in --weights),
attacks both with ours and with theirs, and writes the accuracies that are left as a table.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm import tqdm

from vonenet.benchmarks.opponents import OPPONENTS, Budget, is_installed
from vonenet.data import PixelModel, load_embedded
from vonenet.data.seeding import seeded
from vonenet.demo import DemoConfig, build_pair
from vonenet.robustness.attacks import apgd, default_step_size, pgd
from vonenet.robustness.intervals import chance_of_more_losses, noisy_accuracy_interval
from vonenet.robustness.sampling import averaged_probabilities
from vonenet.training import train

# One radius a norm, at which the demonstration's networks keep some images and lose others.
RADII = {"linf": 6 / 255, "l2": 0.6, "l1": 6.0}
REPEATS, DECISION_SAMPLES = 5, 10
# Where luck alone explains a difference less often than this, theirs counts as stronger.
SIGNIFICANT = 0.025
PACKAGES = {
    "foolbox": "foolbox",
    "torchattacks": "torchattacks",
    "ART": "adversarial-robustness-toolbox",
    "pyautoattack": "pyautoattack",
}


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What one attack left.

    Attributes:
        model: name of the network.
        attack: "pgd", "apgd" or "apgd-dlr".
        norm: of the attack.
        library: whose attack.
        correct: (repeats, n), decisions that are still right.
        outside: how far the result leaves the ball, relative to its radius; 0 where it does not.
    """

    model: str
    attack: str
    norm: str
    library: str
    correct: Tensor
    outside: float

    @property
    def accuracy(self) -> float:
        """Share of decisions that are still right."""
        return float(self.correct.float().mean())


def main() -> None:
    """Reads the command line, measures, writes the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--out", type=Path, default=Path("docs/attack-strength.md"))
    parser.add_argument("--weights", type=Path, default=Path("results/attack-strength"))
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--samples", type=int, default=4, help="noise draws per gradient")
    chosen = parser.parse_args()
    models = trained_pair(chosen.weights)
    data = load_embedded("test", in_chans=1).subset(chosen.images)
    images = torch.stack([data[index][0] for index in range(len(data))])
    rows = list(compare(models, images, data.labels, chosen.steps, chosen.samples))
    settings = f"{chosen.images} images, {chosen.steps} steps, {chosen.samples} noise draws"
    page = table(rows, settings)
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    chosen.out.write_text(page, encoding="utf-8")
    sys.stdout.write(page)


def trained_pair(folder: Path) -> dict[str, PixelModel]:
    """The demonstration's networks, trained briefly, or loaded if the folder has them."""
    config = DemoConfig().quick()
    models = build_pair(config)
    for name, model in models.items():
        path = folder / f"{name}.safetensors"
        if path.exists():
            model.load_state_dict(load_file(path))
        else:
            training = load_embedded("train", in_chans=1).subset(config.training_images)
            train(model, training, config.recipe, label=name, device="cpu")
            folder.mkdir(parents=True, exist_ok=True)
            save_file(model.state_dict(), path)
        model.eval()
    return models


def compare(
    models: dict[str, PixelModel], images: Tensor, labels: Tensor, steps: int, samples: int
) -> Iterator[Outcome]:
    """Every attack of every library on every network, norm by norm; ours first."""
    plan = [
        (name, attack, norm, *contender)
        for name in models
        for attack in OPPONENTS
        for norm in RADII
        for contender in contenders(attack, norm)
    ]
    for name, attack, norm, library, run in tqdm(plan, desc="attacks", unit="attack"):
        epsilon, draws = RADII[norm], samples if name == "VOneNet" else 1
        budget = Budget(norm, epsilon, steps, default_step_size(epsilon, steps), draws)
        with seeded(0, images.device):
            found = run(models[name], images.clone(), labels.clone(), budget)
        models[name].eval()
        correct = decisions(models[name], found, labels, draws)
        outside = _outside(found - images, budget)
        yield Outcome(name, attack, norm, library, correct, outside)


def contenders(
    attack: str, norm: str
) -> Iterator[tuple[str, Callable[[nn.Module, Tensor, Tensor, Budget], Tensor]]]:
    """Ours, and each installed library's that knows the norm."""
    yield "vonenet", partial(ours, attack)
    for library, (run, norms) in OPPONENTS[attack].items():
        if norm in norms and is_installed(library):
            yield library, run


def ours(attack: str, model: nn.Module, images: Tensor, labels: Tensor, budget: Budget) -> Tensor:
    """Our attack at the budget."""
    attacker = partial(
        pgd if attack == "pgd" else apgd,
        norm=budget.norm,
        epsilon=budget.epsilon,
        steps=budget.steps,
        gradient_samples=budget.samples,
    )
    own: dict[str, dict[str, Any]] = {
        "pgd": {"step_size": budget.step_size},
        "apgd": {"loss": "ce"},
        "apgd-dlr": {"loss": "dlr"},
    }
    return attacker(model, images, labels, **own[attack])


def decisions(model: nn.Module, images: Tensor, labels: Tensor, draws: int) -> Tensor:
    """Whether each image is decided right, (repeats, n); once for a deterministic network."""
    repeats, samples = (REPEATS, DECISION_SAMPLES) if draws > 1 else (1, 1)
    with seeded(1, images.device):
        decided = [
            averaged_probabilities(model, images, samples).argmax(dim=1) for _ in range(repeats)
        ]
    return torch.stack(decided) == labels


def table(rows: list[Outcome], settings: str) -> str:
    """The page: a row for each network, attack and norm."""
    installed = {name: each for name, each in PACKAGES.items() if is_installed(name)}
    versions = ", ".join(f"{name} {version(package)}" for name, package in installed.items())
    lines = [
        "# Strength of attacks at equal budget",
        "",
        f"Accuracy that is left, with 95 % interval; lower is stronger. {settings} per gradient of",
        f"the stochastic network, whose decisions are averaged over {DECISION_SAMPLES} draws and",
        f"repeated {REPEATS} times. Radii: "
        + ", ".join(f"{norm} {radius:.3g}" for norm, radius in RADII.items())
        + f". {versions}.",
        "`>` marks a result of another library that left its ball by more than 0.1 %.",
        "",
        "| network | attack | norm | vonenet | others | ours is no weaker |",
        "|---|---|---|---|---|---|",
    ]
    keys = dict.fromkeys((row.model, row.attack, row.norm) for row in rows)
    for key in keys:
        first, *others = (row for row in rows if (row.model, row.attack, row.norm) == key)
        cells = "; ".join(f"{row.library} {_cell(row)}" for row in others)
        verdict = all(_no_weaker(first, other) for other in others)
        lines.append(
            f"| {' | '.join(key)} | {_cell(first)} | {cells} | {'yes' if verdict else '**no**'} |"
        )
    return "\n".join(lines) + "\n"


def _cell(row: Outcome) -> str:
    low, high = noisy_accuracy_interval(row.correct)
    mark = ">" if row.outside > 1e-3 else ""
    return f"{mark}{row.accuracy:.1%} ({low:.1%} to {high:.1%})"


def _no_weaker(first: Outcome, other: Outcome) -> bool:
    """Whether luck could explain what the other broke beyond ours; majority over repeats."""
    kept, kept_by_other = (row.correct.float().mean(dim=0) > 0.5 for row in (first, other))
    return chance_of_more_losses(kept, kept_by_other) > SIGNIFICANT


def _outside(change: Tensor, budget: Budget) -> float:
    order = {"linf": float("inf"), "l2": 2.0, "l1": 1.0}[budget.norm]
    longest = torch.linalg.vector_norm(change.flatten(1).double(), ord=order, dim=1).max()
    return max(0.0, float(longest) / budget.epsilon - 1)


if __name__ == "__main__":
    main()
