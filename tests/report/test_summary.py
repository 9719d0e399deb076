"""The paper's means, and a verdict that says what the numbers say."""

import re

import pytest

from tests.report.rows import BASE_ROWS, VONE_ROWS, row
from vonenet.errors import InputError
from vonenet.report.summary import (
    Summary,
    by_model,
    mean_corruption_error,
    summarise,
    text_table,
    verdict,
)


def test_means_are_over_severities_then_types_then_categories():
    rows = [
        row("m", 0.9),
        row("m", 0.8, corruption="gaussian_noise", category="noise", severity=1),
        row("m", 0.6, corruption="gaussian_noise", category="noise", severity=5),
        row("m", 0.1, corruption="shot_noise", category="noise", severity=5),
        row("m", 0.5, corruption="contrast", category="digital", severity=5),
        row("m", 0.2, attack="pgd", norm="linf", epsilon=0.1),
        row("m", 0.3, attack="pgd", norm="l2", epsilon=0.1),
    ]
    summary = summarise(rows)
    assert summary.corruption == pytest.approx(((0.7 + 0.1) / 2 + 0.5) / 2)
    assert summary.white_box == pytest.approx(0.25)
    assert summary.perturbation == pytest.approx((summary.corruption + 0.25) / 2)
    assert summary.overall == pytest.approx((0.9 + summary.corruption + 0.25) / 3)


def test_the_extra_category_counts_nowhere():
    extra = row("m", 0.0, corruption="spatter", category="extra", severity=1)
    assert summarise([*BASE_ROWS, extra]) == summarise(BASE_ROWS)
    with pytest.raises(InputError, match="no corrupted row"):
        summarise([BASE_ROWS[0], extra, BASE_ROWS[-1]])


def corrupted(model, errors):
    """Rows of ImageNet-C's shape: `errors` is type number -> errors by severity."""
    return [
        row(model, 1 - error, corruption=f"type{kind}", category="noise", severity=severity)
        for kind, by_severity in errors.items()
        for severity, error in enumerate(by_severity, start=1)
    ]


def test_mce_is_the_mean_of_ratios_of_sums():
    baseline = dict.fromkeys(range(15), (0.5, 0.7))
    errors = dict(baseline) | {0: (0.1, 0.2), 1: (1.0, 0.8)}
    rows, baseline_rows = corrupted("m", errors), corrupted("b", baseline)
    assert mean_corruption_error(baseline_rows, baseline_rows) == pytest.approx(1)
    expected = (0.3 / 1.2 + 1.8 / 1.2 + 13) / 15
    extra = row("m", 0.0, corruption="spatter", category="extra", severity=1)
    clean = row("m", 0.9)
    assert mean_corruption_error([clean, extra, *rows], baseline_rows) == pytest.approx(expected)


def test_mce_needs_every_type_of_both():
    rows = corrupted("m", dict.fromkeys(range(15), (0.5, 0.7)))
    for missing in (rows[2:], rows[1:]):
        with pytest.raises(InputError, match="the baseline's type0 at severities"):
            mean_corruption_error(rows, missing)
    with pytest.raises(InputError, match="over 15 corruptions; the rows hold 14"):
        mean_corruption_error(rows[2:], rows)
    perfect = corrupted("b", dict.fromkeys(range(15), (0.0, 0.0)))
    with pytest.raises(InputError, match="no error under type0"):
        mean_corruption_error(rows, perfect)


def test_the_definitions_reproduce_the_papers_overall_means():
    """science.md 3.3: the three published rows support each other."""
    for clean, corruption, white_box, overall in [
        (71.7, 40.0, 51.1, 54.3),
        (75.6, 38.8, 16.4, 43.6),
        (62.4, 32.3, 52.3, 49.0),
    ]:
        assert Summary(clean, corruption, white_box).overall == pytest.approx(overall, abs=0.05)


@pytest.mark.parametrize("kind", [0, 1, 2])
def test_a_missing_kind_of_row_is_named(kind):
    rows = [BASE_ROWS[0], BASE_ROWS[1], BASE_ROWS[-1]]
    name = ["clean", "corrupted", "attacked"][kind]
    with pytest.raises(InputError, match=f"no {name} row"):
        summarise(rows[:kind] + rows[kind + 1 :])


@pytest.mark.parametrize(
    ("vone", "words"),
    [
        (
            Summary(0.8, 0.7, 0.6),
            "is more robust to white-box attack and to corruption: it keeps 60% .* keeps 40%",
        ),
        (Summary(0.8, 0.3, 0.2), "is not more robust: it keeps 20%"),
        (Summary(0.8, 0.3, 0.6), "more robust to white-box attack, though not to corruption"),
    ],
)
def test_the_verdict_follows_the_numbers(vone, words):
    assert re.search(words, verdict(Summary(0.8, 0.5, 0.4), vone))


def test_the_table_shows_every_measure():
    grouped = by_model([*BASE_ROWS, *VONE_ROWS])
    table = text_table(*(summarise(rows) for rows in grouped.values()), list(grouped))
    assert len(table.splitlines()) == 6
    assert "clean images" in table
