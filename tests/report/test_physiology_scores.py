"""Scores of recorded layers: the rows' numbers, the verdict drawn from them, what is missing."""

import dataclasses

import numpy as np
import pytest

from tests.report.recordings import layers_of, planted, with_values
from vonenet.physiology.rows import scores_of
from vonenet.report.physiology_rows import CEILED, is_missing, labels
from vonenet.report.physiology_scores import Cell, every_number, score_lines, text_table
from vonenet.report.physiology_words import (
    by_likeness,
    evidence,
    matches_and_misses,
    median_bin,
    missing,
    verdict,
)


@pytest.fixture(scope="module")
def layers(tmp_path_factory):
    recordings = [
        planted("one"),
        with_values(planted("two", seed=1), surround_suppression_index=0.01, strongly_suppressed=0),
    ]
    return layers_of(recordings, tmp_path_factory.mktemp("layers"))


def with_row(layer, property_, **changes):
    """A layer with another ceiled similarity."""
    rows = [
        dataclasses.replace(row, **changes)
        if row.metric == CEILED and row.condition["property"] == property_
        else row
        for row in layer.rows
    ]
    return dataclasses.replace(layer, rows=rows)


def test_cells_are_the_rows_numbers(layers):
    lines = score_lines(layers)
    assert len(lines) == 10
    for index, layer in enumerate(layers):
        for line, published in zip(lines, layer.published, strict=True):
            row, cell = layer.of(CEILED)[published.name], line.cells[index]
            assert cell.value == f"{row.value:.2f}"
            assert cell.missing or cell.interval == f"[{row.ci_low:.2f}, {row.ci_high:.2f}]"
            assert line.source.startswith(f"{published.n} cells")
            assert line.source.endswith(published.paper)


def test_every_row_is_among_the_numbers(layers):
    rows = every_number(layers[0])
    assert len(rows) == len(layers[0].rows)
    assert {"median", "share", "similarity", "similarity / ceiling"} <= {row.metric for row in rows}


def test_the_verdict_names_the_layer_with_the_highest_mean(layers):
    ranked = [layer.label for layer, _ in by_likeness(layers)]
    assert f"{ranked[0]} is most like V1" in verdict(layers)
    low = with_row(by_likeness(layers)[0][0], "mean", value=0.1, ci_low=0.05, ci_high=0.2)
    other = by_likeness(layers)[1][0]
    swapped = verdict([low, other])
    assert f"{ranked[1]} is most like V1" in swapped
    assert f"before {ranked[0]} with 0.10 [0.05, 0.20]" in swapped
    assert "overlaps" not in swapped


def test_the_verdict_says_where_intervals_overlap(layers):
    near = [
        with_row(layers[0], "mean", value=0.6, ci_low=0.5, ci_high=0.7),
        with_row(layers[1], "mean", value=0.55, ci_low=0.45, ci_high=0.65),
    ]
    assert verdict(near).endswith("with 0.55 [0.45, 0.65], whose interval overlaps.")


def test_a_layer_alone_is_compared_with_v1_alone(layers):
    layer = with_row(layers[0], "mean", value=0.6, ci_low=0.5, ci_high=0.7)
    told = "The similarity of one v1 to V1 is 0.60 [0.50, 0.70]"
    assert verdict([layer]) == f"{told}, the mean over 10 published properties."


def test_matches_and_misses_follow_the_rows(layers):
    layer = layers[0]
    for published in layer.published:
        layer = with_row(layer, published.name, value=0.8)
    assert len(matches_and_misses(layer)) == 1
    layer = with_row(layer, "sf_selective", value=0.95)
    layer = with_row(layer, "peak_spatial_frequency", value=0.3)
    first, second, third = matches_and_misses(layer)
    assert first == "one v1 matches V1 best in share selective for spatial frequency (0.95)."
    assert second.startswith("It misses 1 property")
    assert third.startswith("peak spatial frequency (0.30): median of 24 units ")
    for name, value in {"surround_diameter": 0.5, "preferred_orientation": 0.1}.items():
        layer = with_row(layer, name, value=value)
    told = [line.split(" (")[0] for line in matches_and_misses(layer)[2:]]
    assert told == ["preferred orientation", "peak spatial frequency", "surround diameter"]


def test_evidence_holds_the_layers_numbers_beside_v1s(layers):
    found = {each.name: evidence(layers[1], each) for each in layers[1].published}
    assert found["strongly_suppressed"] == "0% of its units, 78% of V1"
    assert (
        found["surround_suppression_index"] == "median of 24 units 0.01, in V1 between 0.2 and 0.4"
    )


def test_the_median_bin_holds_the_median_cell(layers):
    for published in layers[0].published:
        cells = np.repeat(np.arange(len(published.counts)), published.counts)
        index = int(np.median(cells))
        assert median_bin(published) == (published.edges[index], published.edges[index + 1])


def test_a_score_of_0_without_units_is_told_as_missing(tmp_path):
    lacking = with_values(
        planted(), sf_bandwidth_complex=np.nan, sf_bandwidth_simple=np.nan, sf_selective=0
    )
    wrong = with_values(lacking, surround_suppression_index=2.0)
    rows = layers_of([wrong], tmp_path)[0].of(CEILED)
    assert rows["sf_bandwidth_simple"].value == 0
    assert missing(rows["sf_bandwidth_simple"]) == "none of 12 units has one"
    assert rows["surround_suppression_index"].value == 0
    assert not is_missing(rows["surround_suppression_index"])  # all at the wrong end
    cell = Cell.of(rows["surround_suppression_index"], 1)
    assert (cell.value, cell.units) == ("0.00", "24 units")
    assert Cell.of(None, 1).units == "not measured"


@pytest.mark.parametrize("having", range(0, 24, 3))
def test_missing_is_what_the_score_left_out(having):
    """Few units of many: the score says 0 where a tenth of the draws have none."""
    values = np.full(24, np.nan)
    values[:having] = 55.0
    recording = with_values(planted(), sf_bandwidth=values, sf_bandwidth_simple=values)
    for score in scores_of(recording):
        if score.published.name.startswith("sf_bandwidth"):
            lost = (score.draws == 0).all()
            lacking = score.n_undefined / score.n_units if score.n_units else 1
            assert lost == (lacking**score.published.recorded > 0.1)


def test_labels_tell_layers_apart():
    one = planted("m", model_hash="1" * 16)
    two = planted("m", model_hash="2" * 16)
    wider = planted("m", model_hash="2" * 16, settings=one.settings | {"degrees": 4.0})
    assert labels([one, planted("n")]) == ["m v1", "n v1"]
    assert labels([one, two]) == ["m v1 (11111111)", "m v1 (22222222)"]
    assert labels([two, wider]) == ["m v1 (22222222) #1", "m v1 (22222222) #2"]


def test_layers_have_styles_of_their_own_and_none_is_v1s_grey(tmp_path):
    found = layers_of([planted("one"), planted("two", seed=1)], tmp_path)
    assert [layer.style for layer in found] == [1, 2]


def test_the_terminals_table_holds_means_and_properties(layers):
    lines = text_table(layers).splitlines()
    assert lines[-1].startswith("mean")
    means = [layer.mean for layer in layers]
    assert [f"{mean.value:.2f}" in lines[-1] for mean in means] == [True, True]
    assert "preferred orientation" in lines[2]
