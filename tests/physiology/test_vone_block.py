"""What was built into the V1 block is measured back from its responses."""

import numpy as np
import pytest

from tests.physiology.recorded import drawn_of
from vonenet.data import PixelModel
from vonenet.physiology.experiments import EXPERIMENTS
from vonenet.physiology.preparation import prepare
from vonenet.physiology.stimuli import Blank, Canvas, Grating
from vonenet.physiology.subject import Subject
from vonenet.zoo.registry import create_model

pytestmark = pytest.mark.slow
CANVAS = Canvas(degrees=8, pixels=224)
NEURONAL_SCALE, NEURONAL_LEVEL, FLOOR = 0.35, 0.07, 1e-4  # Dapello et al. 2020


@pytest.fixture(scope="module")
def model():
    return PixelModel(create_model("voneresnet50"), 0.5, 0.5)


@pytest.fixture(scope="module")
def prepared(model):
    return prepare(Subject(model, "vone_block", CANVAS, mean_response=True))


@pytest.fixture(scope="module")
def drawn(model):
    return model.model.vone_block.gabor_parameters


@pytest.fixture(scope="module")
def whole_kernels(model, drawn):
    """Units whose envelope the kernel does not cut, as `sampling_report` has it."""
    widest_px = np.maximum(drawn.sigma_x_deg, drawn.sigma_y_deg) * CANVAS.pixels_per_degree
    return widest_px <= model.model.vone_block.config.kernel_size // 2


def measured(prepared, experiment, name):
    return EXPERIMENTS[experiment](prepared).properties[name]


def test_all_units_are_recorded_at_their_common_place(prepared):
    """Half a pixel right of and below the centre: the pixel that their kernels are centred on."""
    assert prepared.in_field.all()
    assert prepared.center_deg == pytest.approx((0.5 / 28, -0.5 / 28), abs=0.005)


@pytest.fixture(scope="module")
def noisy(model):
    return prepare(Subject(model, "vone_block", CANVAS, trials=20))


def test_what_was_drawn_is_measured_also_from_averaged_trials(
    prepared, noisy, drawn, whole_kernels
):
    """The latter as an experimenter gets them, with the model's noise."""
    for subject, least_orientation, least_frequency in (
        (prepared, 0.999, 0.99),
        (noisy, 0.99, 0.97),
    ):
        angles = measured(subject, "orientation", "preferred_orientation")
        off = (angles - drawn.orientation_deg + 90) % 180 - 90
        peaks = measured(subject, "spatial_frequency", "peak_spatial_frequency")
        known = whole_kernels & np.isfinite(off) & np.isfinite(peaks)
        assert known.sum() > 0.98 * whole_kernels.sum()
        truth, off = drawn.orientation_deg[known], off[known]
        assert np.corrcoef(truth + off, truth)[0, 1] > least_orientation
        frequency, peaks = drawn.frequency_cpd[known], peaks[known]
        assert np.corrcoef(peaks, frequency)[0, 1] > least_frequency
        ratio = measured(subject, "modulation", "modulation_ratio")
        assert np.nanmin(ratio[:256]) > 1 > np.nanmax(ratio[256:])
        if subject is prepared:
            assert np.isfinite(angles).all()
            assert np.percentile(np.abs(off), 95) < 2
            assert np.corrcoef(np.log(peaks), np.log(frequency))[0, 1] > 0.98
            assert np.median(peaks / frequency) == pytest.approx(1, abs=0.02)


def test_peak_frequencies_are_those_of_the_kernels_own_spectra(prepared, model, drawn):
    """Also where phase and window move the peak away from the carrier's frequency."""
    block = model.model.vone_block
    kernels = block.simple_conv_q0.weight.sum(dim=1).double().numpy()[:256]
    offsets = np.arange(25) - 12
    angle = np.deg2rad(drawn.orientation_deg[:256])[:, None, None]
    along = offsets[:, None] * np.cos(angle) + offsets[None, :] * np.sin(angle)
    frequencies = np.geomspace(0.386, 13.9, 200)
    waves = np.exp(-2j * np.pi * frequencies[:, None, None, None] / 28 * along)
    amplitude = np.abs((waves * kernels).sum(axis=(2, 3)))
    expected = frequencies[amplitude.argmax(axis=0)]
    found = measured(prepared, "spatial_frequency", "peak_spatial_frequency")[:256]
    octaves = np.log2(found / expected)
    assert np.median(np.abs(octaves)) < 0.05
    assert np.percentile(np.abs(octaves), 95) < 0.25


