"""Kernels against the formula written once more in float64, and the sampling report."""

import math

import numpy as np
import pytest
import torch

from vonenet.v1.gabor import (
    aliased_and_truncated,
    colored,
    dc_over_best_grating,
    gabor_kernels,
    lost_energy,
    sampling_report,
)
from vonenet.v1.parameters import draw_parameters


def one_gabor(parameters, i, pixels_per_degree, kernel_size, shift_deg=0.0):
    """The published formula, pixel by pixel with Python's mathematics, in visual degrees."""
    theta = math.radians(parameters.orientation_deg[i])
    f, nx, ny = (getattr(parameters, k)[i] for k in ("frequency_cpd", "nx_cycles", "ny_cycles"))
    phase = math.radians(parameters.phase_deg[i] + shift_deg)
    sx, sy = nx / f, ny / f
    kernel = np.empty((kernel_size, kernel_size))
    for row in range(kernel_size):
        for column in range(kernel_size):
            x = (row - kernel_size // 2) / pixels_per_degree
            y = (column - kernel_size // 2) / pixels_per_degree
            xr = x * math.cos(theta) + y * math.sin(theta)
            yr = -x * math.sin(theta) + y * math.cos(theta)
            envelope = math.exp(-0.5 * (xr**2 / sx**2 + yr**2 / sy**2)) / (2 * math.pi * sx * sy)
            kernel[row, column] = envelope * math.cos(2 * math.pi * f * xr + phase)
    return kernel / pixels_per_degree**2  # per square degree -> per pixel


@pytest.mark.parametrize(("pixels_per_degree", "kernel_size"), [(28, 25), (16, 15), (14.5, 3)])
@pytest.mark.parametrize("shift_deg", [0.0, 90.0])
def test_kernels_follow_the_formula(pixels_per_degree, kernel_size, shift_deg):
    parameters = draw_parameters(6, seed=2)
    kernels = gabor_kernels(parameters, pixels_per_degree, kernel_size, phase_shift_deg=shift_deg)
    assert kernels.dtype == torch.float64
    for i, kernel in enumerate(kernels.numpy()):
        expected = one_gabor(parameters, i, pixels_per_degree, kernel_size, shift_deg)
        np.testing.assert_allclose(kernel, expected, atol=1e-13)


@pytest.mark.parametrize(
    ("variant", "n", "sf_max", "pixels_per_degree", "kernel_size"),
    [(0, 512, 6, 32, 31), (1, 192, 9, 28, 25)],
)
def test_kernels_are_the_originals(
    golden_outputs, variant, n, sf_max, pixels_per_degree, kernel_size
):
    parameters = draw_parameters(n, filters="legacy", color_seed=variant, sf_max=sf_max)
    assert np.array_equal(parameters.color_channel, golden_outputs[f"variant{variant}_q0_color"])
    assert np.array_equal(parameters.color_channel_q1, golden_outputs[f"variant{variant}_q1_color"])
    kernels = gabor_kernels(parameters, pixels_per_degree, kernel_size)
    weights = colored(kernels, parameters.color_channel, 3)[:8]
    np.testing.assert_allclose(weights, golden_outputs[f"variant{variant}_q0"], atol=1e-7)


def test_orientation_zero_varies_along_the_rows():
    parameters = draw_parameters(1)
    vertical = {**parameters.to_dict(), "orientation_deg": [0.0], "phase_deg": [0.0]}
    kernel = gabor_kernels(type(parameters).from_dict(vertical), 28, 25)[0]
    along_rows, along_columns = kernel[:, 12], kernel[12, :]
    assert (along_rows < 0).any()
    assert (along_columns >= 0).all()


def test_aliasing_is_counted_and_the_remedy_cures_it():
    """32 px with the default 8 degrees aliases 72 % of the filters."""
    report = sampling_report(draw_parameters(5000, filters="legacy", sf_max=9), 32 / 8, 25)
    assert report.nyquist_cpd == 2.0
    assert report.aliased == pytest.approx(0.72, abs=0.03)
    assert "set sf_max to at most 2" in report.remedies[0]
    assert sampling_report(draw_parameters(5000, sf_max=2.0), 4.0, 25).aliased == 0


def test_truncation_is_counted_and_the_remedy_cures_it():
    parameters = draw_parameters(5000)
    assert sampling_report(parameters, 28, 25).truncated == pytest.approx(0.06, abs=0.015)
    assert aliased_and_truncated(parameters, 28, 25)[2] == []
    cut = sampling_report(parameters, 28, 11)
    assert cut.truncated > 0.3
    needed = int(cut.remedies[0].split("set kernel_size to ")[1].split(",")[0])
    assert aliased_and_truncated(parameters, 28, needed)[2] == []


def test_lost_energy_is_that_outside_the_window():
    """Of kernels with both phases, sampled far beyond it."""
    parameters, middle = draw_parameters(60, seed=1), slice(88, 113)
    phases = [gabor_kernels(parameters, 28, 201, phase_shift_deg=shift) for shift in (0, 90)]
    energy = sum(kernel**2 for kernel in phases).numpy()
    kept = energy[:, middle, middle].sum((1, 2)) / energy.sum((1, 2))
    np.testing.assert_allclose(lost_energy(parameters, 28, 25), 1 - kept, atol=2e-3)
    report = sampling_report(parameters, 28, 25)
    assert report.lost_energy == np.mean(1 - kept > 0.1) > 0
    needed = int(report.remedies[-1].rsplit("=", 1)[1])
    assert sampling_report(parameters, 28, needed).lost_energy == 0
    assert sampling_report(parameters, 28, needed - 2).lost_energy > 0


def responses(kernels, waves):
    """Of simple and of complex cells to the best of gratings (phases, n, k, k), as V1 has them."""
    q0, q1 = ((waves * kernel).sum((-2, -1)) for kernel in kernels)
    complex_cells = np.sqrt((q0**2 + q1**2) / 2)
    return np.stack([np.maximum(q0, 0).max(0), complex_cells.max(0)])


def test_dc_is_that_of_uniform_fields_beside_gratings():
    """Shown one after the other: frequencies along each filter's own, 16 phases of each."""
    parameters = draw_parameters(40, seed=2)
    kernels = [gabor_kernels(parameters, 28, 25, phase_shift_deg=a).numpy() for a in (0, 90)]
    theta = np.deg2rad(parameters.orientation_deg)[:, None, None]
    offsets = np.arange(25) - 12
    along = offsets[:, None] * np.cos(theta) + offsets[None, :] * np.sin(theta)
    phases = np.arange(16)[:, None, None, None] * np.pi / 8
    best = np.zeros((2, 40))
    for cycles_per_pixel in np.linspace(1 / 75, 0.5, 60):
        waves = np.cos(2 * np.pi * cycles_per_pixel * along + phases)
        best = np.maximum(best, responses(kernels, waves))
    fields = np.stack([np.full((40, 25, 25), level) for level in (-1.0, 1.0)])
    expected = responses(kernels, fields) / best
    found = dc_over_best_grating(parameters, 28, 25)
    np.testing.assert_allclose(found, expected, rtol=0.06, atol=0.01)


def test_dc_is_counted_and_the_remedy_cures_it():
    """16 % of the simple and 25 % of the complex cells of the default block."""
    parameters, how = draw_parameters(512, sf_max=9.0, n_simple=256), {"simple_channels": 256}
    report = sampling_report(parameters, 28, 25, **how)
    assert report.simple_dc == pytest.approx(0.16, abs=0.005)
    assert report.complex_dc == pytest.approx(0.25, abs=0.01)
    assert report.remedies[0].startswith("16% of the simple and 25% of the complex cells respond")
    assert report.remedies[0].endswith("set dc_balanced=True")
    balanced = sampling_report(parameters, 28, 25, dc_balanced=True, **how)
    assert balanced.simple_dc == balanced.complex_dc == 0
    assert len(balanced.remedies) == 1  # of the energy that is lost
