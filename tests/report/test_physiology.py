"""The page of recorded layers: every number is a row's, and what is missing is told as such."""

import dataclasses
import re

import numpy as np
import pytest

from tests.report.pages import words
from tests.report.recordings import (
    built,
    layers_of,
    planted,
    saved_rows,
    with_silent,
    with_values,
    without_curves,
)
from vonenet.errors import InputError
from vonenet.physiology.scores import recording_rows, scores_of
from vonenet.report import physiology
from vonenet.report.physiology import (
    CEILED,
    PROPERTIES,
    agreement_panels,
    by_likeness,
    candidates,
    choose,
    compared,
    is_missing,
    other_distribution,
    other_panels,
    published_distribution,
    published_of,
    read_layers,
    shares_in,
    verdict,
    write_physiology_report,
)
from vonenet.report.physiology_plots import (
    Distribution,
    agreement_figure,
    distribution_figure,
    tuning_figure,
)
from vonenet.results import append_jsonl

HOSTILE = '"><script>alert(1)</script>&$\x1b[31m'
MINUS = "\N{MINUS SIGN}"


def written(recordings, folder, units):
    """Text of the terminal and HTML of the page with so many example units of each layer."""
    out = folder / "page" / "report.html"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(physiology, "SHOWN_UNITS", units)
        text = write_physiology_report(recordings, saved_rows(recordings, folder), out)
    return text, out.read_text()


def populations(*names, **changes):
    """Some of the experiments of a planted recording."""
    whole = planted(**changes).populations
    return {name: whole[name] for name in names}


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    recordings = [
        built(planted("one", stochastic=True), cut=2),
        with_values(planted("two", seed=1), surround_suppression_index=0, strongly_suppressed=0),
    ]
    return recordings, *written(recordings, tmp_path_factory.mktemp("pair"), 1)


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    """A page of layers that each lack something."""
    recordings = [
        without_curves(with_values(planted(HOSTILE, layer=HOSTILE, seed=2), c50=np.nan)),
        with_silent(planted("none responds", seed=5), np.ones(24, bool)),
        planted("one unit", units=1, populations=populations("orientation", "noise", units=1)),
    ]
    return written(recordings, tmp_path_factory.mktemp("odd"), 1)


@pytest.fixture(scope="module")
def layers(tmp_path_factory):
    recordings = [
        built(planted("one", stochastic=True)),
        with_values(planted("two", seed=1), surround_suppression_index=0.01, strongly_suppressed=0),
    ]
    return layers_of(recordings, tmp_path_factory.mktemp("layers"))


@pytest.fixture
def layer(layers):
    return layers[0]


def published(layer, name):
    return next(each for each in layer.recording.published if each.name == name)


def test_every_row_is_on_the_page(pair):
    recordings, text, html = pair
    said = words(html)
    for recording in recordings:
        for row in recording_rows(recording):
            if row.metric == CEILED:
                interval = f"[{row.ci_low:.2f}, {row.ci_high:.2f}]"
                assert f"{row.value:.2f} {interval} {compared(row)}" in said
                assert f"{row.value:.2f} {interval}" in text
            if row.metric == "ks_similarity" and row.value:
                assert f"similarity {row.value:#.3g} [" in said
    numbers = html[html.index("<h2>Every number") :]
    assert numbers.count('<th scope="row">') == sum(len(recording_rows(r)) for r in recordings)
    assert "8.50 x response +0.82" in said
    assert said.count("no noise") == 2  # Fano factor and correlation of the second layer
    lines = text.splitlines()
    assert len({len(line) for line in lines}) == 1  # columns stand beneath their heads
    assert len(lines) == 2 + 15 + 1 + 4


def test_pages_are_self_contained_and_hold_no_number_that_is_none(pair, odd):
    for html in (pair[2], odd[1]):
        words(html)
        assert "http" not in html
        assert "<script" not in html
        assert not re.findall(r"(?i)(?<![a-z0-9+/=])(?:nan|inf)(?![a-z0-9+/=])", html)
        assert len(html) < 1_000_000


def test_what_layers_lack_is_told(odd):
    text, html = odd
    said = words(html)
    for told in (
        "24 of 24 units (12 simple, 12 complex)",
        "0 of 24 units (0 simple, 0 complex)",
        "1 of 1 unit (0 simple, 1 complex)",
        "not measured",
    ):
        assert told in said
    assert "no score: 0 units of 10 needed" in text
    assert html.count('<figure class="unit">') == 2  # of all but the silent units
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&amp;" in html
    assert "\x1b" not in text