def test_simple_cells_are_modulated_and_complex_cells_are_not(prepared):
    ratio = measured(prepared, "modulation", "modulation_ratio")
    invariance = measured(prepared, "phase", "phase_invariance")
    assert ratio[:256].min() > 1.3
    assert ratio[256:].max() < 0.01
    assert invariance[:256].max() < 0.01
    assert invariance[256:].min() > 0.3


def test_the_block_has_no_surround_no_saturation_and_no_masking(prepared):
    """Of V1 as it is built: linear filters, whose responses grow with contrast without end."""
    assert np.median(measured(prepared, "size", "surround_suppression_index")) < 0.02
    assert np.nanmin(measured(prepared, "contrast", "c50")) > 1
    masking = measured(prepared, "cross_orientation", "cross_orientation_suppression")
    assert np.nanmedian(np.abs(masking)) < 0.01


def test_mean_and_variance_over_trials_are_those_of_the_noise_model(model):
    """A normal variable of variance (s x + l + 1e-4) / s^2 about x, cut off at 0."""
    subject = Subject(model, "vone_block", CANVAS, trials=400)
    gratings = [
        Grating(orientation_deg=angle, frequency_cpd=frequency, phase_deg=phase)
        for angle in (0, 45, 90, 135)
        for frequency in (1, 2, 4)
        for phase in (0, 180)
    ]
    x = subject.mean_response([Blank(), *gratings], before_noise=True).astype(np.float64)
    trials = subject.respond([Blank(), *gratings]).astype(np.float64)
    offset = (NEURONAL_LEVEL + FLOOR) / NEURONAL_SCALE**2
    noise = drawn_of(noise_slope=1 / NEURONAL_SCALE, noise_offset=offset)
    mean, variance = noise.rectified_moments(x)
    for low, high in ((0, 0.1), (0.1, 1), (1, 4), (4, 100)):
        some = (low <= x) & (x < high)
        assert some.sum() > 200
        assert (trials.mean(axis=0) / mean)[some].mean() == pytest.approx(1, abs=0.01)
        assert (trials.var(axis=0, ddof=1) / variance)[some].mean() == pytest.approx(1, abs=0.01)


def test_noise_is_not_shared_and_has_the_fano_factors_of_its_law(prepared):
    """Of spikes of 25 ms, as the noise counts them, and of 100 ms at the rates of the rate map."""
    population = EXPERIMENTS["noise"](prepared)
    found = population.properties
    assert np.abs(found["noise_correlation"]).max() < 0.05
    x = population.curves["variance_before_noise"].x
    law = {"noise_slope": 1 / NEURONAL_SCALE}
    law["noise_offset"] = (NEURONAL_LEVEL + FLOOR) / NEURONAL_SCALE**2
    mean, variance = drawn_of(**law).rectified_moments(x)
    spikes = NEURONAL_SCALE * mean + NEURONAL_LEVEL
    expected = NEURONAL_SCALE**2 * variance.sum(1) / spikes.sum(1)
    assert np.median(found["own_fano_factor"] / expected) == pytest.approx(1, abs=0.02)
    assert np.median(found["own_spike_count"] / spikes.mean(1)) == pytest.approx(1, abs=0.02)
    slope, offset = prepared.rate_map.slope, prepared.rate_map.offset
    assert offset > 0  # nothing is cut off
    expected = 0.1 * slope**2 * variance.sum(1) / (slope * mean + offset).sum(1)
    assert np.median(found["fano_factor"] / expected) == pytest.approx(1, abs=0.02)
