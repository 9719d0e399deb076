"""Similarity with published V1: its definition, published ceilings; the rows of a recording."""

import dataclasses

import numpy as np
import pytest

from tests.physiology.recorded import SETTINGS, UNITS, drawn_of, recorded
from vonenet.errors import InputError
from vonenet.physiology.published import PUBLISHED, SF_BANDWIDTH
from vonenet.physiology.recording import PublishedHistogram
from vonenet.physiology.scores import (
    ceiling,
    ks_similarity,
    mean_score,
    recording_rows,
    scores_of,
)
from vonenet.results import append_jsonl, read_jsonl

EVERY = [*PUBLISHED.values(), SF_BANDWIDTH]
SUPPRESSION = PUBLISHED["surround_suppression_index"]
# Many cells, so that a draw is the model itself
MANY = PublishedHistogram(
    "many", "", "", (0, 1, 2, 3, 4), (10_000, 20_000, 30_000, 40_000), 100_000
)


def cells(published, seed=0):
    """Values as the published cells may have had, uniform within bins, NaN where undefined."""
    rng = np.random.default_rng(seed)
    low = np.repeat(published.edges[:-1], published.counts)
    high = np.repeat(published.edges[1:], published.counts)
    undefined = np.full(published.recorded - published.n, np.nan)
    return np.concatenate([rng.uniform(low, high), undefined])


@pytest.mark.parametrize(
    "published", [each for each in EVERY if each.ceiling], ids=lambda each: each.name
)
def test_ceilings_are_the_published_ones(published):
    assert ceiling(published) == pytest.approx(published.ceiling, abs=0.0015)


@pytest.mark.parametrize("published", EVERY, ids=lambda each: each.name)
def test_the_published_cells_reach_the_ceiling(published):
    score = ks_similarity(cells(published), published)
    assert score.ceiled == pytest.approx(1, abs=0.01)
    assert score.ci_low < score.value < score.ci_high <= 1
    assert (score.n_units, score.n_undefined) == (
        published.recorded,
        published.recorded - published.n,
    )


def marques(values, published, resamples, rng):
    """The definition, one draw after the other."""
    edges = np.array(published.edges)
    data = np.array(published.counts) / sum(published.counts)
    values = np.where(np.isnan(values), np.nan, np.clip(values, edges[0], edges[-1]))
    first, last = np.eye(len(data))[[0, -1]]

    def distance(p, q):
        return np.abs(np.cumsum(p) - np.cumsum(q)).max()

    similarities = []
    for _ in range(resamples):
        drawn = rng.choice(values, published.recorded)
        histogram = np.histogram(drawn[~np.isnan(drawn)], edges)[0]
        worst = max(distance(first, data), distance(last, data))
        similarities.append(1 - distance(histogram / histogram.sum(), data) / worst)
    return np.array(similarities)


@pytest.mark.parametrize("name", ["surround_suppression_index", "surround_diameter"])
def test_scores_agree_with_the_definition_step_by_step(name):
    rng = np.random.default_rng(3)
    values = rng.gamma(2, 0.5, 400)
    values[:100] = np.nan
    expected = marques(values, PUBLISHED[name], 2000, rng)
    score = ks_similarity(values, PUBLISHED[name], resamples=2000)
    error = 5 * expected.std() * np.sqrt(2 / 2000)
    assert score.value == pytest.approx(expected.mean(), abs=error)
    assert score.draws.std() == pytest.approx(expected.std(), rel=0.1)
    ends = np.percentile(expected, [2.5, 97.5])
    assert (score.ci_low, score.ci_high) == pytest.approx(ends, abs=0.01)


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        ((0.1, 0.2, 0.3, 0.4), 1),
        ((1, 0, 0, 0), 0),  # the worst there is
        ((0, 0, 0, 1), 1 - 0.6 / 0.9),
        ((0.25, 0.25, 0.25, 0.25), 1 - 0.2 / 0.9),
    ],
)
def test_similarity_of_whole_populations(shares, expected):
    values = np.repeat([0.5, 1.5, 2.5, 3.5], np.round(1000 * np.array(shares)).astype(int))
    assert ks_similarity(values, MANY, resamples=20).value == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("published", EVERY, ids=lambda each: each.name)
def test_the_worst_model_scores_zero(published):
    middle = (np.array(published.edges[:-1]) + np.array(published.edges[1:])) / 2
    ends = [ks_similarity(np.full(50, middle[bin_]), published).value for bin_ in (0, -1)]
    assert min(ends) == pytest.approx(0, abs=1e-9)
    assert max(ends) >= 0


def test_undefined_units_widen_the_interval_and_leave_the_score():
    values = cells(SUPPRESSION)
    full = ks_similarity(values, SUPPRESSION)
    sparse = ks_similarity(np.concatenate([values, np.full(9 * 190, np.nan)]), SUPPRESSION)
    assert sparse.n_undefined == 9 * 190
    assert sparse.ci_high - sparse.ci_low > 2 * (full.ci_high - full.ci_low)
    assert sparse.value == pytest.approx(1 - 3.1 * (1 - full.value), abs=0.03)


