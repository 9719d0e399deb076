"""Is a measured robustness real? Signs by which an attack that fails gives itself away.

After Athalye et al. 2018 (arXiv:1802.00420, section 3.1), Carlini et al. 2019 (arXiv:1902.06705)
and, for noise, Lucas et al. 2023 (arXiv:2304.09403). The checks share a reference: PGD at the
radius where it leaves nearest to half of the clean accuracy, so that a better attack would show.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import pairwise
from math import sqrt
from pathlib import Path
from typing import Any, TypeAlias

import torch
from scipy.stats import binomtest
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity
from tqdm import tqdm

from vonenet.bars import progress_bar
from vonenet.data.dataset import ImageDataset
from vonenet.data.pixels import eval_mode
from vonenet.data.seeding import device_of, seed_at, seeded
from vonenet.results import AuditRow, append_jsonl, model_hash, read_jsonl, wilson_interval
from vonenet.robustness.evaluate import (
    Checked,
    as_measured,
    digest_of_columns,
    frozen_weights,
)
from vonenet.robustness.journal import Journal
from vonenet.robustness.norms import Region
from vonenet.robustness.sampling import averaged_gradient, averaged_probabilities
from vonenet.robustness.suites import Attack, radius_scale

NoiseOff: TypeAlias = Callable[[nn.Module], AbstractContextManager[Any]]

# A sound model fails an audit by luck at most this often, however many checks there are.
FAMILY_LEVEL = 0.05
# The radii that the reference is chosen from: the smallest, for images of 224 px, times powers of 4
# (Piper et al. 2025, arXiv:2506.03089).
SMALLEST = {"linf": 1 / 1020, "l2": 0.15, "l1": 40.0}
POWERS = (1, 4, 16, 64, 256)
DECISION_SAMPLES = 10
SQUARE_QUERIES = 300
# Gradients that are zero or not finite for more than this share of the images are a mask.
USELESS_SHARE = 0.05
# Two averaged gradients of one image that agree less than this (cosine) hold more noise than slope.
AGREEMENT = 0.1
# What has not failed has passed if the images rule out that more than this share of the clean
# accuracy is only there because the attack is weak, and useless gradients for so many images.
TOLERATED_SHARE = 0.25
NORMAL_975 = 1.959964  # quantile of the 95 % intervals


def audit(
    model: nn.Module,
    dataset: ImageDataset,
    *,
    model_name: str,
    norm: str = "linf",
    steps: int = 20,
    gradient_samples: int = 10,
    images: int = 50,
    base: nn.Module | None = None,
    base_hash: str = "",
    noise_off: NoiseOff | None = None,
    thorough: bool = True,
    batch_size: int | None = None,
    seed: int = 0,
    out_path: Path | str | None = None,
    checked: Checked | None = None,
    progress: bool = True,
) -> list[AuditRow]:
    """Look for signs that attacks on a model fail for other reasons than its robustness.

    Checks that compare accuracies are corrected for their number (Holm 1979, Scand J Stat 6:65):
    luck alone makes a sound model fail in at most one audit of 20. A check that has not failed has
    passed only if it could have failed: if the 95 % interval of what it found ends within what is
    tolerated. Otherwise, as with few images or a model near chance, it is inconclusive.

    Args:
        model: As for `evaluate`.
        dataset: Of which a class-balanced part is used.
        model_name: The model's name in the rows.
        norm: Of the attacks.
        steps: Gradient steps of the reference attack.
        gradient_samples: Noise draws per gradient, if the model is stochastic.
        images: How many images.
        base: A model whose adversarial images are tried on this one, e.g. the network without V1.
        base_hash: `model_hash` of the base, if it is known.
        noise_off: Switches a stochastic model's noise off in a `with`, e.g. `vonenet.no_noise`.
        thorough: Attack in other ways, too: more steps, restarts, other losses, no gradients, more
            and fewer draws, without noise. That takes about ten times as long.
        batch_size: Images at a time; all if None.
        seed: Of noise and of random starts.
        out_path: JSON-lines file. Rows of this model with these settings are taken from it, new
            ones appended; an audit that was killed goes on where it was.
        checked: As for `evaluate`.
        progress: Show a progress bar over all passes, if stderr is a terminal.

    Returns:
        One row per check, in a fixed order.

    Raises:
        InputError: On an unknown norm or impossible counts, or if a class of the data is none of
            the model's.
    """
    Region(norm, 0.0)
    path = None if out_path is None else Path(out_path)
    journal = Journal(path)
    with frozen_weights(model):
        part, stochastic, settings = as_measured(
            model, dataset, images, seed, checked=checked, progress=progress
        )
        weights = settings.pop("model_hash")
        device = device_of(model)
        settings |= {
            "norm": norm,
            "steps": steps,
            "gradient_samples": gradient_samples,
            "base": "none" if base is None else base_hash or model_hash(base),
            "noise_off": noise_off is not None,
            "thorough": thorough,
            "batch_size": batch_size or len(part),
            "decision_samples": DECISION_SAMPLES,
            "square_queries": SQUARE_QUERIES,
            "device": device.type,
        }
        known = read_jsonl(path, AuditRow) if path is not None and path.is_file() else []
        identity = (model_name, weights, settings)
        if rows := [r for r in known if (r.model, r.model_hash, r.settings) == identity]:
            return rows  # of an audit that was made before
        digest = digest_of_columns({"model": model_name, "model_hash": weights, **settings})
        attack = Attack(norm, 0.0, steps, gradient_samples)
        if not stochastic:
            attack = replace(attack, stop_samples=1).for_deterministic_model()
        audited = _AuditedModel(
            model=model,
            images=torch.stack([part[i][0] for i in range(len(part))]).to(device),
            labels=part.labels.to(device),
            attack=attack,
            stochastic=stochastic,
            base=base,
            noise_off=noise_off,
            thorough=thorough,
            batch_size=batch_size or len(part),
            seed=seed,
            found=journal.parts(digest),
            keep=partial(journal.add, digest),
        )
        total = len(part) * sum(audited.passes.values())
        about = {"desc": f"{model_name}: audit", "unit": "pass", "unit_scale": True}
        with progress_bar(total=total, shown=progress, **about) as bar:
            audited.bar = bar
            findings = list(_checks(audited))
    failed = {finding.check for finding in findings if finding.passed is False}
    failed |= holm({f.check: f.p_value for f in findings if f.p_value is not None}, FAMILY_LEVEL)
    rows = []
    for finding in findings:
        found = vars(finding) | {"passed": False if finding.check in failed else finding.passed}
        del found["p_value"]
        rows.append(AuditRow(model=model_name, model_hash=weights, settings=settings, **found))
    if path is not None:
        append_jsonl(path, rows)
        journal.clear({digest})
    return rows


def sign_test(correct: Tensor, correct_after_other: Tensor) -> float:
    """Return how often luck alone would make the other of two attacks look so much stronger.

    The p-value of the exact one-sided sign test on the images that the two attacks disagree on
    (McNemar's); 1 where the other broke none that the first left. Masks are (n,).
    """
    lost = int((correct & ~correct_after_other).sum())
    differing = int((correct != correct_after_other).sum())
    return float(binomtest(lost, differing, alternative="greater").pvalue) if lost else 1.0


def largest_loss(correct: Tensor, correct_after_other: Tensor) -> float:
    """Return the most accuracy that the other of two attacks takes beyond the first.

    The upper end of the 95 % score interval of a difference of paired shares (Tango 1998, Stat Med
    17:891), over images like these. Masks are (n,).
    """
    n = len(correct)
    lost = int((correct & ~correct_after_other).sum())
    gained = int((~correct & correct_after_other).sum())
    low, high = (lost - gained) / n, 1.0
    while high - low > 1e-6:
        loss = (low + high) / 2
        # The likeliest share of gained images if the difference is `loss` (equations 4 and 5)
        b = (2 * n - lost + gained) * loss - lost - gained
        share = (sqrt(b * b + 8 * n * gained * loss * (1 - loss)) - b) / (4 * n)
        variance = n * (2 * share + loss * (1 - loss))
        within = (n * loss - lost + gained) ** 2 < NORMAL_975**2 * variance
        low, high = (loss, high) if within else (low, loss)
    return high


def holm(p_values: Mapping[str, float], level: float) -> set[str]:
    """Return the names of the tests that are significant together (Holm 1979, Scand J Stat 6:65).

    The chance that luck makes one or more of them so is at most `level`.
    """
    significant: set[str] = set()
    for name in sorted(p_values, key=p_values.__getitem__):
        if p_values[name] > level / (len(p_values) - len(significant)):
            break
        significant.add(name)
    return significant


@dataclass
class _AuditedModel:
    """A model under audit, and what was measured of it, each once."""

    model: nn.Module  # takes pixels; in eval mode
    images: Tensor  # (N, C, H, W) in [0, 1]
    labels: Tensor  # (N,) true classes
    attack: Attack  # it is varied; its radius is 0
    stochastic: bool  # whether two passes differ
    base: nn.Module | None
    noise_off: NoiseOff | None
    thorough: bool
    batch_size: int
    seed: int  # of random starts and of noise
    found: dict[str, Any]  # by name of the measurement: what was found before a kill
    keep: Callable[[str, Any], object]  # on disk
    bar: tqdm[Any] | None = None

    def once(self, what: str, measure: Callable[[], Tensor]) -> Tensor:
        """Return what a measurement found, one number an image; its noise depends on its name."""
        if what not in self.found:
            with seeded(seed_at(self.seed, what), self.images.device):
                self.found[what] = measure().tolist()
            self.keep(what, self.found[what])
        if self.bar is not None:
            self.bar.update(len(self.images) * self.passes[what])
        return torch.tensor(self.found[what])

    def withstood(self, what: str, attack: Attack) -> Tensor:
        """Return whether each image is decided right under an attack."""
        return self.once(what, lambda: self.correct(self.adversarial(attack)))

    def batches(self, images: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Return images with their labels, some at a time."""
        size = self.batch_size
        return zip(torch.split(images, size), torch.split(self.labels, size), strict=True)

    def adversarial(self, attack: Attack, against: nn.Module | None = None) -> Tensor:
        """Return adversarial images, made with this model or another."""
        model, size = against or self.model, self.batch_size
        found = [
            attack.perturb(model, x, y, seed=self.seed, first_index=number * size)
            for number, (x, y) in enumerate(self.batches(self.images))
        ]
        return torch.cat(found)

    def correct(self, images: Tensor) -> Tensor:
        """Return whether each image is decided right, averaged over noise, (N,) on the CPU."""
        samples = DECISION_SAMPLES if self.stochastic else 1
        batches = self.batches(images)
        chances = [averaged_probabilities(self.model, x, samples) for x, _ in batches]
        return (torch.cat(chances).argmax(dim=1) == self.labels).cpu()

    def gradient(self, images: Tensor) -> Tensor:
        """Return averaged gradients, flat, (N, values)."""
        samples, batches = self.attack.gradient_samples, self.batches(images)
        gradients = [averaged_gradient(self.model, x, y, samples) for x, y in batches]
        return torch.cat(gradients).flatten(1)

    @cached_property
    def classes(self) -> int:
        """Number of logits."""
        with torch.no_grad(), seeded(self.seed, self.images.device):
            return int(self.model(self.images[:1]).shape[1])

    @cached_property
    def radii(self) -> tuple[float, ...]:
        """Radii for this image size, and the one that can turn any image grey."""
        channels, height, width = self.images.shape[1:]
        values, norm = channels * height * width, self.attack.norm
        grey = {"linf": 0.5, "l2": 0.5 * sqrt(values), "l1": 0.5 * values}[norm]
        smallest = SMALLEST[norm] * radius_scale(norm, (height, width))
        return (*(power * smallest for power in POWERS), grey)

    @cached_property
    def clean(self) -> Tensor:
        """Whether each image is decided right as it is."""
        return self.once("clean", lambda: self.correct(self.images))

    @cached_property
    def tolerated(self) -> float:
        """The accuracy that a pass may leave in doubt.

        0 if the model may be guessing, or if no attack is sure to have broken any image: then
        nothing tells a weak attack from a strong one.
        """
        low, _ = wilson_interval(int(self.clean.sum()), len(self.clean))
        sure = low > 1 / self.classes and largest_loss(self.by_radius[-1], self.clean) < 0
        return TOLERATED_SHARE * _share(self.clean) if sure else 0.0

    @cached_property
    def by_radius(self) -> list[Tensor]:
        """Whether each image withstands the attack, for every radius."""
        return [
            self.withstood(f"radius {number}", replace(self.attack, epsilon=radius))
            for number, radius in enumerate(self.radii)
        ]

    @cached_property
    def variants(self) -> dict[str, tuple[str, dict[str, Any]]]:
        """Of each check by another attack: what a failure means, and what the attack has else."""
        attack = self.attack
        found: dict[str, tuple[str, dict[str, Any]]] = {
            "more_steps_no_stronger": (
                "four times the steps break more: the attack had not converged",
                {"steps": 4 * attack.steps},
            ),
            "restarts_no_stronger": (
                "random starts break more: one start is not enough",
                {"restarts": 3},
            ),
            "dlr_no_stronger": (
                "APGD on a loss that ignores the scale of the logits breaks more: they are "
                "saturated",
                {"method": "apgd-dlr", "steps": 2 * attack.steps},
            ),
            "square_no_stronger": (
                "random search without any gradient breaks more: the gradient is masked",
                {"method": "square", "steps": SQUARE_QUERIES},
            ),
        }
        if self.classes < 3:  # the loss needs three
            del found["dlr_no_stronger"]
        if self.stochastic:
            found["more_samples_no_stronger"] = (
                "gradients averaged over four times the noise draws break more: they were too "
                "noisy",
                {"gradient_samples": 4 * attack.gradient_samples},
            )
            found["one_sample_no_stronger"] = (
                "gradients of one noise draw break more than averaged ones: averaging goes wrong",
                {"gradient_samples": 1},
            )
        return found if self.thorough else {}

    @cached_property
    def passes(self) -> dict[str, int]:
        """Forward and backward passes per image of each measurement that there will be."""
        attack, decision = self.attack, DECISION_SAMPLES if self.stochastic else 1
        attacks = {f"radius {number}": attack for number in range(len(self.radii))}
        for check, (_, changes) in self.variants.items():
            attacks[check] = replace(attack, **changes)
        if self.base is not None:
            attacks["transfer_no_stronger"] = attack
        if self.thorough and self.stochastic and self.noise_off is not None:
            attacks["noise_off_no_stronger"] = attack.for_deterministic_model()
        gradient = 2 * attack.gradient_samples
        costs = {"clean": decision, "useful_gradients": gradient}
        costs |= {what: each.passes - 1 + decision for what, each in attacks.items()}
        return costs | ({"gradients_agree": 2 * gradient} if self.stochastic else {})

    @cached_property
    def reference(self) -> tuple[Attack, Tensor]:
        """The attack at the most telling radius, and which images withstand it.

        Of radii that tell as much, the largest: where the attack fails at all, another shows it
        there.
        """
        half = _share(self.clean) / 2
        distances = [abs(_share(correct) - half) for correct in self.by_radius[:-1]]
        chosen = max(i for i, distance in enumerate(distances) if distance == min(distances))
        return replace(self.attack, epsilon=self.radii[chosen]), self.by_radius[chosen]


@dataclass(frozen=True)
class _Finding:
    """What a check found. A test has a p-value; what is significant fails, whatever `passed` is."""

    check: str
    value: float
    expected: str
    explanation: str
    passed: bool | None
    p_value: float | None = None


def _test(
    check: str, value: float, explanation: str, *, high: float, tolerated: float, p_value: float
) -> _Finding:
    """Return what a test found: passed if the interval's upper end is below what is tolerated."""
    expected = f"0 or less, up to luck: a 95% interval below {tolerated:.2g}; it ends at {high:.2g}"
    passed = True if high < tolerated else None
    return _Finding(check, value, expected, explanation, passed, p_value)


def _checks(audited: _AuditedModel) -> Iterator[_Finding]:
    """Ask everything that is to be asked of this model."""
    yield _useful_gradients(audited)
    yield _falls_with_radius(audited)
    yield _reaches_chance(audited)
    attack, correct = audited.reference

    def compared(check: str, failure: str, other: Tensor) -> _Finding:
        return _test(
            check,
            _share(correct) - _share(other),
            f"Accuracy lost beyond {attack.label}, {attack.steps} steps. A failure: {failure}.",
            high=largest_loss(correct, other),
            tolerated=audited.tolerated,
            p_value=sign_test(correct, other),
        )

    for check, (failure, changes) in audited.variants.items():
        yield compared(check, failure, audited.withstood(check, replace(attack, **changes)))
    if (base := audited.base) is not None:
        failure = (
            "adversarial images of the base model break what an attack that knows this model does "
            "not: its gradients mislead"
        )

        def transferred() -> Tensor:
            with eval_mode(base):
                found = audited.adversarial(attack, against=base)
            return audited.correct(found)

        check = "transfer_no_stronger"
        yield compared(check, failure, audited.once(check, transferred))
    if audited.stochastic:
        yield _gradients_agree(audited)
    check, noise_off = "noise_off_no_stronger", audited.noise_off
    if noise_off is not None and check in audited.passes:
        failure = (
            "an attack on the mean response breaks what one through the noise does not: the noise "
            "hides the gradient, and more samples are needed"
        )

        def without_noise() -> Tensor:
            with noise_off(audited.model):
                found = audited.adversarial(attack.for_deterministic_model())
            return audited.correct(found)

        yield compared(check, failure, audited.once(check, without_noise))


def _useful_gradients(audited: _AuditedModel) -> _Finding:
    def found() -> Tensor:
        region = Region(audited.attack.norm, audited.radii[1])
        points = region.random_point(audited.images, torch.Generator().manual_seed(audited.seed))
        gradient = audited.gradient(points)
        return ~gradient.isfinite().all(dim=1) | (gradient == 0).all(dim=1)

    useless = audited.once("useful_gradients", found)
    low, high = wilson_interval(int(useless.sum()), len(useless))
    conclusive = low > USELESS_SHARE or high < TOLERATED_SHARE
    return _Finding(
        "useful_gradients",
        _share(useless),
        f"at most {USELESS_SHARE:.0%}; its 95% interval is {low:.2g} to {high:.2g}",
        "Share of images whose gradient is zero or not finite: an attack that follows it goes "
        "nowhere, whatever the model's robustness.",
        passed=_share(useless) <= USELESS_SHARE if conclusive else None,
    )


def _falls_with_radius(audited: _AuditedModel) -> _Finding:
    pairs = list(pairwise([audited.clean, *audited.by_radius]))
    rise = max(_share(larger) - _share(smaller) for smaller, larger in pairs)
    return _test(
        "falls_with_radius",
        max(0.0, rise),
        "Largest rise of accuracy from one radius to a larger one, which holds all that the "
        "smaller one holds: a rise means that the attack fails at the larger.",
        high=max(largest_loss(larger, smaller) for smaller, larger in pairs),
        tolerated=audited.tolerated,
        p_value=len(pairs) * min(sign_test(larger, smaller) for smaller, larger in pairs),
    )


def _reaches_chance(audited: _AuditedModel) -> _Finding:
    correct, chance = audited.by_radius[-1], 1 / audited.classes
    test = binomtest(int(correct.sum()), len(correct), chance, alternative="greater")
    return _test(
        "reaches_chance",
        _share(correct) - chance,
        f"Accuracy beyond chance, which is {chance:.2g}, at {audited.attack.norm} radius "
        f"{audited.radii[-1]:.3g}, where every image can be turned grey: above chance the attack "
        "fails to find what certainly exists.",
        high=wilson_interval(int(correct.sum()), len(correct))[1] - chance,
        tolerated=audited.tolerated,
        p_value=float(test.pvalue),
    )


def _gradients_agree(audited: _AuditedModel) -> _Finding:
    def found() -> Tensor:
        first, second = (audited.gradient(audited.images) for _ in range(2))
        return cosine_similarity(first, second).nan_to_num(0.0)

    cosines = audited.once("gradients_agree", found)
    agreement = float(cosines.mean())
    half = NORMAL_975 * float(cosines.std()) / sqrt(len(cosines))  # nan of a single image
    conclusive = abs(agreement - AGREEMENT) > half
    return _Finding(
        "gradients_agree",
        agreement,
        f"at least {AGREEMENT}; its 95% interval is {agreement - half:.2g} to "
        f"{agreement + half:.2g}",
        f"Cosine of two gradients averaged over {audited.attack.gradient_samples} draws each: near "
        "0 they are noise, and more samples are needed.",
        passed=agreement >= AGREEMENT if conclusive else None,
    )


def _share(mask: Tensor) -> float:
    return float(mask.float().mean())
