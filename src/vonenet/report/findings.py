"""What the numbers say, in headings, whichever way they fall."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vonenet.report.differences import Estimate
from vonenet.report.measured import Check
from vonenet.report.scores import MEASURES, Score, score_difference
from vonenet.report.words import count, listing, percent, point_interval, points

NAMED_MODELS = 3  # up to so many are named in a heading, more are counted
LEADING = ("overall", "perturbation", "white_box", "corruption", "clean")
IN_WORDS = {
    "overall": "mean accuracy over clean, corrupted and attacked images",
    "perturbation": "mean accuracy under perturbation",
    "white_box": "mean accuracy under white-box attack",
    "corruption": "mean accuracy under corruption",
    "clean": "accuracy on clean images",
}


@dataclass(frozen=True)
class Tally:
    """In how many conditions a model is more, less, and as accurate as the base."""

    more: int
    less: int
    alike: int

    @classmethod
    def of(cls, differences: Sequence[Estimate]) -> Tally:
        """Counts the differences whose interval excludes 0, and the others."""
        signs = [each.sign for each in differences]
        return cls(signs.count(1), signs.count(-1), signs.count(0))

    @property
    def total(self) -> int:
        """All conditions."""
        return self.more + self.less + self.alike


def verdict(scores: Mapping[str, Mapping[str, Score]], base: str) -> str:
    """One or two sentences on the model with the highest mean that can be compared.

    Args:
        scores: scores of each model.
        base: one of the models.
    """
    for measure in LEADING:
        own = scores[base].get(measure)
        rivals = {
            name: each[measure].estimate
            for name, each in scores.items()
            if name != base and score_difference(each.get(measure), own) is not None
        }
        if own is not None and rivals:
            leader = max(rivals, key=lambda name: rivals[name].value)
            return _ranking(scores, base, leader, measure) + _parts(scores, base, leader, measure)
    return _alone(base, scores[base])


def comparison(tallies: Mapping[str, Tally], base: str, noun: str, plural: str) -> str | None:
    """Under how many conditions each model keeps more accuracy than the base.

    Args:
        tallies: of each model but the base; models without a common condition are left out.
        base: the base's name.
        noun: what a condition is called, such as `attack`.
        plural: of more than one.

    Returns:
        A sentence without full stop; None if there is nothing to compare.
    """
    known = {name: tally for name, tally in tallies.items() if tally.total}
    if not known:
        return None
    if len(known) > NAMED_MODELS:
        return _majority(list(known.values()), base, plural)
    said: dict[str, list[str]] = {}
    for name, tally in known.items():
        said.setdefault(_outcome(tally, base, noun, plural), []).append(name)
    clauses = []
    for outcome, names in said.items():
        verb = "keeps" if len(names) == 1 else "keep"
        clauses.append(f"{listing(names)} {verb} {outcome}")
    return "; ".join(clauses)


def audit_finding(checks: Sequence[Check]) -> str:
    """How many checks failed."""
    failed = sum(not check.passed for check in checks)
    if not checks:
        return "No audit was made: nothing here rules out that gradients were masked"
    if failed:
        return (
            f"{failed} of {count(len(checks), 'audit check')} failed: white-box accuracy may be "
            "too high"
        )
    return f"All {count(len(checks), 'audit check')} passed" if checks[1:] else "The audit passed"


def _outcome(tally: Tally, base: str, noun: str, plural: str) -> str:
    if tally.more == tally.total:
        return f"more accuracy than {base} under {_every(tally.total, noun)}"
    if tally.less == tally.total:
        return f"less accuracy than {base} under {_every(tally.total, noun)}"
    if tally.alike == tally.total:
        return f"about as much accuracy as {base}: no {noun} tells them apart"
    of = f"of {count(tally.total, noun, plural)}"
    if tally.more >= tally.less:
        return (
            f"more accuracy than {base} under {tally.more} {of}, less under {tally.less or 'none'}"
        )
    return f"less accuracy than {base} under {tally.less} {of}, more under {tally.more or 'none'}"


def _every(total: int, noun: str) -> str:
    return f"every {noun}" if total > 1 else f"the one {noun} measured"


def _majority(tallies: Sequence[Tally], base: str, plural: str) -> str:
    more = sum(2 * tally.more > tally.total for tally in tallies)
    less = sum(2 * tally.less > tally.total for tally in tallies)
    return (
        f"{more} of {len(tallies)} models keep more accuracy than {base} under most "
        f"{plural}, {less or 'none'} less"
    )


def _ranking(
    scores: Mapping[str, Mapping[str, Score]], base: str, leader: str, measure: str
) -> str:
    own, best = scores[base][measure], scores[leader][measure]
    gain = score_difference(best, own)
    assert gain is not None
    figures = f"{percent(best.estimate.value)}% against {percent(own.estimate.value)}%"
    if gain.sign > 0:
        return f"{leader} has a higher {IN_WORDS[measure]} than {base}: {figures}."
    if gain.sign < 0:
        whose = leader if len(scores) == 2 else f"{leader}, the best of the others,"
        return f"{whose} has a lower {IN_WORDS[measure]} than {base}: {figures}."
    return (
        f"{leader} and {base} cannot be told apart by {IN_WORDS[measure]}: {figures}, a difference "
        f"of {points(gain.value)} points {point_interval(gain)}."
    )


def _parts(scores: Mapping[str, Mapping[str, Score]], base: str, leader: str, measure: str) -> str:
    """What the mean consists of, where it is one of several."""
    if measure not in ("overall", "perturbation"):
        return ""
    phrases = {"white_box": "under white-box attack", "corruption": "under corruption"}
    if measure == "overall":
        phrases["clean"] = "when clean"
    told = [
        f"{percent(scores[leader][part].estimate.value)}% {phrase} "
        f"({percent(scores[base][part].estimate.value)}%)"
        for part, phrase in phrases.items()
    ]
    return f" It has {listing(told)}."


def _alone(name: str, scores: Mapping[str, Score]) -> str:
    known = [
        f"{percent(scores[measure].estimate.value)}% {words}"
        for measure, words in {
            "clean": "of clean images",
            "corruption": "under corruption",
            "white_box": "under white-box attack",
        }.items()
        if measure in scores
    ]
    if not known:
        return f"{name}: {MEASURES['overall']} not measured."
    return f"{name} gets {listing(known)} right."
