"""Charts put numbers where they belong: labels at their grid lines, marks at their values."""

import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from vonenet.report.charts import Contrast, Series, accuracy_chart, difference_chart
from vonenet.report.differences import Estimate
from vonenet.report.heatmap import Line, Shades, heat_map
from vonenet.report.svg import element, round_ticks, spaced


def estimate(value):
    return Estimate(value, value - 0.02, value + 0.02)


def tags(picture, name, kind=None):
    found = ElementTree.fromstring(str(picture)).iter(name)
    return [e for e in found if kind is None or kind in e.get("class", "").split()]


def texts(picture):
    return {e.text: (float(e.get("x")), float(e.get("y"))) for e in tags(picture, "text")}


def marks(picture):
    where = (e.get("transform") for e in tags(picture, "path", "mark"))
    return [tuple(map(float, re.findall(r"[-\d.]+", w)[:2])) for w in where]


RADII = (1 / 1020, 1 / 255, 4 / 255, 16 / 255)
SERIES = Series(
    "m",
    1,
    estimate(0.7),
    [(r, estimate(v)) for r, v in zip(RADII, (0.6, 0.4, 0.2, 0.1), strict=True)],
)
CHART = accuracy_chart("linf", [SERIES])


def test_percent_labels_stand_at_their_grid_lines():
    lines = [float(e.get("y1")) for e in tags(CHART, "line", "grid")]
    labels = [texts(CHART)[label][1] for label in ("0", "20", "40", "60", "80")]
    assert lines == labels


def test_radius_labels_stand_beneath_their_marks_on_a_logarithmic_axis():
    places = [x for x, _ in marks(CHART)]
    labels = [texts(CHART)[label][0] for label in ("clean", "1/1020", "1/255", "4/255", "16/255")]
    assert places == pytest.approx(labels, abs=0.01)
    steps = [b - a for a, b in pairwise(places[1:])]
    assert steps == pytest.approx([steps[0]] * 3, abs=0.02)  # powers of 4


def test_marks_stand_at_their_values():
    grid = texts(CHART)
    per_point = (grid["0"][1] - grid["80"][1]) / 80
    heights = [(grid["0"][1] - y) / per_point for _, y in marks(CHART)]
    assert heights == pytest.approx([70, 60, 40, 20, 10], abs=0.1)


def test_one_radius_and_no_clean_row_are_enough():
    picture = accuracy_chart("l2", [Series("m", 0, None, [(0.6, estimate(0.5))])])
    assert len(marks(picture)) == 1
    assert tags(picture, "path", "band") == []


def test_differences_stand_at_their_values_and_uncertain_ones_are_hollow():
    contrasts = [
        Contrast("clean", Estimate(-0.05, -0.08, -0.02)),
        Contrast("white box", Estimate(0.01, -0.02, 0.04)),
        Contrast("overall", None),
    ]
    picture = difference_chart("m", 1, contrasts, (-8, 4))
    grid = texts(picture)
    per_point = (grid["+5"][0] - grid["0"][0]) / 5
    assert [(x - grid["0"][0]) / per_point for x, _ in marks(picture)] == pytest.approx(
        [-5, 1], abs=0.01
    )
    hollow = ["hollow" in e.get("class") for e in tags(picture, "path", "mark")]
    assert hollow == [False, True]
    strong = {e.text for e in tags(picture, "text", "strong")}
    assert strong == {"\N{MINUS SIGN}5.0 [\N{MINUS SIGN}8.0, \N{MINUS SIGN}2.0]"}
    assert "not comparable" in grid


def test_a_heat_map_carries_every_number_and_marks_certain_ones_by_weight():
    line = Line("fog", {1: Estimate(0.1, 0.05, 0.15), 3: Estimate(0.02, -0.01, 0.05)}, None)
    picture = heat_map("m", {"weather": [line]}, [1, 2, 3], Shades(True, 0.1))
    assert {"fog", "weather", "+10.0", "+2.0", "\N{MIDDLE DOT}"} <= texts(picture).keys()
    assert [e.text for e in tags(picture, "text", "strong")] == ["+10.0"]
    columns = [texts(picture)[label][0] for label in ("1", "3")]
    assert [texts(picture)[number][0] for number in ("+10.0", "+2.0")] == columns


@pytest.mark.parametrize("of_differences", [False, True])
def test_numbers_stand_out_from_every_shade(of_differences):
    """Contrast of at least 4.5 to 1 (WCAG 2.1, 1.4.3), and zero difference is nearly white."""
    shades = Shades(of_differences, 1.0)
    for step in range(-20 if of_differences else 0, 21):
        color, ink = shades.colors(step / 20)
        channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        light = sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
        assert (light + 0.05) / 0.05 >= 4.5 if ink == "dark" else 1.05 / (light + 0.05) >= 4.5
    if of_differences:
        assert min(bytes.fromhex(shades.colors(0)[0][1:])) > 0xF0


@pytest.mark.parametrize(("low", "high"), [(0, 3), (0, 79), (-16.9, 36.8), (-0.2, 0.1), (-95, 90)])
def test_ticks_are_few_and_hold_what_they_must(low, high):
    ticks = round_ticks(low, high, 6)
    assert len(ticks) <= 6
    assert ticks[0] <= low < high <= ticks[-1]


def test_labels_that_would_touch_are_left_out():
    places = [(0.0, "0.5"), (8.0, "0.6"), (40.0, "2")]
    assert spaced(places, lambda label: 7.0 * len(label)) == {0, 2}


def test_words_are_escaped():
    drawn = element("text", "<b>", title='"x"')
    assert drawn == '<text title="&#34;x&#34;">&lt;b&gt;</text>'
