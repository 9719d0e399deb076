"""The page of recorded layers: whole, self-contained, and telling what is missing as such."""

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
from vonenet.report import physiology_panels
from vonenet.report.physiology import (
    by_likeness,
    every_number,
    labels,
    published_of,
    read_layers,
    score_cells,
    text_table,
    verdict,
    write_physiology_report,
)
from vonenet.report.physiology_panels import CEILED, compared, is_missing
from vonenet.results import append_jsonl

HOSTILE = '"><script>alert(1)</script>&$\x1b[31m'


def written(recordings, folder, units):
    """Text of the terminal and HTML of the page with so many example units of each layer."""
    out = folder / "page" / "report.html"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(physiology_panels, "SHOWN_UNITS", units)
        text = write_physiology_report(recordings, saved_rows(recordings, folder), out)
    return text, out.read_text()


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    recordings = [
        built(planted("one", stochastic=True), cut=2),
        with_values(planted("two", seed=1), surround_suppression_index=0, strongly_suppressed=0),
    ]
    return recordings, *written(recordings, tmp_path_factory.mktemp("pair"), 2)


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    """A page of layers that each lack something."""
    whole = planted("two experiments", seed=1)
    recordings = [
        planted(HOSTILE, layer=HOSTILE, seed=2),
        with_values(planted("lacking"), sf_bandwidth_complex=np.nan, c50=np.nan),
        without_curves(planted("no curves", seed=3)),
        with_silent(planted("one responds", seed=4), np.arange(24) != 3),
        with_silent(planted("none responds", seed=5), np.ones(24, bool)),
        planted("one unit", units=1),
        planted(
            "two experiments",
            seed=1,
            populations={name: whole.populations[name] for name in ("orientation", "noise")},
        ),
    ]
    return written(recordings, tmp_path_factory.mktemp("odd"), 1)


def test_every_row_is_on_the_page(pair):
    recordings, text, html = pair
    said = words(html)
    for recording in recordings:
        for row in recording_rows(recording):
            if row.metric == "ceiled_ks_similarity":
                assert f"{row.value:.2f}" in said
                assert f"{row.value:.2f}" in text
            if row.metric == "ks_similarity" and row.value:
                assert f"similarity {row.value:#.3g} [" in said


def test_pages_load_nothing_and_hold_no_number_that_is_none(pair, odd):
    for html in (pair[2], odd[1]):
        assert not re.findall(r"(?:src|href)=\"(?!data:|#)[^\"]*\"", html)
        assert not re.findall(r"url\((?!#)", html)
        assert "http" not in html
        assert "<script" not in html
        assert not re.findall(r"(?i)(?<![a-z0-9+/=])(?:nan|inf)(?![a-z0-9+/=])", html)
        assert len(html) < 1_000_000


def test_every_section_is_there(pair):
    said = words(pair[2])
    for told in (
        "Distributions over units beside V1",
        "Properties of which no histogram is public",
        "Example units",
        "Measured beside what was built in",
        "How it was measured",
        "Every number",
        *("8 degrees", "224 x 224 px, 28 px/degree", "8.50 x response +0.82", "47 s"),
        "24 of 24 units (12 simple, 12 complex)",
    ):
        assert told in said
    assert said.count("no noise") == 2  # Fano factor and correlation of the second layer
    assert pair[2].count('<figure class="unit">') == 4
    assert pair[2].count("data:image/png;base64,") == 4


def test_the_terminals_table_is_aligned(pair):
    lines = pair[1].splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[0].split()[-2:] == ["one", "two"]
    assert lines[1].split() == ["v1", "v1"]
    assert len(lines) == 2 + 10 + 1
    assert lines[-1].startswith("mean")


def test_hostile_names_are_escaped(odd):
    text, html = odd
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&amp;" in html
    assert "\x1b" not in text


def test_what_layers_lack_is_told(odd):
    text, html = odd
    said = words(html)
    for told in (
        "0 of 12 units",  # complex cells with a bandwidth
        "1 of 24 units (1 simple, 0 complex)",
        "0 of 24 units (0 simple, 0 complex)",
        "1 of 1 unit (1 simple, 0 complex)",
        "1 channel, 56 x 56",
        "not measured",
    ):
        assert told in said
    assert "0.00 (none)" in text
    assert html.count('<figure class="unit">') == 6  # of all but the silent units
    assert html.count("<details>") == 5 + 7  # units of all but two layers, every layer's numbers
    assert "Fano factor</h3>" not in html  # of layers without noise


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


