"""Result rows -> models, the means of the VOneNet paper, and differences from a base.

Means as in Dapello, Marques et al. 2020 (NeurIPS 33:13073, section 3 and table 1): white box is the
mean over PGD at six radii; corruption the mean over severities, then types, then ImageNet-C's four
categories; perturbation the mean of those two; overall the mean of white box, corruption and clean.
Where one of the six radii was not measured, white box is the mean over every radius that was.

Intervals of means and differences are recovered from those of their parts (MOVER: Zou and Donner
2008, Stat Med 27:1693). For the difference of two rows, whose intervals are Wilson's, that is
Newcombe's hybrid score interval (Newcombe 1998, Stat Med 17:873, method 10).

models = models_of(read_jsonl("evaluation/results.jsonl"))
models[0].scores["white_box"].estimate
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import hypot, inf, isclose
from statistics import fmean
from typing import Any, NamedTuple

from vonenet.errors import InputError
from vonenet.results import Result

NORMS = {"linf": "L\N{INFINITY}", "l2": "L2", "l1": "L1"}
CATEGORIES = ("noise", "blur", "weather", "digital")
EXTRA = "extra"  # ImageNet-C's four further types, in no mean
IMAGENET_C_TYPES = 15
# Dapello, Marques et al. 2020, section 3, for images of 224 px with values in [0, 1]
PAPER_RADII = {"linf": (1 / 1020, 1 / 255), "l2": (0.15, 0.6), "l1": (40.0, 160.0)}
PAPER_ATTACKS = sum(map(len, PAPER_RADII.values()))
# Columns of a condition that are numbers above 0
STRENGTHS = ("severity", "epsilon", "published_epsilon", "steps", "gradient_samples")
# Columns of an attack that say how strongly it was made, or follow from the other columns
PROTOCOL = {"attack", "norm", "epsilon", "steps", "step_size", "gradient_samples"}
PROTOCOL |= {"decision_samples", "published_epsilon"}
# Step rules of plain PGD; the other, sparse steps of L1, makes a stronger variant
PLAIN_STEPS = {"sign", "normalized", "dense"}
ATTACK_NAMES = {"square": "Square", "autoattack": "AutoAttack"}


class Estimate(NamedTuple):
    """An accuracy, 0 to 1, or a difference of two, and its 95 % confidence interval."""

    value: float
    low: float
    high: float

    @property
    def sign(self) -> int:
        """1 or -1 if the interval excludes 0, else 0."""
        return (self.low > 0) - (self.high < 0)


def mean_estimate(parts: Iterable[Estimate]) -> Estimate:
    """Return the mean of one model's accuracies under several conditions.

    The conditions were measured on the same images, so their errors go together, how closely no
    row tells. The delta method for the closest case, a correlation of 1, averages the half-widths:
    no correlation gives the mean a wider interval.
    """
    return Estimate(*(fmean(ends) for ends in zip(*parts, strict=True)))


def difference(model: Estimate, base: Estimate) -> Estimate:
    """Return how much more accurate one model is than another, measured independently.

    Models that saw the same images tend to err on the same ones; the interval does not use it, so
    it is rather too wide than too narrow.
    """
    value = model.value - base.value
    down = hypot(model.value - model.low, base.high - base.value)
    up = hypot(model.high - model.value, base.value - base.low)
    return Estimate(value, value - down, value + up)


@dataclass(frozen=True)
class Setting:
    """What was done to the images, apart from how thoroughly: models are compared by it.

    Attributes:
        kind: "clean", "corruption" or "attack".
        name: Of the corruption or attack; variants of an attack have names of their own.
        group: Category of a corruption, norm of an attack.
        strength: Severity, or radius in pixels of [0, 1].
    """

    kind: str
    name: str = ""
    group: str = ""
    strength: float = 0.0

    @classmethod
    def of(cls, condition: Mapping[str, Any]) -> Setting:
        """Return the setting of a row's condition."""
        if "corruption" in condition:
            name, category = str(condition["corruption"]), str(condition["category"])
            return cls("corruption", name, category, float(condition["severity"]))
        if "attack" not in condition:
            return CLEAN
        variant = [
            f"{name.replace('_', ' ')} {value}"
            for name, value in sorted(condition.items())
            if name not in PROTOCOL and not (name == "step_rule" and value in PLAIN_STEPS)
        ]
        name = ", ".join([str(condition["attack"]), *variant])
        return cls("attack", name, str(condition["norm"]), float(condition["epsilon"]))

    @property
    def label(self) -> str:
        """In words, such as `gaussian noise, severity 3` or `PGD L2, ε 0.6`."""
        if self.kind == "corruption":
            return f"{self.title}, severity {self.strength:g}"
        if self.kind == "attack":
            norm, size = NORMS.get(self.group, self.group), radius_text(self.group, self.strength)
            return f"{self.title} {norm}, \N{GREEK SMALL LETTER EPSILON} {size}"
        return "clean"

    @property
    def title(self) -> str:
        """The name in words."""
        if self.kind == "corruption":
            return self.name.replace("_", " ").replace("jpeg", "JPEG")
        method, *variant = self.name.split(", ")
        return ", ".join([ATTACK_NAMES.get(method, method.upper()), *variant])

    @property
    def is_plain_pgd(self) -> bool:
        """Whether it is PGD as in the paper: no restart, momentum or target."""
        return self.kind == "attack" and self.name == "pgd" and self.group in NORMS

    @property
    def plain_pgd(self) -> Setting:
        """Plain PGD of the norm and the radius of this attack."""
        return replace(self, name="pgd")


