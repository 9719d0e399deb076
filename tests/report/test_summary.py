"""The paper's means, and a verdict that says what the numbers say."""

import re

import pytest

from tests.report.rows import BASE_ROWS, VONE_ROWS, row
from vonenet.errors import InputError
from vonenet.report.summary import Summary, by_model, summarise, text_table, verdict


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
