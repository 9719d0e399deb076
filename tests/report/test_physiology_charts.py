"""Charts of recorded units: heights are shares, places are numbers, examples are by rule."""

import re

import numpy as np
import pytest

from tests.report.recordings import (
    built,
    layers_of,
    planted,
    with_silent,
    with_values,
)
from vonenet.report.physiology_axes import MINUS, Axis, label
from vonenet.report.physiology_consistency import consistency
from vonenet.report.physiology_curves import cycle, field_chart, polar_chart, tuning_chart
from vonenet.report.physiology_histograms import LEFT, RIGHT
from vonenet.report.physiology_populations import (
    on_scale,
    other_panels,
    published_panels,
    shares_in,
)
from vonenet.report.physiology_units import candidates_of, choose, examples


@pytest.fixture(scope="module")
def layer(tmp_path_factory):
    return layers_of([built(planted(stochastic=True))], tmp_path_factory.mktemp("layer"))[0]


def panel_of(panels, name):
    return str(next(panel.picture for panel in panels if panel.name == name))


def numbers(pattern, picture):
    return np.array([float(found) for found in re.findall(pattern, picture)])


def test_grey_bars_are_the_published_shares(layer):
    published = next(p for p in layer.published if p.name == "peak_spatial_frequency")
    picture = panel_of(published_panels([layer]), "Peak spatial frequency")
    heights = numbers(r'height="([\d.]+)" class="cells"', picture)
    np.testing.assert_allclose(heights / heights.sum(), published.shares, atol=2e-4)
    said = numbers(r": ([\d.]+)% of V1 cells", picture)
    np.testing.assert_allclose(said / 100, published.shares, atol=5.1e-4)


def test_outlines_are_the_units_shares_those_beyond_the_axis_in_its_end_bins(tmp_path):
    values = np.array([0.1] * 6 + [3.0] * 12 + [40.0] * 6)
    found = layers_of([with_values(planted(), peak_spatial_frequency=values)], tmp_path)
    picture = panel_of(published_panels(found), "Peak spatial frequency")
    outline = re.search(r'd="M[\d.]+ ([\d.]+)([^"]*)" class="stroke', picture)
    heights = float(outline[1]) - numbers(r"V([\d.]+)H", outline[2])
    expected = np.zeros(12)
    expected[[0, 6, 11]] = 0.25, 0.5, 0.25
    np.testing.assert_allclose(heights / heights.sum(), expected, atol=0.003)


def test_bars_of_shares_are_as_long_as_the_rows_say(layer):
    picture = panel_of(published_panels([layer]), "Share suppressed by a tenth or more")
    widths = numbers(r'width="([\d.]+)" height="14"', picture)
    row = layer.of("share")["strongly_suppressed"]
    np.testing.assert_allclose(widths / (RIGHT - LEFT), [148 / 190, row.value], atol=1e-4)
    assert f"{100 * row.value:.0f}% of 24 units" in picture


def test_shares_add_up_and_leave_out_nan():
    shares = shares_in(np.array([np.nan, -5, 0.2, 0.7, 9]), np.array([0, 0.5, 1.0]))
    np.testing.assert_allclose(shares, [0.5, 0.5])
    np.testing.assert_allclose(shares_in(np.array([np.nan]), np.array([0, 1.0])), [0])


def test_figures_are_medians_or_shares_above_the_line(layer):
    panels = other_panels([layer])
    median = np.median(layer.recording.values("circular_variance"))
    assert f">{median:.2f}<" in panel_of(panels, "Circular variance")
    assert ">50% above 1<" in panel_of(panels, "F1/F0")
    above = 100 * (layer.recording.values("c50") > 1).mean()
    assert f">{above:.0f}% above 1<" in panel_of(panels, "Semi-saturation contrast (c50)")


@pytest.mark.parametrize(
    ("value", "span", "expected"),
    [(-2e-7, 2, "0.00"), (-0.0824, 2, "-0.08"), (52.06, 90, "52.1"), (-0.00078, 0.03, "-0.0008")],
)
def test_numbers_are_as_fine_as_their_axis(value, span, expected):
    assert on_scale(value, span).replace(MINUS, "-") == expected


def test_ticks_are_within_their_axis():
    for axis in (
        Axis.log("", [0.386, 12.3]),
        Axis.log("", [0.21, 6.7]),
        Axis.log("", [3.0]),
        Axis.log("", [np.nan]),
        Axis.linear("", [-3, 17.0]),
        Axis.linear("", [0.0]),
        Axis.between("", -0.875, 0.875, most=5),
    ):
        assert axis.ticks
        assert axis.low < axis.high
        assert all(axis.low <= tick <= axis.high for tick in axis.ticks)
    assert Axis.log("", [0.1, 10]).place(0, 100)(1.0) == pytest.approx(50)
    assert label(-0.5) == f"{MINUS}0.5"
    assert label(0.6000000000000001) == "0.6"


def test_examples_are_the_middle_units_of_equal_groups_simple_and_complex_by_turns():
    recording = planted(units=60)
    frequency = recording.populations["spatial_frequency"].properties["peak_spatial_frequency"]
    chosen = choose(recording, range(60))
    assert [unit < 30 for unit in chosen] == [True, False] * 3
    for kind in (range(30), range(30, 60)):
        ranked = sorted(kind, key=lambda unit: frequency[unit])
        assert [unit for unit in chosen if unit in kind] == [ranked[5], ranked[15], ranked[25]]


