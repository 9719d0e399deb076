"""Published histograms, similarity with them by its definition, and the rows of a recording."""

import dataclasses
import tomllib
from importlib.resources import files

import numpy as np
import pytest

from tests.physiology.recorded import SETTINGS, UNITS, drawn_of, recorded
from vonenet.errors import InputError
from vonenet.physiology.recording import Curve, PublishedHistogram
from vonenet.physiology.scores import (
    PUBLISHED,
    axial_correlation,
    ceiling,
    interval_about,
    ks_similarity,
    mean_score,
    recording_rows,
    scores_of,
)
from vonenet.results import append_jsonl, read_jsonl
from vonenet.v1.parameters import FREQUENCY_CPD

EVERY = list(PUBLISHED.values())
SF_BANDWIDTH = PUBLISHED["sf_bandwidth"]
# Cells counted, and recorded, as the papers say
CELLS = {
    "preferred_orientation": (385, 385),
    "circular_variance": (304, 304),
    "bandwidth": (298, 304),
    "orth_pref_ratio": (304, 304),
    "orientation_selective": (304, 304),
    "cv_bandwidth_ratio": (298, 304),
    "opr_cv_difference": (304, 304),
    "modulation_ratio": (304, 304),
    "max_dc": (304, 304),
    "peak_spatial_frequency": (363, 363),
    "sf_selective": (87, 87),
    "sf_bandwidth": (73, 87),
    "sf_bandwidth_simple": (30, 30),
    "sf_bandwidth_complex": (43, 43),
    "surround_suppression_index": (190, 190),
    "strongly_suppressed": (190, 190),
    "grating_summation_field": (148, 190),
    "surround_diameter": (148, 190),
    "surround_to_summation_field": (148, 190),
}
SUPPRESSION = PUBLISHED["surround_suppression_index"]
# Many cells, so that a draw is the model itself
MANY = PublishedHistogram(
    "many", "", "", (0, 1, 2, 3, 4), (10_000, 20_000, 30_000, 40_000), 100_000
)
SLOPE, OFFSET = 1 / 0.35, (0.07 + 1e-4) / 0.35**2  # the published noise

each_published = pytest.mark.parametrize("published", EVERY, ids=lambda each: each.name)


def test_histograms_are_well_formed_and_agree():
    assert {name: (each.n, each.recorded) for name, each in PUBLISHED.items()} == CELLS
    # The cells with a bandwidth are those that are selective; those with a surround are suppressed
    assert SF_BANDWIDTH.n == PUBLISHED["sf_selective"].counts[1]
    assert PUBLISHED["surround_diameter"].n == PUBLISHED["strongly_suppressed"].counts[1]
    assert PUBLISHED["bandwidth"].n == PUBLISHED["orientation_selective"].counts[1]
    assert sum(each.in_mean for each in EVERY) == 15  # of Marques's 22
    # A tenth lies in the middle of the index's first bin
    assert PUBLISHED["strongly_suppressed"].counts[0] <= SUPPRESSION.counts[0]
    for published in EVERY:
        assert len(published.edges) == len(published.counts) + 1
        assert np.all(np.diff(published.edges) > 0)
        if published.log:  # De Valois's edges are rounded half octaves
            assert np.ptp(np.diff(np.log2(published.edges))) < 0.05


def test_simple_foveal_cells_are_those_that_the_filters_are_drawn_from():
    tables = tomllib.loads(files("vonenet.physiology").joinpath("published.toml").read_text())
    table = tables["peak_spatial_frequency"]
    assert tuple(table["counts"]["simple_foveal"][1:]) == FREQUENCY_CPD.counts
    assert tuple(table["edges"][1:]) == FREQUENCY_CPD.edges


@each_published
def test_bins_are_numpys_and_circular(published):
    edges = np.array(published.edges)
    values = np.random.default_rng(0).uniform(edges[0], edges[-1], 1000)
    values = np.append(values, edges[:-1] if published.period else edges)
    bins = published.bins_of(values)
    np.testing.assert_array_equal(np.bincount(bins), np.histogram(values, edges)[0])
    if published.period:
        assert edges[-1] - edges[0] == published.period == 180
        for turns in (-540, 180):
            np.testing.assert_array_equal(published.bins_of(values + turns), bins)


