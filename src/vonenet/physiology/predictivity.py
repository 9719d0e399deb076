"""How well a layer predicts recorded neurons: partial least squares, cross-validated.

Brain-Score's neural predictivity (Schrimpf et al. 2018, bioRxiv 407007): from the features of some
stimuli to the responses to them by PLS regression with 25 components, Pearson's r on stimuli that
were held out, the median over units, and the responses' own consistency as the ceiling.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from scipy.linalg import eigh
from torch import Tensor, nn

from vonenet.data.pixels import eval_mode
from vonenet.data.seeding import device_of, seeded
from vonenet.errors import InputError
from vonenet.physiology.layers import find_layer, no_noise, output_of
from vonenet.physiology.neural_data import checked_responses
from vonenet.physiology.recording import Array

COMPONENTS = 25
FOLDS = 10
SPLITS = 100  # of the repetitions into random halves
RESAMPLES = 2000  # of the units
PERCENTILES = (2.5, 97.5)
# Pearson's r of two stimuli is always 1 or -1
LEAST_HELD_OUT = 3
EXHAUSTED = 1e-12  # share of the features' variance below which there is nothing left to use
BLOCK = 16_384  # features held in double precision at a time


@dataclass(frozen=True, eq=False)
class Predictivity:
    """Cross-validated predictions of recorded responses.

    Attributes:
        per_unit: (units,) Pearson's r on held-out stimuli, mean over folds; NaN for a unit that
            does not vary, or whose prediction does not. Such units are left out below.
        median: Over units.
        interval: 95 % interval of the median over resampled units.
        ceiling: Median of the units' internal consistency; None without repetitions.
        ceiled: Median over ceiling; None without repetitions. Brain-Score lists its square.
        ceiled_interval: Its interval over resampled units.
        n_undefined: Units without r.
    """

    per_unit: Array = field(repr=False)
    median: float
    interval: tuple[float, float]
    ceiling: float | None
    ceiled: float | None
    ceiled_interval: tuple[float, float] | None
    n_undefined: int


def layer_features(
    model: nn.Module,
    layer: str,
    images: Iterable[Tensor],
    *,
    trials: int | None = None,
    seed: int = 0,
    batch_size: int = 32,
) -> npt.NDArray[np.float32]:
    """Record a layer's responses to images, (images, features).

    Args:
        model: Takes pixels in [0, 1].
        layer: Its name; any layer that returns a tensor, spatial or not.
        images: Each (C, H, W) in [0, 1].
        trials: Passes to average over; None: one pass without the noise of V1 blocks.
        seed: Of the noise.
        batch_size: Images at once.

    Raises:
        InputError: No such layer, or one that returns no tensor; trials below 1.
    """
    if trials is not None and trials < 1:
        raise InputError(f"trials must be 1 or more, got {trials}")
    module, device = find_layer(model, layer), device_of(model)
    features: list[Tensor] = []
    remaining = iter(images)
    without_noise = no_noise(model) if trials is None else nullcontext()
    with eval_mode(model), torch.no_grad(), seeded(seed, device), without_noise:
        while batch := list(itertools.islice(remaining, batch_size)):
            pixels = torch.stack(batch).to(device)
            draws = (output_of(model, module, layer, pixels) for _ in range(trials or 1))
            passes = [draw.float() for draw in draws]
            features.append(torch.stack(passes).mean(dim=0).flatten(start_dim=1).cpu())
    return torch.cat(features).numpy()


def predictivity(
    features: npt.ArrayLike,
    responses: npt.ArrayLike,
    *,
    components: int = COMPONENTS,
    folds: int = FOLDS,
    seed: int = 0,
) -> Predictivity:
    """Predict recorded responses from a model's features.

    Args:
        features: (stimuli, ...), a layer's responses in the stimuli's order; flattened to vectors.
        responses: (stimuli, units), or (repetitions, stimuli, units), of which the mean is
            predicted.
        components: Of the regression; fewer where the features of a fold do not carry as many.
        folds: Parts of the stimuli, each held out once.
        seed: Of the folds, the halves of the repetitions and the resampled units.

    Raises:
        InputError: The numbers of stimuli differ, there are too few for the folds, a value is not
            finite, no unit can be predicted, or repetitions do not agree at all.
    """
    recorded = checked_responses(responses)
    y = recorded if recorded.ndim == 2 else recorded.mean(axis=0)
    x = principal_axes(_checked_features(features, len(y)))
    if components < 1:
        raise InputError(f"components={components}; allowed: 1 or more")
    fold_of = folds_of(len(y), folds, seed)
    by_fold = []
    for fold in range(folds):
        train, test = fold_of != fold, fold_of == fold
        predicted = pls_predictions(x[train], y[train], x[test], components)
        by_fold.append(correlation(predicted, y[test]))
    per_unit = _mean_of_defined(np.stack(by_fold))
    units = np.flatnonzero(np.isfinite(per_unit))
    if not len(units):
        raise InputError("no unit varies over held-out stimuli, or no feature does: no r to report")
    resampled = np.random.default_rng(seed).choice(units, (RESAMPLES, len(units)))
    median, medians = float(np.median(per_unit[units])), np.median(per_unit[resampled], axis=1)
    ceiling, ceiled, ceiled_interval = None, None, None
    if recorded.ndim == 3:
        consistency = internal_consistency(recorded, seed=seed)
        known = consistency[np.isfinite(per_unit) & np.isfinite(consistency)]
        ceiling = float(np.median(known)) if len(known) else 0.0
        if ceiling <= 0:
            raise InputError(
                f"the median consistency of units between repetitions is {ceiling:.3g}; allowed: "
                "above 0 (or responses averaged over repetitions, which are not divided by it)"
            )
        ceiled = median / ceiling
        of_units = np.where(np.isfinite(consistency), consistency, ceiling)
        ceiled_interval = _interval(medians / np.median(of_units[resampled], axis=1))
    return Predictivity(
        per_unit=per_unit,
        median=median,
        interval=_interval(medians),
        ceiling=ceiling,
        ceiled=ceiled,
        ceiled_interval=ceiled_interval,
        n_undefined=len(per_unit) - len(units),
    )


def pls_predictions(features: Array, responses: Array, new: Array, components: int) -> Array:
    """Fit responses (stimuli, units) to features (stimuli, n); predict them for new features.

    PLS2 by NIPALS (Wold 1975; Wegelin 2000): each component is the direction of the features whose
    covariance with the responses is largest; the features are then cleared of it. That direction is
    a singular vector, which is solved for: scikit-learn's `PLSRegression` iterates towards it, and
    needs ten times as long to come within 1e-7 of these predictions. Fewer components are used
    where features or responses are exhausted before.
    """
    mean_features, mean_responses = features.mean(axis=0), responses.mean(axis=0)
    x, y, x_new = features - mean_features, responses - mean_responses, new - mean_features
    predicted = np.tile(mean_responses, (len(new), 1))
    least_power = EXHAUSTED * (x**2).sum()
    for _ in range(components):
        direction = _largest_covariance(x, y)
        scores, new_scores = x @ direction, x_new @ direction
        power = scores @ scores
        if power <= least_power:
            break
        predicted += np.outer(new_scores, y.T @ scores / power)
        loadings = x.T @ scores / power
        x = x - np.outer(scores, loadings)
        x_new = x_new - np.outer(new_scores, loadings)
    return predicted


def _largest_covariance(features: Array, responses: Array) -> Array:
    """Return the direction of the features, of length 1, that covaries most; 0 where none does."""
    covariance = features.T @ responses
    is_tall = covariance.shape[0] > covariance.shape[1]
    # The first singular vector, from the smaller of the two squares
    square = covariance.T @ covariance if is_tall else covariance @ covariance.T
    last = len(square) - 1
    vector = eigh(square, subset_by_index=(last, last))[1][:, 0]
    direction: Array = covariance @ vector if is_tall else vector
    length = np.linalg.norm(direction)
    return direction / length if length > 0 else direction


def principal_axes(features: npt.NDArray[np.generic]) -> Array:
    """Rotate features (stimuli, n) into their principal axes, (stimuli, at most stimuli).

    This leaves every prediction of `pls_predictions` as it is, with far fewer features.
    """
    stimuli, number = features.shape
    if number <= stimuli:
        return features.astype(np.float64)
    products = np.zeros((stimuli, stimuli))
    for start in range(0, number, BLOCK):
        block = features[:, start : start + BLOCK].astype(np.float64)
        block -= block.mean(axis=0)
        products += block @ block.T
    variances, axes = eigh(products)
    rotated: Array = axes * np.sqrt(np.maximum(variances, 0))
    return rotated


def correlation(a: Array, b: Array) -> Array:
    """Return Pearson's r of every column of a with that of b; NaN where one does not vary."""
    scores = []
    for each in (a, b):
        deviation = each - each.mean(axis=0)
        length = np.linalg.norm(deviation, axis=0)
        varies = length > 1e-10 * np.linalg.norm(each, axis=0)
        scores.append(deviation / np.where(varies, length, np.nan))
    r: Array = (scores[0] * scores[1]).sum(axis=0)
    return r


