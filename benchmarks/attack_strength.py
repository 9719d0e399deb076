"""The strength of our attacks beside those of other libraries, at equal budget.

    python -m benchmarks.attack_strength --out docs/attack-strength.md

Trains the two small networks of the demonstration (about four minutes on one core), attacks both
with every library, and writes the remaining accuracies as a table.
"""

from __future__ import annotations

import itertools
from importlib.metadata import version
from pathlib import Path

import torch
import tyro
from torch import Tensor, nn
from tqdm import tqdm

from benchmarks.attacks import KINDS, LIBRARIES, Budget, attacks, installed
from benchmarks.intervals import noisy_accuracy_interval
from vonenet.cli.demo import BASE, QUICK, VONE, Demo
from vonenet.cli.train import build_model
from vonenet.data import load_embedded
from vonenet.data.seeding import seeded
from vonenet.files import write_whole
from vonenet.robustness.attacks import default_step_size
from vonenet.robustness.audit import sign_test
from vonenet.robustness.sampling import averaged_probabilities
from vonenet.training import train

# Norm -> its order, and a radius where the networks keep some images and lose others
RADII = {"linf": (float("inf"), 6 / 255), "l2": (2.0, 0.6), "l1": (1.0, 6.0)}
REPEATS, DECISION_SAMPLES = 5, 10
SIGNIFICANT = 0.025  # a difference that chance makes less often counts


def main(
    out: Path = Path("docs/attack-strength.md"),
    images: int = 200,
    steps: int = 20,
    samples: int = 4,
) -> None:
    """Measure the strength of attacks and write the page.

    Args:
        out: the page.
        images: number of test images.
        steps: gradient steps.
        samples: noise samples per gradient.
    """
    models = {}
    training = load_embedded("train", in_chans=1)
    for name in (BASE, VONE):
        recipe = Demo().recipe(QUICK, base=name == BASE)
        models[name] = build_model(recipe, training.classes)
        train(models[name], training, recipe, label=name, device="cpu")
    data = load_embedded("test", in_chans=1).subset(images)
    pixels = torch.stack([data[index][0] for index in range(len(data))])
    lines = [_head(f"{images} images, {steps} steps, {samples} noise samples")]
    for name, kind, norm in tqdm(list(itertools.product(models, KINDS, RADII)), unit="row"):
        (order, epsilon), draws = RADII[norm], samples if name == VONE else 1
        budget = Budget(norm, epsilon, steps, default_step_size(epsilon, steps), draws)
        kept, cells = {}, {}
        for library, attack in attacks(kind, norm).items():
            with seeded(0, pixels.device):
                found = attack(models[name].eval(), pixels.clone(), data.labels.clone(), budget)
            kept[library] = decisions(models[name].eval(), found, data.labels, draws)
            change = (found - pixels).flatten(1).double()
            outside = torch.linalg.vector_norm(change, ord=order, dim=1).max() > 1.001 * epsilon
            low, high = noisy_accuracy_interval(kept[library])
            accuracy = f"{float(kept[library].float().mean()):.1%} ({low:.1%} to {high:.1%})"
            cells[library] = f"{'>' if outside else ''}{accuracy}"
        mine = cells.pop("ours")
        others = "; ".join(f"{library} {cell}" for library, cell in cells.items())
        no_weaker = all(_no_weaker(kept["ours"], kept[library]) for library in cells)
        verdict = "yes" if no_weaker else "**no**"
        lines.append(f"| {name} | {kind} | {norm} | {mine} | {others} | {verdict} |\n")
    write_whole(out, "".join(lines).encode())
    print("".join(lines))


def decisions(model: nn.Module, images: Tensor, labels: Tensor, draws: int) -> Tensor:
    """Find whether each image is classified right, (repeats, n); once without noise."""
    repeats, samples = (REPEATS, DECISION_SAMPLES) if draws > 1 else (1, 1)
    with seeded(1, images.device):
        found = [averaged_probabilities(model, images, samples) for _ in range(repeats)]
    return torch.stack(found).argmax(dim=2) == labels


def _no_weaker(correct: Tensor, correct_of_other: Tensor) -> bool:
    """Find whether chance could explain what the other broke beyond ours; majority of repeats."""
    kept, kept_by_other = (c.float().mean(dim=0) > 0.5 for c in (correct, correct_of_other))
    return sign_test(kept, kept_by_other) > SIGNIFICANT


def _head(settings: str) -> str:
    versions = ", ".join(f"{name} {version(LIBRARIES[name][2])}" for name in installed())
    radii = ", ".join(f"{norm} {radius:.3g}" for norm, (_, radius) in RADII.items())
    return f"""# Strength of attacks at equal budget

Networks of the demonstration, trained for it; written by `python -m benchmarks.attack_strength`.
Remaining accuracy, with 95 % interval; lower is stronger. The last column compares image by image.
{settings} per gradient of the stochastic network,
whose decisions are averaged over {DECISION_SAMPLES} samples and repeated {REPEATS} times.
Radii: {radii}; our PGD takes sparse L1 steps. torch {torch.__version__}, {versions}.
`>` marks a result that left its ball by more than 0.1 %.

| network | attack | norm | vonenet | others | ours is no weaker |
|---|---|---|---|---|---|
"""


if __name__ == "__main__":
    tyro.cli(main)