def test_a_kind_with_few_units_leaves_its_places_to_the_other():
    recording = planted(units=60)
    assert len(choose(recording, range(30))) == 6
    assert sum(unit >= 30 for unit in choose(recording, range(31))) == 1
    assert len(choose(recording, range(31))) == 6
    assert sorted(choose(recording, [3, 40])) == [3, 40]
    assert choose(recording, []) == []


def test_units_that_miss_an_experiment_are_no_examples(tmp_path):
    silent = np.arange(24) % 2 == 0
    recording = with_silent(planted(), silent)
    assert candidates_of(recording) == list(range(1, 24, 2))
    found = examples(layers_of([recording], tmp_path)[0])
    assert len(found.units) == 6
    assert found.rule.startswith("12 units of 24 respond in every experiment (6 simple and 6 comp")


def test_a_unit_is_told_by_its_numbers(layer):
    unit = examples(layer).units[0]
    channel = int(unit.name.split()[1])
    frequency = layer.recording.populations["spatial_frequency"].properties
    assert f"peak {frequency['peak_spatial_frequency'][channel]:#.3g} cycles" in unit.about
    assert unit.about.startswith("simple, F1/F0 1.57; bars of ")
    assert len(unit.charts) == 6


def test_the_polar_plot_turns_counter_clockwise_and_is_mirrored(layer):
    curve = layer.recording.populations["orientation"].curves["orientation"]
    rates = np.zeros_like(curve.rates)
    rates[:, 3] = 10.0  # bars of 45 degrees
    picture = str(polar_chart(type(curve)(curve.axis, curve.x, rates), 0, 45.0, 1))
    outline = re.search(r'd="M([^Z]*)Z" class="stroke', picture)[1]
    spots = np.array([[float(v) for v in spot.split()] for spot in outline.split("L")])
    center = spots.mean(axis=0)
    far = spots[np.hypot(*(spots - center).T) > 10]
    assert len(spots) == 24
    assert len(far) == 2
    np.testing.assert_allclose(far.mean(axis=0), center, atol=0.1)
    right = far[far[:, 0].argmax()] - center
    assert right[0] == pytest.approx(-right[1], abs=0.2)  # up on the page is a smaller y
    assert "outer circle: 10.0 spikes/s" in picture


def test_tuning_curves_pass_through_their_points_or_their_fit(layer):
    curve = layer.recording.populations["contrast"].curves["contrast"]
    axis = Axis("contrast", 0, 1, [0, 1])
    picture = str(tuning_chart(curve, 0, 1, axis))
    dots = numbers(r"M[\d.]+ ([\d.]+)h0", picture)
    line = re.search(r'd="M([^"]*)" class="stroke', picture)[1]
    fitted = np.array([float(spot.split()[1]) for spot in line.split("L")])
    # Rates are 40 x contrast, the fit 0.5 more, and the axis ends at a round number above
    per_spike = (dots[0] - dots[-1]) / 40
    np.testing.assert_allclose(dots - fitted, 0.5 * per_spike, atol=0.11)


def test_a_cycle_of_phases_closes(layer):
    curve = layer.recording.populations["modulation"].curves["phase"]
    closed = cycle(curve)
    assert closed.x[-1] == 360
    np.testing.assert_array_equal(closed.rates[:, -1], curve.rates[:, 0])


def test_maps_are_cut_to_what_is_shown_and_the_field_is_drawn_to_scale(layer):
    fields = layer.recording.fields
    picture = str(field_chart(fields, 0, 1.0))
    radius = numbers(r'<circle [^>]*r="([\d.]+)"', picture)[0]
    side = numbers(r'<image [^>]*width="([\d.]+)"', picture)[0]
    assert radius / side == pytest.approx(0.35 / 2.25, rel=1e-3)  # 9 positions of 0.25 degrees


def test_what_was_built_in_is_said_to_come_back_or_not(tmp_path):
    good, bad = layers_of(
        [
            built(planted("good", stochastic=True), cut=3),
            built(planted("bad", seed=1, stochastic=True), off=3.0, slope=5.0),
        ],
        tmp_path,
    )
    found = consistency(good)
    assert found.finding == "good v1: all 4 properties come back as built"
    assert "21 units. Left out: 3 (grey) whose kernel's window cuts the filter off." in str(
        found.panels[0].finding
    )
    row = good.agreements["peak_spatial_frequency"]
    assert f"Correlation {row.value:.3f} [" in found.panels[1].finding
    found = consistency(bad)
    assert found.finding == "bad v1: 2 of 4 properties do not come back as built"
    assert [panel.finding[0] for panel in found.panels] == ["✓", "✗", "✓", "✗"]


def test_an_offset_that_all_units_share_is_told(tmp_path):
    layer = layers_of([built(planted(), shift=1.0)], tmp_path)[0]
    finding = consistency(layer).panels[1].finding
    assert finding.startswith("✗ does not agree. Correlation 1.000 [1.000, 1.000], median offset")
    assert f"median offset {MINUS}1.00 octaves, 24 units" in finding


def test_without_what_was_built_there_is_no_comparison(tmp_path):
    silent = with_silent(built(planted("silent")), np.ones(24, bool))
    for layer in layers_of([planted(), silent], tmp_path):
        assert consistency(layer) is None