def test_values_beyond_the_edges_are_in_the_end_bins_and_nan_in_none():
    size = PUBLISHED["grating_summation_field"]
    assert size.bins_of([-1, 0.01, 100.0, np.nan]).tolist() == [0, 0, 7, -1]
    assert PUBLISHED["sf_selective"].bins_of([0, 1, np.nan, True]).tolist() == [0, 1, -1, 1]


# Of the raw table of Ringach et al. 2002: medians of the 304 cells
RINGACH_MEDIANS = {
    "circular_variance": 0.599,
    "bandwidth": 23.0,
    "orth_pref_ratio": 0.186,
    "cv_bandwidth_ratio": 0.0192,
    "opr_cv_difference": -0.306,
    "modulation_ratio": 0.571,
    "max_dc": 33.8,
}


@pytest.mark.parametrize(("name", "median"), RINGACH_MEDIANS.items())
def test_the_counts_of_ringach_have_the_medians_of_their_table(name, median):
    published = PUBLISHED[name]
    (bin_,) = published.bins_of([median])
    below, upto = (sum(published.counts[:end]) / published.n for end in (bin_, bin_ + 1))
    assert below <= 0.5 <= upto


def cells(published):
    """Values as the published cells may have had, uniform within bins, NaN where undefined."""
    rng = np.random.default_rng(0)
    low = np.repeat(published.edges[:-1], published.counts)
    high = np.repeat(published.edges[1:], published.counts)
    undefined = np.full(published.recorded - published.n, np.nan)
    return np.concatenate([rng.uniform(low, high), undefined])


@each_published
def test_the_published_cells_reach_the_published_ceiling(published):
    if published.ceiling:
        assert ceiling(published) == pytest.approx(published.ceiling, abs=0.0015)
    score = ks_similarity(cells(published), published)
    assert score.ceiled == pytest.approx(1, abs=0.01)
    assert score.ci_low < score.value < score.ci_high <= 1
    assert score.n_units == published.recorded
    assert score.n_undefined == published.recorded - published.n


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


def test_a_property_that_hardly_any_unit_has_scores_zero():
    none = ks_similarity([], SUPPRESSION)
    assert (none.value, none.ceiled, none.ci_high, none.n_units) == (0, 0, 0, 0)
    nowhere = ks_similarity(np.full(40, np.nan), SUPPRESSION)
    assert (nowhere.value, nowhere.ci_low, nowhere.ci_high, nowhere.n_undefined) == (0, 0, 0, 40)
    values = np.full(40_000, np.nan)
    values[:100] = 0.3  # on average half a unit in a draw of 190
    assert ks_similarity(values, SUPPRESSION).value == 0


def test_properties_of_the_same_units_are_drawn_together():
    """So that the mean of two that go together is as uncertain as either; a seed says which."""
    one, two = (
        PublishedHistogram(name, "", "", MANY.edges, (10, 20, 30, 40), 100) for name in "ab"
    )
    values = np.random.default_rng(0).uniform(0, 4, 300)
    first, second = (ks_similarity(values, each) for each in (one, two))
    assert np.array_equal(first.draws, second.draws)
    other = ks_similarity(values, two, seed=1)
    assert not np.array_equal(first.draws, other.draws)
    value, low, high = mean_score([first, second])
    assert value == pytest.approx(first.ceiled)
    ends = first.ci_low / first.ceiling, first.ci_high / first.ceiling
    assert (low, high) == pytest.approx(ends)
    alone = ks_similarity(np.random.default_rng(1).permutation(values), two)
    _, unpaired_low, unpaired_high = mean_score([first, alone])
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


@pytest.mark.parametrize("values", [3.0, np.zeros((2, 2)), [1.0, np.inf]])
def test_bad_values_are_refused(values):
    with pytest.raises(InputError, match="allowed"):
        ks_similarity(values, SUPPRESSION)


@pytest.fixture(scope="module")
def recording():
    return recorded()


