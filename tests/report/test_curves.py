"""Curves put numbers where they belong, on axes that hold them all."""

import re
from itertools import pairwise
from math import inf, nan

import pytest

from tests.report.pages import marks, tags, texts
from vonenet.report.curves import (
    BOTTOM,
    HEIGHT,
    RIGHT,
    TOP,
    Axis,
    Curve,
    epoch_chart,
    factor_spanned,
)
from vonenet.report.svg import log_ticks, round_ticks

LOSSES = [(1, 40.0), (2, 20.0), (3, 10.0), (4, 5.0)]


def said(value):
    return f"{value:g} nats"


def chart(*curves, kind=Axis.linear, **options):
    return epoch_chart(kind("loss", curves, said, **options), curves)


def pieces(picture, kind):
    """Points of each connected piece of the lines of a kind."""
    found = [e.get("d") for e in tags(picture, "path", kind)]
    return [
        [tuple(map(float, spot.split())) for spot in piece.split("L")]
        for outline in found
        for piece in outline.split("M")[1:]
    ]


def test_values_stand_at_their_heights_on_a_linear_axis():
    picture = chart(Curve("a", 1, LOSSES))
    zero, unit = texts(picture)["0"][1], texts(picture)["0"][1] - texts(picture)["10"][1]
    heights = [10 * (zero - y) / unit for _, y in marks(picture)]
    assert heights == pytest.approx([40, 20, 10, 5], abs=0.05)
    lines = [float(e.get("y1")) for e in tags(picture, "line", "grid")]
    assert lines == [texts(picture)[label][1] for label in ("0", "10", "20", "30", "40")]


def test_equal_factors_are_equal_steps_on_a_logarithmic_axis():
    picture = chart(Curve("a", 1, LOSSES), kind=Axis.log)
    heights = [y for _, y in marks(picture)]
    steps = [b - a for a, b in pairwise(heights)]
    assert steps == pytest.approx([steps[0]] * 3, abs=0.02)
    assert heights[1:] == pytest.approx([texts(picture)[x][1] for x in ("20", "10", "5")], abs=0.01)
    assert "loss (logarithmic axis)" in texts(picture)


def test_epochs_stand_above_their_labels():
    picture = chart(Curve("a", 1, LOSSES))
    labels = [texts(picture)[f"{epoch}"][0] for epoch in (1, 2, 3, 4)]
    assert [x for x, _ in marks(picture)] == pytest.approx(labels, abs=0.01)


def test_the_line_goes_through_the_marks_and_the_thin_line_has_none():
    thin = [(1, 30.0), (4, 15.0)]
    picture = chart(Curve("a", 1, LOSSES, thin))
    (line,) = pieces(picture, "stroke")
    assert [x for spot in line for x in spot] == pytest.approx(
        [x for spot in marks(picture) for x in spot], abs=0.06
    )
    ((start, end),) = pieces(picture, "lead")
    assert (start[0], end[0]) == (line[0][0], line[-1][0])
    assert line[0][1] < start[1] < end[1] < line[-1][1]


def test_what_is_not_finite_breaks_the_line():
    points = [(1, 9.0), (2, 8.0), (3, nan), (4, 7.0), (5, 6.0), (6, inf)]
    picture = chart(Curve("a", 1, points))
    assert [len(piece) for piece in pieces(picture, "stroke")] == [2, 2]
    assert len(marks(picture)) == 4
    assert not re.search(r"\b(nan|inf)\b", str(picture))


def test_one_epoch_is_a_mark_in_the_middle_without_line():
    picture = chart(Curve("a", 1, [(7, 2.5)]))
    ((x, y),) = marks(picture)
    assert texts(picture)["7"][0] == pytest.approx(x, abs=0.01)
    assert TOP <= y < BOTTOM
    assert abs(x - RIGHT / 2) < 20
    assert pieces(picture, "stroke") == []


