"""Similarity with published V1: the published ceilings, the definition step by step, its ends."""

import numpy as np
import pytest

from vonenet.errors import InputError
from vonenet.physiology.published import PUBLISHED, SF_BANDWIDTH
from vonenet.physiology.recording import PublishedHistogram
from vonenet.physiology.scores import (
    ceiling,
    ks_similarity,
    mean_score,
)

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


def test_units_beyond_the_bins_count_as_at_their_end():
    field = PUBLISHED["grating_summation_field"]
    beyond, end = (ks_similarity(np.full(9, each), field).value for each in (99.0, 15.9))
    assert beyond == end


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
    same = [ks_similarity(values, SUPPRESSION, seed=4).draws for _ in range(2)]
    other = ks_similarity(values, SUPPRESSION, seed=5).draws
    assert np.array_equal(*same)
    assert not np.array_equal(same[0], other)


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


@pytest.mark.parametrize("values", [3.0, np.zeros((2, 2)), [1.0, np.inf]])
def test_bad_values_are_refused(values):
    with pytest.raises(InputError, match="allowed"):
        ks_similarity(values, SUPPRESSION)


def test_bad_names_and_numbers_are_refused():
    with pytest.raises(InputError, match="resamples=0"):
        ks_similarity([1.0], SUPPRESSION, resamples=0)
    with pytest.raises(InputError, match="draws"):
        mean_score([])
    with pytest.raises(InputError, match=r"\[5, 6\]"):
        mean_score([ks_similarity([1.0], SUPPRESSION, resamples=n) for n in (5, 6)])
