"""Plots show the numbers they are given; inlined they follow the page and stay apart."""

import re
from xml.etree import ElementTree

import pytest
from matplotlib.markers import MarkerStyle

from vonenet.report.page import inline_svg, swatch
from vonenet.report.plots import (
    COLORS,
    STYLES,
    accuracy_against_radius,
    layer_style,
    series_style,
)
from vonenet.report.tables import Estimate

CURVES = {
    "not attacked": {0.0: Estimate(0.9, 0.8, 0.95)},
    "attacked": {0.0: Estimate(0.8, 0.7, 0.9), 1 / 255: Estimate(0.5, 0.4, 0.6)},
    "more": {1 / 1020: Estimate(0.7, 0.6, 0.8), 1 / 255: Estimate(0.3, 0.2, 0.4)},
}


def test_accuracies_stand_at_their_radii_in_their_series_color():
    (axes,) = accuracy_against_radius("linf", CURVES).axes
    labels = dict(
        zip(axes.get_xticks(), [t.get_text() for t in axes.get_xticklabels()], strict=True)
    )
    marks = [line for line in axes.lines if line.get_linestyle() == "None"]
    found = {line.get_color(): {labels[x]: y for x, y in line.get_xydata()} for line in marks}
    assert found == {
        COLORS["s1"]: {"clean": pytest.approx(80), "1/255": pytest.approx(50)},
        COLORS["s2"]: {"1/1020": pytest.approx(70), "1/255": pytest.approx(30)},
    }


def test_inlined_figures_follow_the_page_and_each_is_the_same_every_time():
    svg = inline_svg(accuracy_against_radius("linf", CURVES), '"<script>')
    ElementTree.fromstring(svg)  # well formed
    assert "<script" not in svg
    assert "var(--s1)" in svg
    assert not set(re.findall("#[0-9a-f]{6}", svg)) & set(COLORS.values())
    assert svg == inline_svg(accuracy_against_radius("linf", CURVES), '"<script>')
    assert len({swatch(number, line) for number in range(STYLES) for line in (True, False)}) == 16


def test_each_of_many_layers_has_a_sign_of_its_own_that_is_seen():
    signs = {swatch(layer_style(index), False) for index in range(30)}
    assert len(signs) == 30
    colors = [series_style(layer_style(index))["color"] for index in range(30)]
    assert COLORS["s0"] not in colors  # of a base
    markers = [series_style(layer_style(index))["marker"] for index in range(30)]
    assert all(MarkerStyle(marker).is_filled() for marker in markers)  # edges have paper's colour
    assert markers[7:] == [f"$\\mathbf{{{place}}}$" for place in range(8, 31)]