def test_curves_that_do_not_move_have_an_axis():
    picture = chart(Curve("a", 1, [(1, 0.0), (2, 0.0)]))
    assert [y for _, y in marks(picture)] == [BOTTOM, BOTTOM]


def test_many_epochs_have_few_marks_with_the_first_and_the_last():
    points = [(n, 100 / n) for n in range(1, 301)]
    picture = chart(Curve("a", 1, points))
    places = marks(picture)
    assert len(places) == 6
    (line,) = pieces(picture, "stroke")
    assert len(line) == 300
    assert places[0] == pytest.approx(line[0], abs=0.06)
    assert places[-1] == pytest.approx(line[-1], abs=0.06)


def test_marks_say_their_values():
    titles = [e.text for e in tags(chart(Curve("a", 1, LOSSES)), "title")]
    assert titles[0] == "a, epoch 1: 40 nats"
    assert len(titles) == 4


@pytest.mark.parametrize(
    "values",
    [
        [1e-8, 3e-8],
        [1e6, 3e9],
        [0.001, 5.0],
        [-3.0, 4.0],
        [2.3026, 2.3031],
        [99.4, 99.9],
        [0.0, 1e-7],
    ],
)
def test_every_axis_holds_its_curves_and_its_labels_fit(values):
    curve = Curve("a", 1, list(enumerate(values, 1)))
    pictures = [chart(curve)] + ([chart(curve, kind=Axis.log)] if min(values) > 0 else [])
    for picture in pictures:
        assert all(TOP - 0.01 <= y <= BOTTOM + 0.01 for _, y in marks(picture))
        labels = [e for e in tags(picture, "text") if e.get("text-anchor") == "end"]
        assert len({e.text for e in labels}) == len(labels) >= 2
        for e in labels:
            assert float(e.get("x")) - 7.5 * len(e.text) >= 0
        assert all(0 <= y < HEIGHT for _, y in texts(picture).values())


def test_the_axis_begins_at_0_unless_the_curves_stay_high():
    def ticks(*values):
        return Axis.linear("a", [Curve("a", 1, list(enumerate(values, 1)))], said).ticks

    assert ticks(10.0, 40.0)[0] == 0
    assert ticks(90.0, 97.0)[0] == 90
    assert ticks(90.0)[0] == 0  # a single epoch shows no change
    assert ticks(-10.0, 40.0)[0] == -10


def test_factors_that_curves_span():
    curves = [Curve("a", 1, [(1, 8.0)], [(1, 2.0)]), Curve("b", 2, [(1, 40.0), (2, nan)])]
    assert factor_spanned(curves) == 20
    assert factor_spanned([*curves, Curve("c", 3, [(1, 0.0)])]) == 0


@pytest.mark.parametrize(
    ("low", "high"), [(1e-6, 0.1), (0.03, 0.07), (0.3, 900), (1e-12, 1e12), (1, 2), (0.999, 1000)]
)
def test_logarithmic_ticks_are_few_and_hold_what_they_must(low, high):
    ticks = log_ticks(low, high, 10)
    assert 2 <= len(ticks) <= 10
    assert ticks == sorted(ticks)
    assert ticks[0] <= low < high <= ticks[-1]


@pytest.mark.parametrize(("low", "high"), [(0, 2e-6), (0.02, 0.09), (3e7, 9e7), (5, 5)])
def test_ticks_are_as_fine_as_asked(low, high):
    ticks = round_ticks(low, high, 7, finest=-9)
    assert 2 <= len(ticks) <= 7
    assert ticks[0] <= low <= high <= ticks[-1]
    assert round_ticks(0, 0.3, 7) == [0, 1]
    assert round_ticks(0, 9, 6) == [0, 2, 4, 6, 8, 10]
    assert round_ticks(0, 9, 5) == [0, 5, 10]  # 2.5 is no whole number
    assert round_ticks(0, 90, 5) == [0, 25, 50, 75, 100]
