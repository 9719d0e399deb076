"""The published histograms: totals that the papers state, copies that must agree, bins."""

import tomllib
from importlib.resources import files

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vonenet.physiology.published import PUBLISHED, SF_BANDWIDTH
from vonenet.v1.parameters import FREQUENCY_CPD

EVERY = [*PUBLISHED.values(), SF_BANDWIDTH]
# Cells counted, and recorded, as the papers say
CELLS = {
    "preferred_orientation": (385, 385),
    "peak_spatial_frequency": (363, 363),
    "sf_selective": (87, 87),
    "sf_bandwidth_simple": (30, 30),
    "sf_bandwidth_complex": (43, 43),
    "surround_suppression_index": (190, 190),
    "strongly_suppressed": (190, 190),
    "grating_summation_field": (148, 190),
    "surround_diameter": (148, 190),
    "surround_to_summation_field": (148, 190),
}


def test_there_are_ten_and_their_cells_add_up():
    assert {name: (each.n, each.recorded) for name, each in PUBLISHED.items()} == CELLS


def test_cells_of_a_paper_agree_between_its_histograms():
    # The cells with a bandwidth are those that are selective; those with a surround are suppressed
    assert SF_BANDWIDTH.n == PUBLISHED["sf_selective"].counts[1]
    assert PUBLISHED["surround_diameter"].n == PUBLISHED["strongly_suppressed"].counts[1]
    # A tenth lies in the middle of the index's first bin
    weak = PUBLISHED["strongly_suppressed"].counts[0]
    assert weak <= PUBLISHED["surround_suppression_index"].counts[0]


def test_simple_foveal_cells_are_those_that_the_filters_are_drawn_from():
    tables = tomllib.loads(files("vonenet.physiology").joinpath("published.toml").read_text())
    table = tables["peak_spatial_frequency"]
    assert tuple(table["counts"]["simple_foveal"][1:]) == FREQUENCY_CPD.counts
    assert tuple(table["edges"][1:]) == FREQUENCY_CPD.edges


@pytest.mark.parametrize("each", EVERY, ids=lambda each: each.name)
def test_every_histogram_is_well_formed(each):
    assert len(each.edges) == len(each.counts) + 1
    assert np.all(np.diff(each.edges) > 0)
    assert each.shares.sum() == pytest.approx(1)
    assert each.recorded >= each.n
    if each.log:
        steps = np.diff(np.log2(each.edges))
        assert np.ptp(steps) < 0.05  # De Valois's edges are rounded half octaves
    if each.period:
        assert each.edges[-1] - each.edges[0] == each.period


@pytest.mark.parametrize("each", EVERY, ids=lambda each: each.name)
@given(place=st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_bins_are_numpys(each, place):
    inside = each.edges[0] + np.array(place) * (each.edges[-1] - each.edges[0])
    values = np.concatenate([inside, each.edges[:-1]])
    if not each.period:  # its upper end is its lower one
        values = np.append(values, each.edges[-1])
    else:
        values = values[values < each.edges[-1]]
    counts = np.bincount(each.bins_of(values), minlength=len(each.counts))
    assert counts.tolist() == np.histogram(values, each.edges)[0].tolist()


def test_values_beyond_the_edges_are_in_the_end_bins_and_nan_in_none():
    size = PUBLISHED["grating_summation_field"]
    assert size.bins_of([-1, 0.01, 100.0, np.nan]).tolist() == [0, 0, 7, -1]


@given(angle=st.floats(-22.4, 157.4), turns=st.integers(-3, 3))
def test_orientation_is_circular(angle, turns):
    orientation = PUBLISHED["preferred_orientation"]
    turned = orientation.bins_of([angle + 180 * turns])
    edges = np.array(orientation.edges)
    if np.abs(edges - angle).min() > 1e-6:
        assert turned == orientation.bins_of([angle])


def test_shares_of_cells_take_0_and_1():
    assert PUBLISHED["sf_selective"].bins_of([0, 1, np.nan, True]).tolist() == [0, 1, -1, 1]
