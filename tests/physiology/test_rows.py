"""Result rows of a recording: every number again, with what it depends on."""

import dataclasses

import numpy as np
import pytest

from tests.physiology.recorded import SETTINGS, UNITS, drawn_of, recorded
from vonenet.physiology.published import PUBLISHED
from vonenet.physiology.scores import recording_rows, scores_of
from vonenet.results import append_jsonl, read_jsonl


@pytest.fixture(scope="module")
def recording():
    return recorded()


@pytest.fixture(scope="module")
def rows(recording):
    return recording_rows(recording)


@pytest.fixture(scope="module")
def by_name(rows):
    return {(row.condition["property"], row.metric): row for row in rows}


def test_rows_keep_their_numbers_on_disk(rows, tmp_path):
    append_jsonl(tmp_path / "rows.jsonl", rows)
    assert read_jsonl(tmp_path / "rows.jsonl") == rows


def test_the_same_recording_gives_the_same_rows(recording, rows):
    assert recording_rows(recording) == rows


def test_no_two_rows_say_the_same(rows, by_name):
    assert len(by_name) == len(rows)


def test_rows_say_what_was_recorded_and_how(rows):
    how = {name: value for name, value in SETTINGS.items() if name != "seed"}
    for row in rows:
        condition = dict(row.condition)
        condition.pop("property")
        assert condition == {"layer": "v1"} | how
        assert (row.experiment, row.model, row.seed) == ("physiology", "planted", 0)
        assert row.flags["stochastic"] is False
    assert sum(row.seconds for row in rows) == pytest.approx(47)


def test_scores_are_those_of_the_values_recorded(recording, by_name):
    for score in scores_of(recording):
        name = score.published.name
        raw, ceiled = (by_name[name, m] for m in ("ks_similarity", "ceiled_ks_similarity"))
        assert (raw.value, raw.ci_low, raw.ci_high) == (score.value, score.ci_low, score.ci_high)
        assert raw.value == pytest.approx(ceiled.value * score.ceiling)
        assert (raw.data, raw.data_size) == (score.published.paper, score.published.recorded)
        assert raw.n == len(recording.values(name))
        assert raw.flags["undefined"] == np.isnan(recording.values(name)).sum()


def test_the_mean_is_that_of_the_ten(by_name):
    mean = by_name["mean", "ceiled_ks_similarity"]
    ten = [by_name[name, "ceiled_ks_similarity"].value for name in PUBLISHED]
    assert mean.value == pytest.approx(np.mean(ten))
    assert mean.flags["properties"] == 10


def test_medians_and_shares_are_of_the_units_that_have_the_property(recording, by_name):
    for population in recording.populations.values():
        for name in population.properties:
            values = population.values(name)
            known = values[np.isfinite(values)]
            if not len(known):
                assert (name, "median") not in by_name
                continue
            is_share = (name, "share") in by_name and name != "modulation_ratio"
            row = by_name[name, "share" if is_share else "median"]
            assert row.value == pytest.approx(known.mean() if is_share else np.median(known))
            assert row.ci_low <= row.value <= row.ci_high
            assert (row.n, row.flags["undefined"]) == (len(known), len(values) - len(known))
            assert row.flags["experiment"] == population.experiment
            assert row.flags["responsive"] == population.responsive.sum()
    shares = {name for name, metric in by_name if metric == "share"} - {"modulation_ratio"}
    assert shares == {"orientation_selective", "sf_selective", "strongly_suppressed"}


def test_what_was_built_in_is_measured_back(by_name):
    orientation = by_name["preferred_orientation", "correlation"]
    frequency = by_name["peak_spatial_frequency", "correlation"]
    assert orientation.value > 0.999
    assert frequency.value > 0.99
    assert by_name["modulation_ratio", "share"].value == 1
    assert all(row.flags["holds"] for row in (orientation, frequency))
    assert (orientation.n, orientation.data_size) == (len(UNITS), len(UNITS))


def test_units_that_were_built_otherwise_are_told(recording):
    angles = np.array([unit.orientation_deg for unit in UNITS])
    wrong = drawn_of(UNITS, orientation_deg=np.roll(angles, 3), is_complex=np.ones(8, bool))
    rows = recording_rows(dataclasses.replace(recording, ground_truth=wrong))
    found = {(row.condition["property"], row.metric): row for row in rows}
    assert not found["preferred_orientation", "correlation"].flags["holds"]
    assert found["modulation_ratio", "share"].value == 0.5
    assert found["peak_spatial_frequency", "correlation"].flags["holds"]


def test_where_nothing_is_known_of_what_was_built_nothing_is_compared(recording):
    rows = recording_rows(dataclasses.replace(recording, ground_truth=None))
    assert not {row.metric for row in rows} & {"correlation", "ratio"}


def test_without_any_published_property_there_is_no_mean(recording):
    few = {"phase": recording.populations["phase"]}
    rows = recording_rows(dataclasses.replace(recording, populations=few))
    assert [row.metric for row in rows] == ["median"]