def rows_of(recording):
    """By property and metric."""
    rows = recording_rows(recording)
    named = {(row.condition["property"], row.metric): row for row in rows}
    assert len(named) == len(rows)  # no two say the same
    return named


@pytest.fixture(scope="module")
def by_name(recording):
    return rows_of(recording)


def test_rows_say_what_was_recorded_and_how_also_from_disk(recording, by_name, tmp_path):
    rows = list(by_name.values())
    append_jsonl(tmp_path / "rows.jsonl", rows)
    assert read_jsonl(tmp_path / "rows.jsonl") == recording_rows(recording) == rows
    how = {"layer": "v1"} | {k: value for k, value in SETTINGS.items() if k != "seed"}
    for row in rows:
        assert row.condition == {"property": row.condition["property"]} | how
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
    in_mean = [each.name for each in EVERY if each.ceiling]
    fifteen = [by_name[name, "ceiled_ks_similarity"].value for name in in_mean]
    assert mean.value == pytest.approx(np.mean(fifteen))
    assert mean.flags["properties"] == 15


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


def test_what_is_not_known_has_no_rows(recording):
    """No ground truth, nothing to compare; no published property, no score and no mean."""
    rows = recording_rows(dataclasses.replace(recording, ground_truth=None))
    assert not {row.metric for row in rows} & {"correlation", "ratio"}
    few = {"phase": recording.populations["phase"]}
    rows = recording_rows(dataclasses.replace(recording, populations=few))
    assert [row.metric for row in rows] == ["median"]


ORIENTATION = "preferred_orientation", "correlation"
FREQUENCY = "peak_spatial_frequency", "correlation"
KIND = "modulation_ratio", "share"
ANGLES = np.array([unit.orientation_deg for unit in UNITS])
FREQUENCIES = np.array([unit.frequency_cpd for unit in UNITS])


def built(recording, **changes):
    """Rows of the recording, were its units built otherwise, without scores."""
    truth = drawn_of(**changes)
    return rows_of(dataclasses.replace(recording, ground_truth=truth, published=[]))


def test_what_was_built_in_is_measured_back(by_name):
    orientation, frequency = by_name[ORIENTATION], by_name[FREQUENCY]
    assert orientation.value > 0.999
    assert frequency.value > 0.99
    assert by_name[KIND].value == 1
    assert all(by_name[name].flags["holds"] for name in (ORIENTATION, FREQUENCY, KIND))
    assert (orientation.n, orientation.data_size) == (len(UNITS), len(UNITS))
    assert ("variance", "ratio") not in by_name  # which is deterministic


def test_units_that_were_built_otherwise_are_told(recording):
    """Also by a difference that all units share."""
    found = built(recording, orientation_deg=np.roll(ANGLES, 3), is_complex=np.ones(12, bool))
    holds = [found[name].flags["holds"] for name in (ORIENTATION, FREQUENCY)]
    assert (holds, found[KIND].value) == ([False, True], 0.5)
    changes = {"orientation_deg": (ANGLES + 30) % 180, "frequency_cpd": 2 * FREQUENCIES}
    found = built(recording, **changes)
    assert found[ORIENTATION].value > 0.99
    assert found[ORIENTATION].flags["offset"] == pytest.approx(-30, abs=1)
    assert found[FREQUENCY].flags["offset"] == pytest.approx(-1, abs=0.1)
    assert not any(found[name].flags["holds"] for name in (ORIENTATION, FREQUENCY))


def test_an_orientation_just_below_180_is_near_0(recording):
    off = np.where(np.arange(12) % 2, 3.0, -3.0)  # the first, 0 degrees, is measured as 177
    drawn = drawn_of(orientation_deg=(ANGLES + off) % 180)
    assert built(recording, orientation_deg=drawn.orientation_deg)[ORIENTATION].value > 0.99
    np.testing.assert_allclose(drawn.unwrap_orientation(ANGLES % 180), drawn.orientation_deg - off)