CLEAN = Setting("clean")


def radius_text(norm: str, epsilon: float) -> str:
    """Return a radius in pixels of [0, 1]; L-inf as fractions, such as `1/1020` or `4/255`."""
    if norm != "linf" or epsilon <= 0:
        return f"{epsilon:.4g}"
    return f"1/{1 / epsilon:.4g}" if epsilon < 1 / 255 else f"{255 * epsilon:.3g}/255"


class Score(NamedTuple):
    """A mean accuracy and what it is over; scores over different settings are not compared.

    Attributes:
        estimate: The mean.
        over: Settings that went in, attacks at the radii published for 224 px, each with the
            digest of its images; of rows without one, with their name and number.
    """

    estimate: Estimate
    over: frozenset[tuple[Setting, str]]

    @property
    def settings(self) -> set[Setting]:
        """What `over` says but the images."""
        return {setting for setting, _ in self.over}


@dataclass(frozen=True)
class Model:
    """A model that decides in one way on one set of images.

    Attributes:
        label: Its name, and what tells it from others of this name.
        name: Its name in the rows.
        hash: Of its weights and settings.
        data: The images; of stored corruptions alone, the benchmark.
        rows: Of each setting the rows of the most thorough measurement, one a seed.
        disputed: Settings of which further such rows say something else; the last row counts.
    """

    label: str
    name: str
    hash: str
    data: str
    rows: Mapping[Setting, Sequence[Result]]
    disputed: Sequence[Setting] = ()

    @cached_property
    def accuracies(self) -> dict[Setting, Estimate]:
        """Accuracy under each setting; of several seeds, which share their images, the mean."""
        return {
            setting: mean_estimate(Estimate(row.value, row.ci_low, row.ci_high) for row in rows)
            for setting, rows in self.rows.items()
        }

    @cached_property
    def white_box(self) -> dict[Setting, Setting]:
        """The settings of the white-box mean, at published radii -> as they were measured.

        The paper's six radii, or every radius of plain PGD if one of these was not measured.
        """
        first = {s: rows[0].condition for s, rows in self.rows.items() if s.is_plain_pgd}
        scaled = any("published_epsilon" in condition for condition in first.values())
        plain = {}
        for setting, condition in first.items():
            radius = float(condition.get("published_epsilon", setting.strength))
            published = (r for r in PAPER_RADII[setting.group] if isclose(r, radius, rel_tol=1e-6))
            own = replace(setting, strength=next(published, radius))
            if scaled and setting.group != "linf" and "published_epsilon" not in condition:
                own = replace(own, name="pgd, radius not scaled")  # beside those that are
            plain[own] = setting
        paper = {
            own: setting
            for own, setting in plain.items()
            if own.is_plain_pgd and own.strength in PAPER_RADII[own.group]
        }
        return paper if len(paper) == PAPER_ATTACKS else plain

    def _score(self, setting: Setting, published: Setting | None = None) -> Score:
        digests = [row.data_hash or f"{row.data}: {row.n}" for row in self.rows[setting]]
        images = " ".join(dict.fromkeys(digests))
        return Score(self.accuracies[setting], frozenset([(published or setting, images)]))

    @cached_property
    def scores(self) -> dict[str, Score]:
        """The means that the rows allow.

        Keys are "clean", "corruption", "white_box", "perturbation" and "overall", the categories
        of corruption, `category/type` for the mean over a type's severities, and the norms.
        """
        found: dict[str, Score] = {}
        types: dict[str, dict[str, list[Score]]] = defaultdict(lambda: defaultdict(list))
        for setting in self.rows:
            if setting.kind == "corruption" and setting.group in (*CATEGORIES, EXTRA):
                name = f"{setting.group}/{setting.name}"
                types[setting.group][name].append(self._score(setting))
        for category, by_type in types.items():
            means = {name: _mean(severities) for name, severities in by_type.items()}
            found |= {**means, category: _mean(list(means.values()))}
        attacks = {each: self._score(own, each) for each, own in self.white_box.items()}
        parts = {norm: [s for a, s in attacks.items() if a.group == norm] for norm in NORMS}
        parts["clean"] = [clean] if (clean := self.score(CLEAN)) else []
        parts["corruption"] = [found[category] for category in CATEGORIES if category in found]
        parts["white_box"] = list(attacks.values())
        found |= {name: _mean(scores) for name, scores in parts.items() if scores}
        means_of_means = {
            "perturbation": ("corruption", "white_box"),
            "overall": ("clean", "corruption", "white_box"),
        }
        for name, over in means_of_means.items():
            if all(each in found for each in over):
                found[name] = _mean([found[each] for each in over])
        return found

    def score(self, of: str | Setting) -> Score | None:
        """Return one of `scores`, or the accuracy under a setting; None where not measured."""
        if isinstance(of, str):
            return self.scores.get(of)
        return self._score(of) if of in self.rows else None

    def gain(self, base: Model, of: str | Setting) -> Estimate | None:
        """Return a score less the base's; None where one is missing or `obstacle` has a word."""
        own, other = self.score(of), base.score(of)
        if own is None or other is None or own.over != other.over:
            return None
        return difference(own.estimate, other.estimate)

    def obstacle(self, base: Model, of: str | Setting) -> str:
        """Return what two scores differ in that are not compared; "" if one is missing."""
        own, other = self.score(of), base.score(of)
        if own is None or other is None or own.over == other.over:
            return ""
        return "conditions" if own.settings != other.settings else "images"


