"""Result rows -> the means that the VOneNet paper reports, and a verdict in words.

Definitions (science.md 3.3): white box = mean over attacks; corruption = mean over severities, then
types, then categories, of ImageNet-C's four categories; perturbation = mean of those two; overall =
mean of white box, corruption and clean. mCE: Hendrycks & Dietterich 2019, equation 1.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

from vonenet.errors import InputError
from vonenet.report.setting import EXTRA
from vonenet.results import Result

IMAGENET_C_TYPES = 15


@dataclass(frozen=True)
class Summary:
    """A model's mean accuracies, 0 to 1."""

    clean: float
    corruption: float
    white_box: float

    @property
    def perturbation(self) -> float:
        """Mean of corruption and white box."""
        return mean([self.corruption, self.white_box])

    @property
    def overall(self) -> float:
        """Mean of clean, corruption and white box."""
        return mean([self.clean, self.corruption, self.white_box])


def summarise(rows: Iterable[Result]) -> Summary:
    """The means of one model's rows; those of the category "extra" count nowhere.

    Raises:
        InputError: there is no clean, no corrupted, or no attacked row.
    """
    clean, attacked = [], []
    corrupted: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if "corruption" in row.condition:
            category, kind = str(row.condition["category"]), str(row.condition["corruption"])
            if category != EXTRA:
                corrupted[category][kind].append(row.value)
        elif "attack" in row.condition:
            attacked.append(row.value)
        else:
            clean.append(row.value)
    for name, found in {"clean": clean, "corrupted": corrupted, "attacked": attacked}.items():
        if not found:
            raise InputError(f"the results hold no {name} row; a summary needs all three kinds")
    categories = [mean(mean(by_kind) for by_kind in kinds.values()) for kinds in corrupted.values()]
    return Summary(mean(clean), mean(categories), mean(attacked))


def mean_corruption_error(rows: Iterable[Result], baseline_rows: Iterable[Result]) -> float:
    """Mean corruption error (mCE) of one model's rows against a baseline's, 1 for an equal model.

    For each of ImageNet-C's 15 types, the sum of errors over severities is divided by the
    baseline's; mCE is the mean of these ratios. The paper's baseline is AlexNet, and its figures
    are in percent; here any model's rows are the baseline, measured on the same data.

    Raises:
        InputError: there are not 15 types; or the baseline lacks one of them, or a severity of it,
            or makes no error on it.
    """
    errors, baseline = _errors(rows), _errors(baseline_rows)
    if len(errors) != IMAGENET_C_TYPES:
        raise InputError(
            f"mCE is a mean over {IMAGENET_C_TYPES} corruptions; the rows hold {len(errors)}"
        )
    ratios = []
    for kind, by_severity in errors.items():
        if by_severity.keys() != baseline.get(kind, {}).keys():
            raise InputError(
                f"mCE needs the baseline's {kind} at severities {sorted(by_severity)}; "
                f"its rows hold {sorted(baseline.get(kind, {}))}"
            )
        divisor = sum(baseline[kind].values())
        if divisor == 0:
            raise InputError(f"the baseline makes no error under {kind}; mCE would divide by 0")
        ratios.append(sum(by_severity.values()) / divisor)
    return mean(ratios)


def _errors(rows: Iterable[Result]) -> dict[str, dict[int, float]]:
    """Error by type and severity, repeated rows averaged, the extra types left out."""
    found: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row.condition.get("category", EXTRA) != EXTRA:
            kind, severity = str(row.condition["corruption"]), int(row.condition["severity"])
            found[kind][severity].append(1 - row.value)
    return {
        kind: {severity: mean(errors) for severity, errors in by_severity.items()}
        for kind, by_severity in found.items()
    }


def by_model(rows: Iterable[Result]) -> Mapping[str, list[Result]]:
    """Rows of each model, models in order of appearance."""
    grouped: dict[str, list[Result]] = defaultdict(list)
    for row in rows:
        grouped[row.model].append(row)
    return grouped


def verdict(base: Summary, vone: Summary) -> str:
    """What the numbers say, in one sentence, whichever way they fall."""
    attack, corruption = vone.white_box > base.white_box, vone.corruption > base.corruption
    robust = {
        (True, True): "more robust to white-box attack and to corruption",
        (True, False): "more robust to white-box attack, though not to corruption",
        (False, True): "more robust to corruption, though not to white-box attack",
        (False, False): "not more robust",
    }[attack, corruption]
    head = f"With a model of V1 in front, the network is {robust}"
    return (
        f"{head}: it keeps {vone.white_box:.0%} accuracy under white-box attack where its base "
        f"keeps {base.white_box:.0%}, and {vone.corruption:.0%} under corruption where the base "
        f"keeps {base.corruption:.0%}, at {vone.clean:.0%} against {base.clean:.0%} when clean."
    )


def text_table(base: Summary, vone: Summary, names: Sequence[str]) -> str:
    """The summary for a terminal: one line a measure, accuracies in percent."""
    lines = [f"{'accuracy, %':<22}{names[0]:>10}{names[1]:>10}{'gain':>8}"]
    for label, attribute in MEASURES.items():
        b, v = getattr(base, attribute), getattr(vone, attribute)
        lines.append(f"{label:<22}{100 * b:>10.1f}{100 * v:>10.1f}{100 * (v - b):>+8.1f}")
    return "\n".join(lines)


MEASURES = {
    "clean images": "clean",
    "common corruptions": "corruption",
    "white-box attacks": "white_box",
    "perturbation mean": "perturbation",
    "overall mean": "overall",
}
