"""Figures of recorded units: heights are shares, places are numbers, examples are by rule."""

import dataclasses
import re

import numpy as np
import pytest

from tests.report.recordings import built, layers_of, planted, with_silent, with_values
from vonenet.report.page import inline_svg
from vonenet.report.physiology_panels import (
    PROPERTIES,
    about_unit,
    agreement_panels,
    candidates,
    choose,
    other_distribution,
    published_distribution,
    shares_in,
)
from vonenet.report.physiology_plots import (
    Distribution,
    agreement_figure,
    distribution_figure,
    field_figure,
    orientation_figure,
    tuning_figure,
    variance_figure,
)

MINUS = "\N{MINUS SIGN}"


@pytest.fixture(scope="module")
def layer(tmp_path_factory):
    return layers_of([built(planted(stochastic=True))], tmp_path_factory.mktemp("layer"))[0]


def published(layer, name):
    return next(each for each in layer.recording.published if each.name == name)


def test_bars_and_outlines_are_shares(layer):
    spatial = published(layer, "peak_spatial_frequency")
    row = published_distribution(spatial, layer)
    nothing = Distribution(2, None, "0.00", "0 units")
    figure = distribution_figure("x", spatial.edges, [row, nothing], spatial.shares, log=True)
    (axis,) = figure.axes
    heights = np.array([bar.get_height() for bar in axis.containers[0]])
    np.testing.assert_allclose(heights / heights.sum(), spatial.shares)
    outlines = [patch.get_data() for patch in axis.patches if hasattr(patch, "get_data")]
    assert len(outlines) == 2  # filled and not, of the only layer with units
    for outline in outlines:
        np.testing.assert_allclose(outline.values / heights.sum(), row.shares)
        np.testing.assert_array_equal(outline.edges, spatial.edges)
    assert "0 units" in [text.get_text() for text in axis.texts]


def test_ticks_of_small_numbers_are_written_in_full():
    row = Distribution(1, np.array([1.0]), "", "")
    picture = inline_svg(distribution_figure("x", [0, 5e-4], [row]), "x")
    assert {"0.0001", "0.0005"} <= set(re.findall(r">([^<]+)</text>", picture))
    assert not re.findall(r'="[^"]*\d\.\d{3}', picture)  # coordinates are short


def test_units_beyond_the_axis_are_in_its_end_bins(tmp_path):
    values = np.array([0.1] * 6 + [3.0] * 12 + [40.0] * 6)
    (found,) = layers_of([with_values(planted(), peak_spatial_frequency=values)], tmp_path)
    shares = published_distribution(published(found, "peak_spatial_frequency"), found).shares
    expected = np.zeros(12)
    expected[[0, 6, 11]] = 0.25, 0.5, 0.25
    np.testing.assert_array_equal(shares, expected)
    np.testing.assert_array_equal(shares_in(np.array([-5, 0.2, 0.7, 9]), [0, 0.5, 1]), [0.5, 0.5])
    np.testing.assert_array_equal(shares_in(np.array([]), [0, 1.0]), [0])


def test_yes_or_no_is_told_as_the_rows_share(layer):
    row = layer.of("share")["strongly_suppressed"]
    found = published_distribution(published(layer, "strongly_suppressed"), layer)
    assert found.units == f"{row.value:.0%} of 24 units"
    np.testing.assert_allclose(found.shares, [1 - row.value, row.value])


def test_distributions_are_told_as_medians_or_shares_above_the_line(layer):
    def told(name, values=None):
        values = layer.recording.values(name) if values is None else values
        return other_distribution(name, layer, values, np.linspace(0, 1, 21))

    median = np.median(layer.recording.values("circular_variance"))
    assert told("circular_variance").number == f"{median:.2g}"
    assert told("circular_variance").median == median
    assert told("modulation_ratio").number == "50% above 1"
    above = (layer.recording.values("c50") > PROPERTIES["c50"][2]).mean()
    assert told("c50").number == f"{above:.0%} above 1"
    assert told("bandwidth", np.array([52.06, np.nan])).units == "1 of 2 units"
    assert told("bandwidth", np.array([52.06])).median == 1  # at the end of its axis
    for value, words in (
        (-2e-7, "0"),
        (-0.0824, f"{MINUS}0.082"),
        (0.00078, "0.0008"),
        (120.0, "120"),
    ):
        assert told("noise_correlation", np.array([value])).number == words
    assert told("fano_factor", np.array([])).shares is None


def test_examples_are_the_middle_units_of_equal_groups_simple_and_complex_by_turns():
    recording = planted(units=60)
    frequency = recording.populations["spatial_frequency"].properties["peak_spatial_frequency"]
    chosen = choose(recording, range(60), 6)
    assert [unit < 30 for unit in chosen] == [True, False] * 3
    for kind in (range(30), range(30, 60)):
        ranked = sorted(kind, key=lambda unit: frequency[unit])
        assert [unit for unit in chosen if unit in kind] == [ranked[5], ranked[15], ranked[25]]


def test_a_kind_with_few_units_leaves_its_places_to_the_other():
    recording = planted(units=60)
    assert len(choose(recording, range(30), 6)) == 6
    assert sum(unit >= 30 for unit in choose(recording, range(31), 6)) == 1
    assert len(choose(recording, range(31), 6)) == 6
    assert sorted(choose(recording, [3, 40], 6)) == [3, 40]
    assert choose(recording, [], 6) == []