def _mean(scores: Sequence[Score]) -> Score:
    over = frozenset[tuple[Setting, str]]().union(*(score.over for score in scores))
    return Score(mean_estimate(score.estimate for score in scores), over)


def models_of(rows: Iterable[Result]) -> list[Model]:
    """Group accuracies by name, weights, images and draws per decision; tell equal names apart.

    Images that were corrupted before they were stored, as those of ImageNet-C, have a data set for
    each corruption and severity; their rows join the model's others.

    Raises:
        InputError: A row is no accuracy as `vonenet evaluate` writes it.
    """
    images: dict[tuple[str, str, int], str] = {}
    checked = [(row, *_checked(row)) for row in rows]
    for row, decider, _ in checked:
        if row.condition.get("source") != "stored":
            images.setdefault(decider, row.data)
    grouped: dict[tuple[str, str, str, int], dict[Setting, list[Result]]] = {}
    for row, decider, setting in checked:
        (name, weights, samples), data = decider, row.data
        if row.condition.get("source") == "stored":
            benchmark = data.removesuffix("/{corruption}/{severity}".format(**row.condition))
            data = images.get(decider, benchmark)
        own = grouped.setdefault((name, weights, data, samples), defaultdict(list))
        own[setting].append(row)
    models = []
    for identity, own in grouped.items():
        found = {setting: _most_thorough(measured) for setting, measured in own.items()}
        kept = {setting: last for setting, (last, _) in found.items()}
        disputed = [setting for setting, (_, is_disputed) in found.items() if is_disputed]
        models.append(Model(_label(identity, grouped), *identity[:3], kept, disputed))
    return models


