"""Is a measured robustness real? Signs by which an attack that fails gives itself away.

After Athalye et al. 2018 (arXiv:1802.00420, section 3.1), Carlini et al. 2019 (arXiv:1902.06705)
and, for noise, Lucas et al. 2023 (arXiv:2304.09403). The checks share a reference: PGD at the
radius where it leaves nearest to half of the clean accuracy, so that a better attack would show.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity
from tqdm import tqdm

from vonenet.data.dataset import ImageDataset
from vonenet.data.seeding import seeded
from vonenet.results import wilson_interval
from vonenet.robustness.attack_condition import Attack
from vonenet.robustness.audit_subject import Subject, share_of
from vonenet.robustness.intervals import chance_of_more_losses
from vonenet.robustness.norms import Region
from vonenet.robustness.readiness import ready

NoiseOff = Callable[[nn.Module], AbstractContextManager[Any]]

# A difference that luck alone explains more often than this is none.
SIGNIFICANT = 0.025
SQUARE_QUERIES = 300
# Gradients that are zero or not finite for more than this share of the images are a mask.
USELESS_SHARE = 0.05
# Two averaged gradients of one image that agree less than this (cosine) hold more noise than slope.
AGREEMENT = 0.1


@dataclass(frozen=True)
class AuditCheck:
    """One question that a sound measurement answers with yes.

    Attributes:
        name: short, for flags.
        passed: whether the answer is yes.
        value: what was found.
        expected: what a sound measurement would have found.
        explanation: the question, and what a failure means.
    """

    name: str
    passed: bool
    value: float
    expected: str
    explanation: str


def audit(
    model: nn.Module,
    dataset: ImageDataset,
    *,
    norm: str = "linf",
    steps: int = 20,
    gradient_samples: int = 10,
    images: int = 50,
    base: nn.Module | None = None,
    noise_off: NoiseOff | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    progress: bool = True,
) -> list[AuditCheck]:
    """Looks for signs that attacks on a model fail for other reasons than its robustness.

    Args:
        model: Takes pixels in [0, 1] and returns logits; is put in eval mode meanwhile.
        dataset: Labelled images, of which a class-balanced part is used.
        norm: Of the attacks.
        steps: Gradient steps of the reference attack.
        gradient_samples: Noise draws per gradient, if the model is stochastic.
        images: How many images.
        base: A model whose adversarial images are tried on this one, e.g. the network without V1.
        noise_off: Switches a stochastic model's noise off in a `with`, e.g. `vonenet.no_noise`.
        batch_size: Images at a time; all if None.
        seed: Of noise and of random starts.
        progress: Show a progress bar over the checks.

    Returns:
        The checks, in a fixed order. See `audit_flags` for what rows say of them.

    Raises:
        InputError: On an unknown norm or impossible counts.
    """
    Region(norm, 0.0)
    part = dataset.subset(min(images, len(dataset)))
    with ready(model):
        subject = Subject.of(model, part, norm, steps, gradient_samples, batch_size, seed)
        questions = _questions(subject, base, noise_off)
        bar = tqdm(questions, desc="audit", unit="check", disable=not progress)
        with seeded(seed, subject.images.device):
            return [question() for question in bar]


def audit_flags(checks: Iterable[AuditCheck]) -> dict[str, bool | str]:
    """What a result row says of its model's audit: passed, or the names of the failed checks."""
    failed = [check.name for check in checks if not check.passed]
    return {"audit_failed": ", ".join(failed)} if failed else {"audit_passed": True}


def _questions(
    subject: Subject, base: nn.Module | None, noise_off: NoiseOff | None
) -> list[Callable[[], AuditCheck]]:
    """Everything to be asked of this model."""
    asked: list[Callable[[], AuditCheck]] = [
        partial(_useful_gradients, subject),
        partial(_falls_with_radius, subject),
        partial(_reaches_chance, subject),
    ]
    for name, explanation, variant in VARIANTS:
        if name in OF_NOISE and not subject.stochastic:
            continue
        if variant(subject.probe).method == "apgd-dlr" and subject.classes < 3:
            continue  # the loss needs three
        asked.append(partial(_no_stronger, subject, name, explanation, variant))
    if base is not None:
        asked.append(partial(_no_transfer, subject, base))
    if subject.stochastic:
        asked.append(partial(_gradients_agree, subject))
        if noise_off is not None:
            asked.append(partial(_noise_off, subject, noise_off))
    return asked


# --- the checks --------------------------------------------------------------------------------


def _useful_gradients(subject: Subject) -> AuditCheck:
    region = Region(subject.probe.norm, subject.radii[1])
    points = region.random_point(subject.images, torch.Generator().manual_seed(subject.seed))
    gradient = subject.gradient(points).flatten(1)
    useless = ~gradient.isfinite().all(dim=1) | (gradient == 0).all(dim=1)
    share = share_of(useless)
    return AuditCheck(
        "useful_gradients",
        share <= USELESS_SHARE,
        share,
        f"at most {USELESS_SHARE:.0%}",
        "Share of images whose gradient is zero or not finite: an attack that follows it goes "
        "nowhere, whatever the model's robustness.",
    )


