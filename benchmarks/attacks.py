"""Our attacks and those of other libraries, behind one signature.

A library that does not average gradients over noise samples attacks a model that averages its
logits over as many samples.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from vonenet.robustness.apgd import apgd
from vonenet.robustness.attacks import pgd
from vonenet.robustness.sampling import sample_logits


@dataclass(frozen=True)
class Budget:
    """What every attack may spend."""

    norm: str  # linf, l2 or l1
    epsilon: float  # radius, for pixels in [0, 1]
    steps: int
    step_size: float  # of PGD, for pixels in [0, 1]
    samples: int  # noise samples per gradient


Attack = Callable[[nn.Module, Tensor, Tensor, Budget], Tensor]


class AveragedLogits(nn.Module):
    """Logits averaged over noise samples, for libraries that do not know of noise."""

    def __init__(self, model: nn.Module, samples: int) -> None:
        super().__init__()
        self.model, self.samples = model, samples
        self.eval()

    def forward(self, pixels: Tensor) -> Tensor:
        """Compute logits (B, K)."""
        return sample_logits(self.model, pixels, self.samples).mean(dim=0)


def _ours(kind: str, model: nn.Module, x: Tensor, labels: Tensor, b: Budget) -> Tensor:
    common = {"norm": b.norm, "epsilon": b.epsilon, "steps": b.steps, "gradient_samples": b.samples}
    attack: Callable[..., Tensor] = partial(apgd, loss="dlr" if kind == "apgd-dlr" else "ce")
    if kind == "pgd":
        attack = partial(pgd, step_size=b.step_size)
    return attack(model, x, labels, **common)


def _foolbox(_kind: str, model: nn.Module, x: Tensor, labels: Tensor, b: Budget) -> Any:
    foolbox = import_module("foolbox")
    name = {"linf": "LinfPGD", "l2": "L2PGD", "l1": "L1PGD"}[b.norm]
    options = {"abs_stepsize": b.step_size, "steps": b.steps, "random_start": False}
    averaged = AveragedLogits(model, b.samples)
    target = foolbox.PyTorchModel(averaged, bounds=(0, 1), device=x.device)
    attack = getattr(foolbox.attacks, name)(**options)
    return attack(target, x, labels, epsilons=b.epsilon)[1]


def _torchattacks(_kind: str, model: nn.Module, x: Tensor, labels: Tensor, b: Budget) -> Any:
    library = import_module("torchattacks")
    options = {"eps": b.epsilon, "alpha": b.step_size, "steps": b.steps, "random_start": False}
    if b.norm == "l2":
        attack = library.PGDL2(AveragedLogits(model, b.samples), **options)
    elif b.samples > 1:
        attack = library.EOTPGD(model, eot_iter=b.samples, **options)
    else:
        attack = library.PGD(model, **options)
    return attack(x, labels).detach()


def _art(_kind: str, model: nn.Module, x: Tensor, labels: Tensor, b: Budget) -> Any:
    averaged = AveragedLogits(model, b.samples)
    with torch.no_grad():
        classes = averaged(x[:1]).shape[1]
    shape = {"input_shape": tuple(x.shape[1:]), "nb_classes": classes, "clip_values": (0, 1)}
    classifier = import_module("art.estimators.classification").PyTorchClassifier(
        averaged, nn.CrossEntropyLoss(), **shape, device_type=x.device.type
    )
    norm = {"linf": float("inf"), "l2": 2, "l1": 1}[b.norm]
    options = {"norm": norm, "eps": b.epsilon, "eps_step": b.step_size, "max_iter": b.steps}
    options |= {"num_random_init": 0, "batch_size": len(x), "verbose": False}
    library = import_module("art.attacks.evasion")
    attack = library.ProjectedGradientDescentPyTorch(classifier, **options)
    return torch.from_numpy(attack.generate(x.cpu().numpy(), labels.cpu().numpy())).to(x)


def _pyautoattack(kind: str, model: nn.Module, x: Tensor, labels: Tensor, b: Budget) -> Any:
    options = {"n_iter": b.steps, "norm": b.norm.capitalize(), "eps": b.epsilon}
    options |= {"eot_iter": b.samples, "loss": "ce" if kind == "apgd" else "dlr"}
    library = import_module("pyautoattack.autopgd_base")
    return library.APGDAttack(model, device=x.device, **options).perturb(x, labels).detach()


KINDS = ("pgd", "apgd", "apgd-dlr")
# Library -> its attack, its module, its package, and the norms of each kind that it knows
LIBRARIES: dict[str, tuple[Callable[..., Tensor], str, str, dict[str, str]]] = {
    "foolbox": (_foolbox, "foolbox", "foolbox", {"pgd": "linf l2 l1"}),
    "torchattacks": (_torchattacks, "torchattacks", "torchattacks", {"pgd": "linf l2"}),
    "ART": (_art, "art", "adversarial-robustness-toolbox", {"pgd": "linf l2 l1"}),
    "pyautoattack": (
        _pyautoattack,
        "pyautoattack",
        "pyautoattack",
        dict.fromkeys(KINDS[1:], "linf l2 l1"),
    ),
}


def installed() -> list[str]:
    """List the libraries that can be imported."""
    return [name for name, (_, module, *_) in LIBRARIES.items() if find_spec(module)]


def attacks(kind: str, norm: str) -> dict[str, Attack]:
    """List our attack and those of the installed libraries that know the norm, by library."""
    found: dict[str, Attack] = {"ours": partial(_ours, kind)}
    for name in installed():
        run, _, _, norms = LIBRARIES[name]
        if norm in norms.get(kind, "").split():
            found[name] = partial(run, kind)
    return found
