"""Tolhurst, Movshon & Dean 1983 (Vision Research 23:775): variance against mean, Fano factor.

Correlations between units are those of Zohary, Shadlen & Newsome 1994 (Nature 370:140).
"""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt

from vonenet.physiology.preparation import Preparation
from vonenet.physiology.recording import Array, Curve, Population
from vonenet.physiology.stimuli import Blank, crossed, evenly_spaced
from vonenet.physiology.tuning import f0

SOURCE = "Tolhurst, Movshon & Dean 1983, Vision Research 23:775"
TRIALS = 50
ORIENTATIONS_DEG = evenly_spaced(4, 180.0)
DIAMETER_DEG = 4.0
# The rates of Marques et al. 2021 are counted from 70 to 170 ms after a stimulus's onset
COUNTING_SECONDS = 0.1


def noise(prepared: Preparation) -> Population:
    """Measure variability over repeated trials of a few still gratings and a blank.

    Properties: `fano_factor`, variance over mean of the spikes counted in 100 ms, 0 for a
    deterministic model (it depends on the rate map); `own_fano_factor` and `own_spike_count`, the
    same ratio and the mean of the spikes that the layer's noise counts, if it counts any (those of
    25 ms in a V1 block); `noise_correlation`, a unit's mean correlation with all others, NaN for a
    deterministic model.

    The curves are in the model's own unit: `variance` against the mean of the trials, and, where
    noise can be left out, `variance_before_noise` against the response before it.
    """
    gratings = crossed(
        partial(prepared.grating, diameter_deg=DIAMETER_DEG),
        orientation_deg=ORIENTATIONS_DEG,
        frequency_cpd=prepared.frequencies(),
    )
    stimuli = [Blank(), *gratings.stimuli]
    trials = prepared.subject.respond(stimuli, trials=TRIALS, progress=prepared.bar("trials"))
    means, variances = mean_and_variance(trials)
    curves = {"variance": Curve("mean response (model's unit)", means.T, variances.T)}
    if prepared.subject.has_mean_response:
        before = prepared.subject.mean_response(stimuli, before_noise=True).astype(np.float64)
        axis = "response before noise (model's unit)"
        curves["variance_before_noise"] = Curve(axis, before.T, variances.T)
    properties = {
        "fano_factor": fano_factor(prepared.rate_map(trials) * COUNTING_SECONDS),
        "noise_correlation": noise_correlation(trials),
    }
    counts = prepared.subject.spikes(trials)
    if counts is not None:
        properties["own_fano_factor"] = fano_factor(counts)
        properties["own_spike_count"] = counts.mean(axis=(0, 1), dtype=np.float64)
    responsive = prepared.responsive(f0(prepared.grating_rates))
    return prepared.population("noise", SOURCE, responsive, properties, curves=curves)


def mean_and_variance(trials: npt.ArrayLike) -> tuple[Array, Array]:
    """Return both of (trials, stimuli, units), (stimuli, units); 0 is the variance of one trial."""
    values = np.asarray(trials, np.float64)
    means: Array = values.mean(axis=0)
    return means, ((values - means) ** 2).sum(axis=0) / max(len(values) - 1, 1)


def fano_factor(counts: npt.ArrayLike) -> Array:
    """Return variance over mean, each summed over stimuli, of counts (trials, stimuli, units)."""
    mean, variance = np.sum(mean_and_variance(counts), axis=1)
    fano: Array = variance / np.where(mean > 0, mean, np.nan)
    return fano


def noise_correlation(trials: npt.ArrayLike) -> Array:
    """Return each unit's mean correlation with the others, of responses (trials, stimuli, units).

    Responses to each stimulus are taken as z-scores, so that only their scatter is left.
    """
    values = np.asarray(trials, np.float64)
    means, variances = mean_and_variance(values)
    scores = (values - means) / np.sqrt(np.where(variances > 0, variances, np.nan))
    by_unit = np.nan_to_num(scores).reshape(-1, values.shape[2])
    lengths = np.linalg.norm(by_unit, axis=0)
    varies = lengths > 0
    by_unit /= np.where(varies, lengths, 1)
    others = varies.sum() - 1
    total = by_unit.T @ by_unit.sum(axis=1)
    return np.where(varies & (others > 0), (total - 1) / max(others, 1), np.nan)