def test_units_that_miss_an_experiment_are_no_examples():
    assert candidates(with_silent(planted(), np.arange(24) % 2 == 0)) == list(range(1, 24, 2))


def test_a_unit_is_told_by_its_numbers(layer):
    frequency = layer.recording.populations["spatial_frequency"].properties
    about = about_unit(layer.recording, 3)
    assert f"peak {frequency['peak_spatial_frequency'][3]:#.3g} cycles/degree" in about
    assert about.startswith("simple; F1/F0 1.57; bars of ")
    turned = with_values(layer.recording, preferred_orientation=-10, c50=np.nan)
    assert "bars of 170°" in about_unit(turned, 3)
    assert "c50" not in about_unit(turned, 3)
    for c50, words in ((0.82, "c50 0.82"), (10.0, "does not saturate")):
        assert about_unit(with_values(layer.recording, c50=c50), 3).endswith(f"; {words}")


def test_the_polar_plot_is_mirrored_and_closed(layer):
    curve = layer.recording.populations["orientation"].curves["orientation"]
    (axis,) = orientation_figure(curve, 0, 45.0).axes
    angles, rates = axis.lines[0].get_data()
    n = len(curve.x)
    np.testing.assert_allclose(np.rad2deg(angles[:n]), curve.x)
    np.testing.assert_allclose(angles[n : 2 * n] - angles[:n], np.pi)
    np.testing.assert_array_equal(rates, [*curve.rates[0], *curve.rates[0], curve.rates[0, 0]])
    assert axis.get_theta_direction() == 1  # counter-clockwise
    assert axis.get_ylim() == (0, curve.rates[0].max())
    np.testing.assert_allclose(np.rad2deg(axis.lines[1].get_xdata()), [45, 225])


def test_tuning_curves_pass_through_their_points_or_their_fit(layer):
    contrast = layer.recording.populations["contrast"].curves["contrast"]
    line, dots = tuning_figure(contrast, 0, ticks=[0, 1]).axes[0].lines
    np.testing.assert_array_equal(line.get_ydata(), contrast.fitted[0])
    np.testing.assert_array_equal(dots.get_ydata(), contrast.rates[0])
    unfitted = dataclasses.replace(contrast, fitted=np.full_like(contrast.rates, np.nan))
    line, _ = tuning_figure(unfitted, 0).axes[0].lines
    np.testing.assert_array_equal(line.get_ydata(), contrast.rates[0])
    lost = dataclasses.replace(contrast, rates=np.full_like(contrast.rates, np.nan))
    for draw in (tuning_figure, orientation_figure):
        assert [text.get_text() for text in draw(lost, 0).axes[0].texts] == ["not measured"]


def test_maps_are_cut_to_what_is_shown_and_the_field_is_drawn_to_scale(layer):
    fields = layer.recording.fields
    (axis,) = field_figure(fields, 0, 1.0).axes
    (image,), (circle,) = axis.images, axis.patches
    assert image.get_array().shape == (9, 9)  # of 0.25 degrees
    assert image.get_extent() == pytest.approx([-1.125, 1.125, -1.125, 1.125])
    np.testing.assert_array_equal(image.get_array(), fields.maps[0][6:15, 6:15])
    assert image.origin == "lower"
    assert circle.get_radius() == pytest.approx(0.35)
    np.testing.assert_array_equal(circle.center, fields.centers_deg[0])


def test_what_was_built_in_is_drawn_beside_what_was_measured():
    recording = built(planted(stochastic=True), cut=2)
    truth, measured = recording.ground_truth, np.linspace(1, 3, 24)
    measured[5] = np.nan
    _, cut, whole = (
        agreement_figure("x", truth.frequency_cpd, measured, truth.whole, log=True).axes[0].lines
    )
    np.testing.assert_array_equal(cut.get_ydata(), measured[:2])
    np.testing.assert_array_equal(whole.get_ydata(), np.delete(measured, [0, 1, 5]))
    curve = recording.populations["noise"].curves["variance"]
    dots, model = variance_figure(curve, truth).axes[0].lines
    assert len(dots.get_xdata()) <= curve.x.size
    mean, variance = truth.rectified_moments(np.array([0.0, 1.2 * curve.x.max()]))
    assert model.get_xdata()[-1] == pytest.approx(mean[-1])
    assert model.get_ydata()[-1] == pytest.approx(variance[-1])


def test_what_was_built_in_is_said_to_come_back_or_not(tmp_path):
    good, bad, shifted, unknown, silent = layers_of(
        [
            built(planted("good", stochastic=True), cut=3),
            built(planted("bad", seed=1, stochastic=True), off=3.0, slope=5.0),
            built(planted("shifted", seed=2), shift=1.0),
            planted("unknown", seed=3),
            with_silent(built(planted("silent", seed=4)), np.ones(24, bool)),
        ],
        tmp_path,
    )
    panels = agreement_panels(good)
    assert [panel.finding[0] for panel in panels] == ["✓"] * 4
    assert panels[0].finding.endswith("21 units, 3 left out")
    row = good.agreements["peak_spatial_frequency"]
    assert f"correlation {row.value:.3f} [" in panels[1].finding
    assert [panel.finding[0] for panel in agreement_panels(bad)] == ["✓", "✗", "✓", "✗"]
    finding = agreement_panels(shifted)[1].finding
    assert finding.startswith("✗ does not agree: correlation 1.000 [1.000, 1.000], median offset")
    assert f"median offset {MINUS}1.00 octaves, 24 units" in finding
    assert agreement_panels(unknown) == agreement_panels(silent) == []