def _checked(row: Result) -> tuple[tuple[str, str, int], Setting]:
    """Return who decided (name, weights and draws per decision), and the setting."""
    try:
        setting, samples = Setting.of(row.condition), int(row.condition.get("decision_samples", 1))
        strengths = {
            name: float(row.condition[name]) for name in STRENGTHS if name in row.condition
        }
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise InputError(f"a row that is no measurement ({reason})") from error
    for name, number in strengths.items():
        if not 0 < number < inf:
            raise InputError(f"a row of {name}={number:g}; allowed: above 0, and finite")
    if not 0 < row.n <= row.data_size:
        raise InputError(f"a row of n={row.n} images; allowed: 1 to data_size={row.data_size}")
    if not 0 <= row.ci_low <= row.value <= row.ci_high <= 1:
        raise InputError(
            f"accuracy {row.value} with interval {row.ci_low} to {row.ci_high}; "
            "allowed: 0 <= low <= value <= high <= 1"
        )
    return (row.model, row.model_hash, samples), setting


def _label(identity: tuple[str, str, str, int], others: Iterable[tuple[str, str, str, int]]) -> str:
    """Return the name, and in brackets what else tells it from models of the same name."""
    name, weights, data, samples = identity
    same = [other for other in others if other[0] == name]
    remarks = (f"weights {weights[:6]}", data, f"{samples} draws per decision")
    telling = [
        remark
        for place, remark in enumerate(remarks, start=1)
        if len({other[place] for other in same}) > 1
    ]
    return f"{name} ({', '.join(telling)})" if telling else name


def _most_thorough(rows: Sequence[Result]) -> tuple[list[Result], bool]:
    """Return the last row of each seed, of those measured most thoroughly under one setting.

    And whether others of these say something else, in number or in what was measured.
    """
    work = [_work_and_images(row) for row in rows]
    kept = [row for row, own in zip(rows, work, strict=True) if own == max(work)]
    last = list({row.seed: row for row in kept}.values())
    said = {(r.seed, r.value, r.data_hash, r.classes, r.preprocessing) for r in kept}
    return last, len(said) > len(last)


def _work_and_images(row: Result) -> tuple[float, int]:
    """Return the work of the attack per image, and how many images there were."""
    condition = row.condition
    return float(condition.get("steps", 1)) * float(condition.get("gradient_samples", 1)), row.n


def mean_corruption_error(model: Model, baseline: Model) -> float:
    """Return the mean corruption error (mCE) against a baseline, 1 for an equal model.

    For each of ImageNet-C's 15 types the sum of errors over severities is divided by the
    baseline's; mCE is the mean of these ratios (Hendrycks and Dietterich 2019, equation 1). The
    paper's baseline is AlexNet, and its figures are in percent; here any model is the baseline.

    Raises:
        InputError: There are not 15 types; or the baseline lacks one of them, or a severity of it,
            or makes no error on it.
    """
    types = [key for key in model.scores if key.partition("/")[0] in CATEGORIES and "/" in key]
    if len(types) != IMAGENET_C_TYPES:
        raise InputError(
            f"mCE is a mean over {IMAGENET_C_TYPES} corruptions; the rows hold {len(types)}"
        )
    ratios = []
    for key in types:
        own, other = model.scores[key], baseline.scores.get(key)
        name = key.partition("/")[2]
        if other is None or own.over != other.over:
            raise InputError(f"mCE needs the baseline's {name} at the same severities")
        if other.estimate.value == 1:
            raise InputError(f"the baseline makes no error under {name}; mCE would divide by 0")
        ratios.append((1 - own.estimate.value) / (1 - other.estimate.value))
    return fmean(ratios)
