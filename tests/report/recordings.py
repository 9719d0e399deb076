"""Small recordings of made-up units, and their rows, for the report's tests."""

import dataclasses

import numpy as np

from vonenet.physiology.recording import Curve, GroundTruth, Population, ReceptiveFields, Recording
from vonenet.physiology.scores import PUBLISHED, recording_rows
from vonenet.report.physiology import read_layers
from vonenet.results import append_jsonl

UNITS = 24
ANGLES = np.arange(12) * 15.0
PHASES = np.arange(8) * 45.0
FREQUENCIES = 2.0 ** np.linspace(-1.375, 3.375, 20)
DIAMETERS = 2.0 ** np.linspace(-2.25, 2.75, 11)
CONTRASTS = np.array([0, 0.03, 0.06, 0.125, 0.25, 0.35, 0.5, 0.7, 1])
NOISE_SLOPE, NOISE_OFFSET = 1.0, 0.5


def planted(model="planted", layer="v1", *, units=UNITS, seed=0, stochastic=False, **changes):
    """A recording of units drawn at random, the first half of them simple cells."""
    random = np.random.default_rng(seed)
    everyone = np.ones(units, bool)
    simple = np.arange(units) < (units + 1) // 2
    frequency = random.uniform(1, 6, units)
    orientation = random.uniform(0, 180, units)
    suppression = random.uniform(0, 0.9, units)
    strong = suppression >= 0.1
    bandwidth = random.uniform(30, 70, units)
    summation = np.where(strong, random.uniform(0.3, 2, units), np.nan)

    def population(name, properties, curves=None, among=None):
        counts = {"recorded": units, "in_field": units, "responsive": units}
        return Population(
            name, f"{name} & co 1982", everyone, properties, counts, among or {}, {}, curves or {}
        )

    half_wave = np.maximum(np.cos(np.deg2rad(PHASES)), 0)
    phases = 30 * np.where(simple[:, None], half_wave, 1.0)
    bump = np.exp(-((np.log2(FREQUENCIES) - np.log2(frequency)[:, None]) ** 2))
    before = random.uniform(0, 20, (units, 5))
    means, variances = before, np.zeros_like(before)
    if stochastic:
        noise = GroundTruth(orientation, frequency, everyone, ~simple, NOISE_SLOPE, NOISE_OFFSET)
        means, variances = noise.rectified_moments(before)
    contrast = 40 * np.tile(CONTRASTS, (units, 1))
    size = 40 * np.tile(np.minimum(DIAMETERS, 1), (units, 1))
    tuned = 20 + 20 * np.cos(np.deg2rad(2 * (ANGLES - orientation[:, None])))
    populations = [
        population("receptive_field", {"field_diameter": random.uniform(0.4, 1, units)}),
        population(
            "orientation",
            {
                "preferred_orientation": (orientation + 22.5) % 180 - 22.5,
                "bandwidth": random.uniform(10, 60, units),
                "circular_variance": random.uniform(0.1, 0.9, units),
                "orth_pref_ratio": random.uniform(0, 0.5, units),
                "orientation_selective": np.ones(units),
                "cv_bandwidth_ratio": random.uniform(0.005, 0.05, units),
                "opr_cv_difference": random.uniform(-0.6, 0, units),
            },
            {"orientation": Curve("orientation (degrees)", ANGLES, tuned)},
        ),
        population(
            "modulation",
            {"modulation_ratio": np.where(simple, 1.57, 0.1), "max_dc": np.full(units, 30.0)},
            {"phase": Curve("phase (degrees)", PHASES, phases)},
        ),
        population("phase", {"phase_invariance": np.where(simple, 0.0, 1.0)}),
        population(
            "spatial_frequency",
            {
                "peak_spatial_frequency": frequency,
                "sf_bandwidth": bandwidth,
                "sf_bandwidth_simple": np.where(simple, bandwidth, np.nan),
                "sf_bandwidth_complex": np.where(simple, np.nan, bandwidth),
                "sf_selective": np.ones(units),
            },
            {"spatial_frequency": Curve("cycles/degree", FREQUENCIES, 40 * bump)},
            {"sf_bandwidth_simple": simple, "sf_bandwidth_complex": ~simple},
        ),
        population(
            "size",
            {
                "surround_suppression_index": suppression,
                "strongly_suppressed": strong.astype(float),
                "grating_summation_field": summation,
                "surround_diameter": 2.5 * summation,
                "surround_to_summation_field": np.where(strong, 2.5, np.nan),
            },
            {"size": Curve("diameter (degrees)", DIAMETERS, size, size + 0.5)},
        ),
        population(
            "contrast",
            {"c50": random.uniform(0.2, 3, units)},
            {"contrast": Curve("contrast", CONTRASTS, contrast, contrast + 0.5)},
        ),
        population("cross_orientation", {"cross_orientation_suppression": np.zeros(units)}),
        population(
            "noise",
            {
                "fano_factor": np.full(units, 1.2 if stochastic else 0.0),
                "noise_correlation": np.full(units, 0.01 if stochastic else np.nan),
            },
            {
                "variance": Curve("mean response (model's unit)", means, variances),
                "variance_before_noise": Curve("response before noise", before, variances),
            },
        ),
    ]
    grid = np.linspace(-2.5, 2.5, 21)
    known = {
        "model": model,
        "model_hash": f"{seed:016x}",
        "layer": layer,
        "settings": {
            "degrees": 8.0,
            "pixels": 224,
            "units": units,
            "trials": 1,
            "before_noise": True,
            "seed": 0,
        },
        "units": np.stack([np.arange(units), np.full(units, 28), np.full(units, 28)], axis=1),
        "map_shape": (units, 56, 56),
        "is_stochastic": stochastic,
        "rate_slope": 8.5,
        "rate_offset": 0.82,
        "spontaneous": np.full(units, 0.82),
        "fields": ReceptiveFields(
            grid,
            grid,
            np.tile(np.exp(-4 * (grid[:, None] ** 2 + grid**2)), (units, 1, 1)),
            random.uniform(-0.1, 0.1, (units, 2)),
            np.full(units, 0.7),
        ),
        "populations": {each.experiment: each for each in populations},
        "published": list(PUBLISHED.values()),
        "ground_truth": None,
        "versions": {"python": "3", "torch": "2", "vonenet": "0"},
        "seconds": 47.0,
    }
    return Recording(**known | changes)