def internal_consistency(responses: Array, *, seed: int = 0) -> Array:
    """Estimate how far the mean over repetitions would agree with that over as many others.

    Pearson's r between the means of two random halves, averaged over splits, and brought from a
    half's repetitions to all of them by Spearman and Brown's formula.

    Args:
        responses: (repetitions, stimuli, units).
        seed: Of the halves.

    Returns:
        (units,), 1 at most; NaN where a half never varies.

    Raises:
        InputError: Fewer than 2 repetitions.
    """
    repetitions = len(responses)
    if repetitions < 2:
        raise InputError(
            f"responses have shape {responses.shape}; allowed: at least 2 repetitions, "
            "(repetitions, stimuli, units)"
        )
    generator = np.random.default_rng(seed)
    half = repetitions // 2
    agreement = []
    for _ in range(SPLITS):
        order = generator.permutation(repetitions)
        one, other = responses[order[:half]], responses[order[half : 2 * half]]
        agreement.append(correlation(one.mean(axis=0), other.mean(axis=0)))
    r = _mean_of_defined(np.stack(agreement))
    longer = repetitions / half
    consistency: Array = longer * r / (1 + (longer - 1) * r)
    return consistency


def folds_of(stimuli: int, folds: int, seed: int) -> npt.NDArray[np.int64]:
    """Assign every stimulus to a fold, (stimuli,), at random, in sizes as equal as can be.

    Raises:
        InputError: A fold would hold fewer than 3 stimuli.
    """
    if folds < 2 or stimuli // folds < LEAST_HELD_OUT:
        raise InputError(
            f"{stimuli} stimuli in {folds} folds; allowed: at least 2 folds, with at least "
            f"{LEAST_HELD_OUT} stimuli in each"
        )
    fold_of = np.empty(stimuli, dtype=np.int64)
    fold_of[np.random.default_rng(seed).permutation(stimuli)] = np.arange(stimuli) % folds
    return fold_of


def _checked_features(features: npt.ArrayLike, stimuli: int) -> npt.NDArray[np.generic]:
    array = np.asarray(features)
    if array.dtype.kind not in "biuf" or array.ndim < 2 or len(array) != stimuli or not array.size:
        raise InputError(
            f"features have shape {array.shape} and type {array.dtype}; allowed: numbers of shape "
            f"({stimuli}, ...), a row for each of the {stimuli} stimuli of the responses"
        )
    flat = array.reshape(stimuli, -1)
    if not np.isfinite(flat).all():
        number = int((~np.isfinite(flat)).sum())
        raise InputError(f"{number} features are not finite; allowed: numbers")
    return flat


def _mean_of_defined(values: Array) -> Array:
    """Average what is not NaN over the first axis; NaN where nothing else is there."""
    mean: Array = np.ma.masked_invalid(values).mean(axis=0).filled(np.nan)
    return mean


def _interval(values: Array) -> tuple[float, float]:
    low, high = np.percentile(values, PERCENTILES)
    return float(low), float(high)