def _falls_with_radius(subject: Subject) -> AuditCheck:
    steps = [subject.clean, *subject.by_radius]
    pairs = list(pairwise(steps))
    rise = max(share_of(larger) - share_of(smaller) for smaller, larger in pairs)
    surely = any(chance_of_more_losses(larger, smaller) < SIGNIFICANT for smaller, larger in pairs)
    return AuditCheck(
        "falls_with_radius",
        not surely,
        max(0.0, rise),
        "0, up to luck",
        "Largest rise of accuracy from one radius to a larger one, which holds all that the "
        "smaller one holds: a rise means that the attack fails at the larger.",
    )


def _reaches_chance(subject: Subject) -> AuditCheck:
    kept = subject.by_radius[-1]
    low, _ = wilson_interval(int(kept.sum()), len(kept))
    return AuditCheck(
        "reaches_chance",
        low <= 1 / subject.classes,
        share_of(kept),
        f"at most {1 / subject.classes:.2g}, up to luck",
        f"Accuracy at {subject.probe.norm} radius {subject.radii[-1]:.3g}, where every image can "
        "be turned grey: above chance the attack fails to find what certainly exists.",
    )


def _no_stronger(
    subject: Subject, name: str, explanation: str, variant: Callable[[Attack], Attack]
) -> AuditCheck:
    attack, kept = subject.reference
    return _compared(name, explanation, attack, kept, subject.after(variant(attack)))


def _no_transfer(subject: Subject, base: nn.Module) -> AuditCheck:
    attack, kept = subject.reference
    found = subject.attacked(attack, by=base.eval())
    explanation = (
        "adversarial images of the base model break what an attack that knows this model does "
        "not: its gradients mislead"
    )
    return _compared("transfer_no_stronger", explanation, attack, kept, subject.kept(found))


def _noise_off(subject: Subject, noise_off: NoiseOff) -> AuditCheck:
    attack, kept = subject.reference
    with noise_off(subject.model):
        found = subject.attacked(attack.for_deterministic_model())
    explanation = (
        "an attack on the mean response breaks what one through the noise does not: the noise "
        "hides the gradient, and more samples are needed"
    )
    return _compared("noise_off_no_stronger", explanation, attack, kept, subject.kept(found))


def _gradients_agree(subject: Subject) -> AuditCheck:
    first, second = (subject.gradient(subject.images).flatten(1) for _ in range(2))
    agreement = float(cosine_similarity(first, second).nan_to_num(0.0).mean())
    return AuditCheck(
        "gradients_agree",
        agreement >= AGREEMENT,
        agreement,
        f"at least {AGREEMENT}",
        f"Cosine of two gradients averaged over {subject.probe.gradient_samples} draws each: near "
        "0 they are noise, and more samples are needed.",
    )


# name, what a failure means, how the reference attack is changed
VARIANTS: Sequence[tuple[str, str, Callable[[Attack], Attack]]] = (
    (
        "more_steps_no_stronger",
        "four times the steps break more: the attack had not converged",
        lambda attack: replace(attack, steps=4 * attack.steps),
    ),
    (
        "restarts_no_stronger",
        "random starts break more: one start is not enough",
        lambda attack: replace(attack, restarts=3),
    ),
    (
        "dlr_no_stronger",
        "APGD on a loss that ignores the scale of the logits breaks more: they are saturated",
        lambda attack: replace(attack, method="apgd-dlr", steps=2 * attack.steps),
    ),
    (
        "square_no_stronger",
        "random search without any gradient breaks more: the gradient is masked",
        lambda attack: replace(attack, method="square", steps=SQUARE_QUERIES),
    ),
    (
        "more_samples_no_stronger",
        "gradients averaged over four times the noise draws break more: they were too noisy",
        lambda attack: replace(attack, gradient_samples=4 * attack.gradient_samples),
    ),
    (
        "one_sample_no_stronger",
        "gradients of one noise draw break more than averaged ones: averaging goes wrong",
        lambda attack: replace(attack, gradient_samples=1),
    ),
)
# Of these, what only stochastic models are asked.
OF_NOISE = ("more_samples_no_stronger", "one_sample_no_stronger")


def _compared(
    name: str, explanation: str, attack: Attack, kept: Tensor, kept_by_other: Tensor
) -> AuditCheck:
    return AuditCheck(
        name,
        chance_of_more_losses(kept, kept_by_other) >= SIGNIFICANT,
        share_of(kept) - share_of(kept_by_other),
        "at most 0, up to luck",
        f"Accuracy lost beyond {attack.label}, {attack.steps} steps. A failure: {explanation}.",
    )
