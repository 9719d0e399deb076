"""The attacks of other libraries, behind one signature, for `attack_strength.py`.

Each takes the same budget as ours. Where a library does not average gradients over noise, it is
handed a model that averages logits over the same number of draws.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from vonenet.robustness.autoattack import NORM_NAMES
from vonenet.robustness.sampling import sample_logits


@dataclass(frozen=True)
class Budget:
    """What every attack may spend.

    Attributes:
        norm: "linf", "l2" or "l1".
        epsilon: radius in pixel units.
        steps: gradient steps.
        step_size: of PGD.
        samples: noise draws per gradient.
    """

    norm: str
    epsilon: float
    steps: int
    step_size: float
    samples: int


Opponent: TypeAlias = Callable[[nn.Module, Tensor, Tensor, Budget], Tensor]


class AveragedLogits(nn.Module):
    """Logits averaged over noise draws, for libraries that know nothing of noise."""

    def __init__(self, model: nn.Module, samples: int) -> None:
        super().__init__()
        self.model = model
        self.samples = samples

    def forward(self, pixels: Tensor) -> Tensor:
        """Returns logits (B, K)."""
        return sample_logits(self.model, pixels, self.samples).mean(dim=0)


def foolbox_pgd(model: nn.Module, images: Tensor, labels: Tensor, budget: Budget) -> Tensor:
    """PGD of foolbox."""
    foolbox = import_module("foolbox")
    kinds = {"linf": "LinfPGD", "l2": "L2PGD", "l1": "L1PGD"}
    attack = getattr(foolbox.attacks, kinds[budget.norm])(
        abs_stepsize=budget.step_size, steps=budget.steps, random_start=False
    )
    averaged = AveragedLogits(model, budget.samples).eval()
    target = foolbox.PyTorchModel(averaged, bounds=(0, 1), device=images.device)
    _, clipped, _ = attack(target, images, labels, epsilons=budget.epsilon)
    adversarial: Tensor = clipped
    return adversarial


def torchattacks_pgd(model: nn.Module, images: Tensor, labels: Tensor, budget: Budget) -> Tensor:
    """PGD of torchattacks: with its own averaging for L-inf."""
    torchattacks = import_module("torchattacks")
    shared = {"eps": budget.epsilon, "alpha": budget.step_size, "steps": budget.steps}
    if budget.norm == "l2":
        averaged = AveragedLogits(model, budget.samples).eval()
        attack = torchattacks.PGDL2(averaged, **shared, random_start=False)
    elif budget.samples > 1:
        attack = torchattacks.EOTPGD(model, **shared, eot_iter=budget.samples, random_start=False)
    else:
        attack = torchattacks.PGD(model, **shared, random_start=False)
    return _tensor(attack(images, labels))


def torchattacks_apgd(model: nn.Module, images: Tensor, labels: Tensor, budget: Budget) -> Tensor:
    """APGD of torchattacks."""
    attack = import_module("torchattacks").APGD(
        model,
        norm=NORM_NAMES[budget.norm],
        eps=budget.epsilon,
        steps=budget.steps,
        eot_iter=budget.samples,
    )
    return _tensor(attack(images, labels))


def art_pgd(model: nn.Module, images: Tensor, labels: Tensor, budget: Budget) -> Tensor:
    """PGD of the Adversarial Robustness Toolbox."""
    evasion = import_module("art.attacks.evasion")
    attack = evasion.ProjectedGradientDescentPyTorch(
        _art_classifier(model, images, labels, budget.samples),
        norm=ART_NORMS[budget.norm],
        eps=budget.epsilon,
        eps_step=budget.step_size,
        max_iter=budget.steps,
        num_random_init=0,
        batch_size=len(images),
        verbose=False,
    )
    found = attack.generate(images.cpu().numpy(), labels.cpu().numpy())
    return torch.from_numpy(found).to(images)


def art_apgd(model: nn.Module, images: Tensor, labels: Tensor, budget: Budget) -> Tensor:
    """APGD of the Adversarial Robustness Toolbox."""
    evasion = import_module("art.attacks.evasion")
    attack = evasion.AutoProjectedGradientDescent(
        _art_classifier(model, images, labels, budget.samples),
        norm=ART_NORMS[budget.norm],
        eps=budget.epsilon,
        eps_step=2 * budget.epsilon,
        max_iter=budget.steps,
        nb_random_init=1,
        batch_size=len(images),
        loss_type="cross_entropy",
        verbose=False,
    )
    found = attack.generate(images.cpu().numpy(), labels.cpu().numpy())
    return torch.from_numpy(found).to(images)


def pyautoattack_apgd(
    model: nn.Module, images: Tensor, labels: Tensor, budget: Budget, loss: str = "ce"
) -> Tensor:
    """APGD of pyautoattack, the authors' own code."""
    attack = import_module("pyautoattack.autopgd_base").APGDAttack(
        model,
        n_iter=budget.steps,
        norm=NORM_NAMES[budget.norm],
        eps=budget.epsilon,
        eot_iter=budget.samples,
        loss=loss,
        device=images.device,
    )
    return _tensor(attack.perturb(images, labels))


def pyautoattack_dlr(model: nn.Module, images: Tensor, labels: Tensor, budget: Budget) -> Tensor:
    """APGD-DLR of pyautoattack."""
    return pyautoattack_apgd(model, images, labels, budget, loss="dlr")


# The libraries' modules, by the names that they are called by
MODULES = {
    "foolbox": "foolbox",
    "torchattacks": "torchattacks",
    "ART": "art",
    "pyautoattack": "pyautoattack",
}
ART_NORMS: Mapping[str, float] = {"linf": float("inf"), "l2": 2, "l1": 1}
# By our attack that they stand against, and the norms that they know.
OPPONENTS: Mapping[str, Mapping[str, tuple[Opponent, tuple[str, ...]]]] = {
    "pgd": {
        "foolbox": (foolbox_pgd, ("linf", "l2", "l1")),
        "torchattacks": (torchattacks_pgd, ("linf", "l2")),
        "ART": (art_pgd, ("linf", "l2", "l1")),
    },
    "apgd": {
        "pyautoattack": (pyautoattack_apgd, ("linf", "l2", "l1")),
        "torchattacks": (torchattacks_apgd, ("linf", "l2")),
        "ART": (art_apgd, ("linf", "l2")),
    },
    "apgd-dlr": {"pyautoattack": (pyautoattack_dlr, ("linf", "l2", "l1"))},
}


def is_installed(library: str) -> bool:
    """Whether a library of `MODULES` is there."""
    return find_spec(MODULES[library]) is not None


def _art_classifier(model: nn.Module, images: Tensor, labels: Tensor, samples: int) -> Any:
    averaged = AveragedLogits(model, samples).eval()
    with torch.no_grad():
        classes = averaged(images[:1]).shape[1]
    return import_module("art.estimators.classification").PyTorchClassifier(
        model=averaged,
        loss=nn.CrossEntropyLoss(),
        input_shape=tuple(images.shape[1:]),
        nb_classes=classes,
        clip_values=(0, 1),
        device_type=images.device.type,
    )


def _tensor(found: Tensor) -> Tensor:
    return found.detach()