def test_rows_that_are_missing_are_told(tmp_path):
    path = saved_rows([planted("other")], tmp_path)
    with pytest.raises(InputError, match="has no row of planted v1 as it was recorded"):
        write_physiology_report([planted()], path, tmp_path / "report.html")
    with pytest.raises(InputError, match="no recording"):
        write_physiology_report([], path, tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_rows_of_other_settings_are_not_shown(tmp_path):
    recording = planted()
    path = saved_rows([recording], tmp_path)
    (alone,) = read_layers([recording], path)
    assert len(alone.rows) == len(recording_rows(recording))
    for changes in ({"degrees": 4.0}, {"seed": 1}):
        other = planted(settings=recording.settings | changes, seed=5, model_hash="0" * 16)
        append_jsonl(path, recording_rows(other))
    (beside_others,) = read_layers([recording], path)
    assert beside_others.rows == alone.rows


def test_layers_are_ranked_by_their_mean_over_as_many_properties(layers, tmp_path):
    (first, high), (second, low) = by_likeness(layers)
    assert high.value > low.value
    assert verdict(layers).startswith(f"Most like V1: {first.label}, {high.value:.2f} [")
    assert f"Next: {second.label}, {low.value:.2f} [" in verdict(layers)
    (few,) = layers_of([planted(populations=populations("orientation"))], tmp_path)
    assert by_likeness([few, second]) == [(second, low)]
    assert verdict([few]).endswith("the mean over 7 published properties.")


def test_a_score_of_0_without_units_is_told_as_missing(tmp_path):
    wrong = with_values(planted(), sf_bandwidth_simple=np.nan, surround_suppression_index=2.0)
    (layer,) = layers_of([wrong], tmp_path)
    rows = layer.of(CEILED)
    none, all_wrong = rows["sf_bandwidth_simple"], rows["surround_suppression_index"]
    assert (none.value, is_missing(none), compared(none)) == (0, True, "0 of 12 units")
    assert (all_wrong.value, is_missing(all_wrong), compared(all_wrong)) == (0, False, "24 units")


@pytest.mark.parametrize("having", range(0, 24, 6))
def test_missing_is_what_the_score_left_out(having, tmp_path):
    """Few units of many: the score says 0 where a tenth of the draws have none."""
    values = np.where(np.arange(24) < having, 55.0, np.nan)
    recording = with_values(planted(), sf_bandwidth=values, sf_bandwidth_simple=values)
    rows = layers_of([recording], tmp_path)[0].of(CEILED)
    for score in scores_of(recording):
        if score.published.name.startswith("sf_bandwidth"):
            assert is_missing(rows[score.published.name]) == (score.draws == 0).all()


def test_layers_are_told_apart_and_none_has_the_bases_grey(tmp_path):
    recordings = [planted(model, model_hash=hash_ * 16) for model, hash_ in ("m1", "m2", "n2")]
    found = layers_of(recordings, tmp_path)
    assert [each.label for each in found] == ["m v1 (11111111)", "m v1 (22222222)", "n v1"]
    assert [each.style for each in found] == [1, 2, 3]
    assert len(published_of(found)) == 19


def test_figures_show_the_shares_and_the_rates_of_the_recording(layer):
    spatial = published(layer, "peak_spatial_frequency")
    row = published_distribution(spatial, layer)
    nothing = Distribution(2, None, "0.00", "0 units")
    (axis,) = distribution_figure("x", spatial.edges, [row, nothing], spatial.shares, log=True).axes
    heights = np.array([bar.get_height() for bar in axis.containers[0]])
    np.testing.assert_allclose(heights / heights.sum(), spatial.shares)
    outlines = [patch.get_data() for patch in axis.patches if hasattr(patch, "get_data")]
    assert len(outlines) == 2  # filled and not, of the only layer with units
    np.testing.assert_allclose(outlines[1].values / heights.sum(), row.shares)
    contrast = layer.recording.populations["contrast"].curves["contrast"]
    line, dots = tuning_figure(contrast, 0).axes[0].lines
    np.testing.assert_array_equal(line.get_ydata(), contrast.fitted[0])
    np.testing.assert_array_equal(dots.get_ydata(), contrast.rates[0])


def test_what_was_built_in_is_drawn_beside_what_was_measured():
    built_in, measured = np.linspace(1, 4, 24), np.linspace(1, 3, 24)
    measured[5] = np.nan
    figure = agreement_figure("x", built_in, measured, np.arange(24) >= 2)
    _, cut, whole = figure.axes[0].lines
    np.testing.assert_array_equal(cut.get_xydata(), np.column_stack([built_in, measured])[:2])
    np.testing.assert_array_equal(whole.get_ydata(), np.delete(measured, [0, 1, 5]))


def test_units_beyond_the_axis_are_in_its_end_bins(tmp_path):
    values = np.array([0.1] * 6 + [3.0] * 12 + [40.0] * 6)
    (found,) = layers_of([with_values(planted(), peak_spatial_frequency=values)], tmp_path)
    shares = published_distribution(published(found, "peak_spatial_frequency"), found).shares
    expected = np.zeros(12)
    expected[[0, 6, 11]] = 0.25, 0.5, 0.25
    np.testing.assert_array_equal(shares, expected)
    np.testing.assert_array_equal(shares_in(np.array([-5, 0.2, 0.7, 9]), [0, 0.5, 1]), [0.5, 0.5])
    np.testing.assert_array_equal(shares_in(np.array([]), [0, 1.0]), [0])


def test_distributions_are_told_as_medians_or_shares_above_the_line(layer):
    def told(name, values=None):
        changes = {} if values is None else {name: values}
        recording = with_values(layer.recording, **changes)
        changed = dataclasses.replace(layer, recording=recording)
        return other_distribution(name, changed, np.linspace(0, 1, 21))

    median = np.median(layer.recording.values("field_diameter"))
    assert told("field_diameter").number == f"{median:.2g}"
    assert told("field_diameter").median == median
    above = (layer.recording.values("c50") > PROPERTIES["c50"][2]).mean()
    assert told("c50").number == f"{above:.0%} above 1"
    some = told("field_diameter", np.where(np.arange(24) < 5, 52.06, np.nan))
    assert (some.units, some.median) == ("5 of 24 units", 1)  # at the end of its axis
    small = {-2e-7: "0", -0.0824: f"{MINUS}0.082", 0.00078: "0.0008", 120.0: "120"}
    for value, expected in small.items():
        assert told("noise_correlation", value).number == expected
    assert told("fano_factor", np.nan)[1:4] == (None, "", "in no unit")
    row = layer.of("share")["strongly_suppressed"]
    found = published_distribution(published(layer, "strongly_suppressed"), layer)
    np.testing.assert_allclose(found.shares, [1 - row.value, row.value])


def test_examples_are_the_middle_units_of_equal_groups_simple_and_complex_by_turns():
    recording = planted(units=60)
    frequency = recording.populations["spatial_frequency"].properties["peak_spatial_frequency"]
    chosen = choose(recording, range(60), 6)
    assert [unit < 30 for unit in chosen] == [True, False] * 3
    for kind in (range(30), range(30, 60)):
        ranked = sorted(kind, key=lambda unit: frequency[unit])
        assert [unit for unit in chosen if unit in kind] == [ranked[5], ranked[15], ranked[25]]
    # A kind with few units leaves its places to the other
    assert len(choose(recording, range(30), 6)) == len(choose(recording, range(31), 6)) == 6
    assert sum(unit >= 30 for unit in choose(recording, range(31), 6)) == 1
    assert sorted(choose(recording, [3, 40], 6)) == [3, 40]
    assert choose(recording, [], 6) == []
    assert candidates(with_silent(planted(), np.arange(24) % 2 == 0)) == list(range(1, 24, 2))


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


def test_fields_of_one_position_have_an_axis(tmp_path):
    flat = with_values(planted(), field_diameter=0.0)
    [layer] = layers_of([flat], tmp_path)
    panel = other_panels([layer])["field_diameter"]
    assert "e-1" not in panel.picture
    assert ">0.5<" in re.sub(r"\s", "", panel.picture)


def test_a_layer_of_few_units_has_no_score_and_the_page_says_so(tmp_path):
    few, many = planted("few", units=9), planted("many", units=10)
    path = saved_rows([few, many], tmp_path)
    text = write_physiology_report([few, many], path, tmp_path / "report.html")
    said = words((tmp_path / "report.html").read_text())
    assert said.count("no score: 9 units of 10 needed") > 10
    assert "no score: 9 units" in text
    assert "Similarity to V1: many v1" in said
    write_physiology_report([few], path, tmp_path / "alone.html")
    assert "No layer has a score (no score: 9 units" in words((tmp_path / "alone.html").read_text())