def changed(recording, change):
    """The same with what `change` makes of each population's fields."""
    populations = {
        name: dataclasses.replace(each, **change(each))
        for name, each in recording.populations.items()
    }
    return dataclasses.replace(recording, populations=populations)


def with_values(recording, **properties):
    """The same with other values of some properties, arrays or one number for all units."""

    def change(each):
        other = {
            name: np.broadcast_to(properties[name], values.shape).astype(float)
            for name, values in each.properties.items()
            if name in properties
        }
        return {"properties": {**each.properties, **other}}

    return changed(recording, change)


def with_silent(recording, silent):
    """The same with some units, a mask, that respond to nothing."""

    def change(each):
        return {
            "responsive": each.responsive & ~silent,
            "properties": {k: np.where(silent, np.nan, v) for k, v in each.properties.items()},
            "counts": {**each.counts, "responsive": int((~silent).sum())},
        }

    return changed(recording, change)


def without_curves(recording):
    """The same with curves that are all NaN."""

    def lost(curve):
        return dataclasses.replace(curve, rates=np.full_like(curve.rates, np.nan), fitted=None)

    return changed(recording, lambda p: {"curves": {k: lost(v) for k, v in p.curves.items()}})


def built(recording, *, off=0.0, shift=0.0, cut=0, slope=NOISE_SLOPE, offset=NOISE_OFFSET):
    """The same with what the units were built with: as measured, or off by so many octaves.

    `off` is the scatter of the octaves, `shift` what all units have in common.
    """
    n = len(recording.units)
    frequency = recording.populations["spatial_frequency"].properties["peak_spatial_frequency"]
    preferred = recording.populations["orientation"].properties["preferred_orientation"]
    scatter = np.random.default_rng(9).normal(shift, off, n)
    return dataclasses.replace(
        recording,
        ground_truth=GroundTruth(
            orientation_deg=preferred % 180,
            frequency_cpd=frequency * 2**scatter,
            whole=np.arange(n) >= cut,
            is_complex=recording.populations["modulation"].properties["modulation_ratio"] < 1,
            noise_slope=slope,
            noise_offset=offset,
        ),
    )


def saved_rows(recordings, folder):
    """results.jsonl with the rows of recordings."""
    path = folder / "results.jsonl"
    append_jsonl(path, [row for each in recordings for row in recording_rows(each)])
    return path


def layers_of(recordings, folder):
    """Recordings with their rows, as the page takes them."""
    return read_layers(recordings, saved_rows(recordings, folder))
