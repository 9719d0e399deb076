"""Headings say what the numbers say, whichever way they fall."""

import pytest

from vonenet.report.differences import Estimate
from vonenet.report.findings import Tally, audit_finding, comparison, verdict
from vonenet.report.measured import Check
from vonenet.report.scores import Score
from vonenet.report.setting import CLEAN


@pytest.mark.parametrize(
    ("tally", "words"),
    [
        (Tally(6, 0, 0), "V keeps more accuracy than B under every attack"),
        (Tally(0, 6, 0), "V keeps less accuracy than B under every attack"),
        (Tally(0, 0, 6), "V keeps about as much accuracy as B: no attack tells them apart"),
        (Tally(4, 1, 1), "V keeps more accuracy than B under 4 of 6 attacks, less under 1"),
        (Tally(1, 2, 3), "V keeps less accuracy than B under 2 of 6 attacks, more under 1"),
        (Tally(3, 0, 3), "V keeps more accuracy than B under 3 of 6 attacks, less under none"),
        (Tally(1, 0, 0), "V keeps more accuracy than B under the one attack measured"),
        (Tally(0, 0, 0), None),
    ],
)
def test_one_model_beside_its_base(tally, words):
    assert comparison({"V": tally}, "B", "attack", "attacks") == words


def test_several_models():
    wins, loses = Tally(2, 0, 0), Tally(0, 2, 0)
    both = comparison({"V": wins, "W": wins}, "B", "attack", "attacks")
    assert both == "V and W keep more accuracy than B under every attack"
    split = comparison({"V": wins, "W": loses}, "B", "attack", "attacks")
    assert split == f"V {both[8:].replace('keep', 'keeps')}; W keeps less accuracy than B " + (
        "under every attack"
    )
    many = {f"m{i}": wins if i < 7 else loses for i in range(9)}
    assert comparison(many, "B", "attack", "attacks") == (
        "7 of 9 models keep more accuracy than B under most attacks, 2 less"
    )


def test_tallies_count_intervals_not_values():
    gains = [Estimate(0.1, 0.05, 0.15), Estimate(0.1, -0.05, 0.25), Estimate(-0.1, -0.2, -0.01)]
    assert Tally.of(gains) == Tally(1, 1, 1)


def score(value, spread=0.01):
    return Score(Estimate(value, value - spread, value + spread), frozenset([CLEAN]))


def scores(clean, corruption, white_box, spread=0.01):
    parts = {"clean": clean, "corruption": corruption, "white_box": white_box}
    overall = sum(parts.values()) / 3
    return {name: score(value, spread) for name, value in {**parts, "overall": overall}.items()}


def test_the_verdict_is_about_the_best_of_the_others():
    found = verdict(
        {"B": scores(0.8, 0.4, 0.2), "V": scores(0.7, 0.5, 0.5), "W": scores(0.7, 0.4, 0.4)}, "B"
    )
    assert found == (
        "V has a higher mean accuracy over clean, corrupted and attacked images than B: "
        "56.7% against 46.7%. It has 50.0% under white-box attack (20.0%), 50.0% under corruption "
        "(40.0%) and 70.0% when clean (80.0%)."
    )


def test_the_verdict_says_so_if_the_base_is_better_or_nothing_is_certain():
    base = scores(0.8, 0.4, 0.2)
    worse = verdict({"B": base, "V": scores(0.7, 0.3, 0.1)}, "B")
    assert worse.startswith("V has a lower mean accuracy")
    third = verdict({"B": base, "V": scores(0.7, 0.3, 0.1), "W": scores(0.6, 0.3, 0.1)}, "B")
    assert third.startswith("V, the best of the others, has a lower")
    alike = verdict({"B": base, "V": scores(0.8, 0.4, 0.21)}, "B")
    assert alike.startswith("V and B cannot be told apart by mean accuracy")
    assert "+0.3 points [\N{MINUS SIGN}1.1, +1.7]" in alike


def test_the_verdict_falls_back_on_what_was_measured():
    clean = {"clean": score(0.8)}
    found = verdict({"B": {"clean": score(0.7)}, "V": clean}, "B")
    assert found == "V has a higher accuracy on clean images than B: 80.0% against 70.0%."
    assert verdict({"B": clean}, "B") == "B gets 80.0% of clean images right."
    assert "not measured" in verdict({"B": {}}, "B")


def audit_of(*passed):
    return [Check("m", "h", "c", each, 0, 0, "") for each in passed]


def test_the_audit_is_counted():
    assert audit_finding([]).startswith("No audit was made")
    assert audit_finding(audit_of(True, True)) == "All 2 audit checks passed"
    assert audit_finding(audit_of(True)) == "The audit passed"
    assert audit_finding(audit_of(True, False)).startswith("1 of 2 audit checks failed")