def test_cut_kernels_are_excluded_and_counted(recording):
    whole = np.arange(12) != 5
    found = built(recording, whole=whole, orientation_deg=np.where(whole, ANGLES, 0.0))
    assert (found[ORIENTATION].n, found[ORIENTATION].data_size) == (11, 12)
    assert found[ORIENTATION].value > 0.999
    few = built(recording, whole=np.arange(12) < 2)  # too few to compare
    assert KIND in few
    assert ORIENTATION not in few


def test_the_noise_is_compared_with_its_model(recording):
    """4,000 trials of the noise model, its variance times a factor."""

    def ratio(factor):
        rng = np.random.default_rng(0)
        means = rng.uniform(0, 30, (len(UNITS), 12))
        means[:, 0] = 0
        deviation = np.sqrt(factor * (SLOPE * means + OFFSET))
        trials = np.maximum(means + deviation * rng.standard_normal((4000, *means.shape)), 0)
        curve = Curve("before noise", means, trials.var(axis=0, ddof=1))
        curves = {"variance_before_noise": curve}
        noise = dataclasses.replace(recording.populations["noise"], curves=curves)
        noisy = dataclasses.replace(recording, is_stochastic=True, populations={"noise": noise})
        return built(noisy, noise_slope=SLOPE, noise_offset=OFFSET)["variance", "ratio"]

    sound, doubled = ratio(1.0), ratio(2.0)
    assert sound.value == pytest.approx(1, abs=0.02)
    assert sound.ci_low <= sound.value <= sound.ci_high
    assert sound.flags["holds"]
    assert doubled.value > 1.8
    assert not doubled.flags["holds"]


def test_the_rectified_noise_by_simulation():
    x = np.array([0.0, 0.3, 2.0, 40.0])
    rng = np.random.default_rng(1)
    draws = x + np.sqrt(SLOPE * x + OFFSET) * rng.standard_normal((400_000, 4))
    rectified = np.maximum(draws, 0)
    mean, variance = drawn_of(noise_slope=SLOPE, noise_offset=OFFSET).rectified_moments(x)
    np.testing.assert_allclose(mean, rectified.mean(axis=0), rtol=0.01)
    np.testing.assert_allclose(variance, rectified.var(axis=0), rtol=0.01)


def test_the_correlation_of_orientations():
    """1 for equal ones, -1 for mirrored ones, none for unrelated ones, on a circle of 180."""
    rng = np.random.default_rng(2)
    angles = np.abs(rng.normal(30, 20, 2000)) % 180
    assert axial_correlation(angles, angles) == pytest.approx(1)
    assert axial_correlation(angles, (angles + 90) % 180) == pytest.approx(1)
    assert axial_correlation(angles, 180 - angles) == pytest.approx(-1)
    assert abs(axial_correlation(angles, rng.permutation(angles))) < 0.1
    noisy = (angles + rng.normal(0, 5, 2000)) % 180
    shifted = axial_correlation((angles + 77) % 180, (noisy + 77) % 180)
    assert axial_correlation(angles, noisy) == pytest.approx(shifted)


@pytest.mark.parametrize("odd", [0, 1, 2])
@pytest.mark.parametrize("seed", range(5))
def test_a_score_lies_inside_its_interval(odd, seed):
    """Also where all draws but a few are the same, or all of them but for rounding."""
    values = np.zeros(500)
    values[:odd] = 1
    for published in (PUBLISHED["surround_suppression_index"], SF_BANDWIDTH):
        few = dataclasses.replace(published, recorded=12)
        score = ks_similarity(values, few, seed=seed)
        assert score.ci_low <= score.value <= score.ci_high
    low, high = interval_about(1.0, np.array([0.5, np.nan, 0.9]))
    assert low < 0.6
    assert high == 1


def test_what_a_mask_hides_is_undefined():
    values = np.ma.masked_array([10.0, 20.0, 30.0] * 5, [False, True, False] * 5)
    score = ks_similarity(values, PUBLISHED["preferred_orientation"])
    assert (score.n_units, score.n_undefined) == (15, 5)


def test_units_that_are_all_alike_have_no_correlation(recording):
    same = built(recording, frequency_cpd=np.full(12, 2.0))
    assert FREQUENCY not in same
    assert ORIENTATION in same