def test_a_property_that_hardly_any_unit_has_scores_zero():
    none = ks_similarity([], SUPPRESSION)
    assert (none.value, none.ceiled, none.ci_high, none.n_units) == (0, 0, 0, 0)
    nowhere = ks_similarity(np.full(40, np.nan), SUPPRESSION)
    assert (nowhere.value, nowhere.ci_low, nowhere.ci_high, nowhere.n_undefined) == (0, 0, 0, 40)
    values = np.full(40_000, np.nan)
    values[:100] = 0.3  # on average half a unit in a draw of 190
    assert ks_similarity(values, SUPPRESSION).value == 0


def test_a_seed_says_which_units_are_drawn():
    values = np.random.default_rng(0).random(100)
    one, same, other = (ks_similarity(values, SUPPRESSION, seed=n).draws for n in (4, 4, 5))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_properties_of_the_same_units_are_drawn_together():
    """So that the mean of two that go together is as uncertain as either."""
    fewer = PublishedHistogram("fewer", "", "", MANY.edges, (10, 20, 30, 40), 100)
    same = PublishedHistogram("same", "", "", MANY.edges, (10, 20, 30, 40), 100)
    values = np.random.default_rng(0).uniform(0, 4, 300)
    one, two = (ks_similarity(values, each) for each in (fewer, same))
    assert np.array_equal(one.draws, two.draws)
    value, low, high = mean_score([one, two])
    assert value == pytest.approx(one.ceiled)
    assert (low, high) == pytest.approx((one.ci_low / one.ceiling, one.ci_high / one.ceiling))
    alone = ks_similarity(np.random.default_rng(1).permutation(values), same)
    _, unpaired_low, unpaired_high = mean_score([one, alone])
    assert unpaired_high - unpaired_low < 0.85 * (high - low)


def test_studies_of_different_size_share_the_units_that_both_draw():
    studies = [
        PublishedHistogram(str(n), "", "", (0, 1, 2), (n // 2, n // 2), n) for n in (100, 400)
    ]
    values = np.random.default_rng(0).uniform(0.5, 2, 300)  # so that all draws err to one side
    few, many = (ks_similarity(values, each).draws for each in studies)
    # 100 of the 400 units are the same: the root of a quarter
    assert np.corrcoef(few, many)[0, 1] == pytest.approx(0.5, abs=0.1)


def test_the_interval_covers_new_samples_of_the_same_size():
    """Scores of fresh samples of 190 units, as many as were recorded."""
    rng = np.random.default_rng(0)
    score = ks_similarity(rng.gamma(2, 0.3, 20_000), SUPPRESSION)
    target = np.cumsum(SUPPRESSION.shares)
    inside = 0
    for _ in range(400):
        counts = np.bincount(SUPPRESSION.bins_of(rng.gamma(2, 0.3, 190)), minlength=10)
        # All units in the last bin, where no cell is, are as far as can be: KS_max is 1
        similarity = 1 - np.abs(np.cumsum(counts / 190) - target).max()
        inside += score.ci_low <= similarity <= score.ci_high
    assert inside / 400 == pytest.approx(0.95, abs=0.03)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ks_similarity(3.0, SUPPRESSION), "allowed"),
        (lambda: ks_similarity(np.zeros((2, 2)), SUPPRESSION), "allowed"),
        (lambda: ks_similarity([1.0, np.inf], SUPPRESSION), "allowed"),
        (lambda: ks_similarity([1.0], SUPPRESSION, resamples=0), "resamples=0"),
        (lambda: mean_score([]), "draws"),
        (
            lambda: mean_score([ks_similarity([1.0], SUPPRESSION, resamples=n) for n in (5, 6)]),
            r"\[5, 6\]",
        ),
    ],
)
def test_bad_values_and_numbers_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


@pytest.fixture(scope="module")
def recording():
    return recorded()


@pytest.fixture(scope="module")
def rows(recording):
    return recording_rows(recording)


@pytest.fixture(scope="module")
def by_name(rows):
    return {(row.condition["property"], row.metric): row for row in rows}


def test_the_same_recording_gives_the_same_rows_also_from_disk(recording, rows, by_name, tmp_path):
    append_jsonl(tmp_path / "rows.jsonl", rows)
    assert read_jsonl(tmp_path / "rows.jsonl") == recording_rows(recording) == rows
    assert len(by_name) == len(rows)  # no two say the same


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


def test_what_is_not_known_has_no_rows(recording):
    """No ground truth, nothing to compare; no published property, no score and no mean."""
    rows = recording_rows(dataclasses.replace(recording, ground_truth=None))
    assert not {row.metric for row in rows} & {"correlation", "ratio"}
    few = {"phase": recording.populations["phase"]}
    rows = recording_rows(dataclasses.replace(recording, populations=few))
    assert [row.metric for row in rows] == ["median"]