@pytest.fixture(scope="module")
def layers(tmp_path_factory):
    recordings = [
        planted("one"),
        with_values(planted("two", seed=1), surround_suppression_index=0.01, strongly_suppressed=0),
    ]
    return layers_of(recordings, tmp_path_factory.mktemp("layers"))


def with_row(layer, property_, **changes):
    """The same layer with other numbers in a property's ceiled row."""
    rows = [
        dataclasses.replace(row, **changes)
        if row.metric == CEILED and row.condition["property"] == property_
        else row
        for row in layer.rows
    ]
    return dataclasses.replace(layer, rows=rows)


def test_cells_are_the_rows_numbers(layers):
    assert len(published_of(layers)) == 10
    for published in published_of(layers):
        for layer, cell in zip(layers, score_cells(layers, published.name), strict=True):
            row = layer.of(CEILED)[published.name]
            assert (cell.value, cell.units) == (f"{row.value:.2f}", compared(row))
            assert cell.interval == f"[{row.ci_low:.2f}, {row.ci_high:.2f}]"
            assert cell.ends == (row.ci_low, row.value, row.ci_high)
    assert score_cells(layers, "nothing")[0].units == "not measured"


def test_every_row_is_among_the_numbers(layers):
    rows = every_number(layers[0])
    assert len(rows) == len(layers[0].rows)
    assert {"median", "share", "similarity", "similarity / ceiling"} <= {row[1] for row in rows}


def test_the_verdict_names_the_layer_with_the_highest_mean(layers):
    first, second = (layer for layer, _ in by_likeness(layers))
    assert verdict(layers).startswith(f"Most like V1: {first.label}, ")
    low = with_row(first, "mean", value=0.1, ci_low=0.05, ci_high=0.2)
    swapped = verdict([low, second])
    assert swapped.startswith(f"Most like V1: {second.label}, ")
    assert swapped.endswith(f"Next: {first.label}, 0.10 [0.05, 0.20].")
    near = with_row(second, "mean", value=0.15, ci_low=0.1, ci_high=0.3)
    assert verdict([low, near]).endswith("0.10 [0.05, 0.20] (the intervals overlap).")
    alone = with_row(first, "mean", value=0.6, ci_low=0.5, ci_high=0.7)
    over = "the mean over 10 published properties."
    assert verdict([alone]) == f"Similarity to V1: {first.label}, 0.60 [0.50, 0.70], {over}"


def test_layers_with_fewer_properties_are_not_compared(tmp_path):
    fewer = {"orientation": planted().populations["orientation"]}
    few, whole = layers_of([planted(populations=fewer), planted("two", seed=1)], tmp_path)
    assert [layer for layer, _ in by_likeness([few, whole])] == [whole]
    assert verdict([few]).endswith("the mean over 1 published property.")


def test_a_score_of_0_without_units_is_told_as_missing(tmp_path):
    wrong = with_values(planted(), sf_bandwidth_simple=np.nan, surround_suppression_index=2.0)
    layers = layers_of([wrong], tmp_path)
    for name, missing in (("sf_bandwidth_simple", True), ("surround_suppression_index", False)):
        row, (cell,) = layers[0].of(CEILED)[name], score_cells(layers, name)
        assert (row.value, is_missing(row), cell.value) == (0, missing, "0.00")
        assert (cell.units, cell.ends is None) == (
            "0 of 12 units" if missing else "24 units",
            missing,
        )
    assert text_table(layers).count("(none)") == 1


@pytest.mark.parametrize("having", range(0, 24, 3))
def test_missing_is_what_the_score_left_out(having, tmp_path):
    """Few units of many: the score says 0 where a tenth of the draws have none."""
    values = np.full(24, np.nan)
    values[:having] = 55.0
    recording = with_values(planted(), sf_bandwidth=values, sf_bandwidth_simple=values)
    rows = layers_of([recording], tmp_path)[0].of(CEILED)
    for score in scores_of(recording):
        if score.published.name.startswith("sf_bandwidth"):
            lost = (score.draws == 0).all()
            assert is_missing(rows[score.published.name]) == lost


def test_labels_tell_layers_apart():
    one = planted("m", model_hash="1" * 16)
    two = planted("m", model_hash="2" * 16)
    wider = planted("m", model_hash="2" * 16, settings=one.settings | {"degrees": 4.0})
    assert labels([one, planted("n")]) == ["m v1", "n v1"]
    assert labels([one, two]) == ["m v1 (11111111)", "m v1 (22222222)"]
    assert labels([two, wider]) == ["m v1 (22222222) #1", "m v1 (22222222) #2"]


def test_layers_have_styles_of_their_own_and_none_is_the_bases_grey(layers):
    assert [layer.style for layer in layers] == [1, 2]
