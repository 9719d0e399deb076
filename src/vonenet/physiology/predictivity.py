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
from tqdm import tqdm

from vonenet.data.pixels import eval_mode
from vonenet.data.seeding import device_of, seeded
from vonenet.errors import InputError
from vonenet.physiology.layers import check_tensor, find_layer, no_noise, output_of
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
        ceiling_per_unit: (units,) internal consistency; NaN where a half of the repetitions does
            not vary; None without repetitions.
        ceiled: Median of r over median ceiling; None without repetitions. Brain-Score lists its
            square.
        ceiled_interval: Its interval over resampled units.
        n_undefined: Units without r.
    """

    per_unit: Array = field(repr=False)
    median: float
    interval: tuple[float, float]
    ceiling_per_unit: Array | None = field(repr=False)
    ceiled: float | None
    ceiled_interval: tuple[float, float] | None
    n_undefined: int

    @property
    def ceiling(self) -> float | None:
        """Median internal consistency."""
        each = self.ceiling_per_unit
        return None if each is None else float(np.nanmedian(each[np.isfinite(self.per_unit)]))

    @property
    def noise_corrected(self) -> float | None:
        """Median over units of r over the root of the consistency.

        The root is what errorless predictions reach on averaged responses: 1 is perfect. `ceiled`,
        which divides by the consistency itself, is above 1 then.
        """
        each = self.ceiling_per_unit
        if each is None:
            return None
        return float(np.nanmedian(self.per_unit / np.sqrt(np.where(each > 0, each, np.nan))))


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
            passes = []
            for _ in range(trials or 1):
                output = check_tensor(output_of(model, module, pixels), layer)
                passes.append(output.flatten(start_dim=1).float())
            features.append(torch.stack(passes).mean(dim=0).cpu())
    return torch.cat(features).numpy()


def predictivity(
    features: npt.ArrayLike,
    responses: npt.ArrayLike,
    *,
    components: int = COMPONENTS,
    folds: int = FOLDS,
    strata: npt.ArrayLike | None = None,
    seed: int = 0,
    progress: bool = False,
) -> Predictivity:
    """Predict recorded responses from a model's features.

    Args:
        features: (stimuli, ...), a layer's responses in the stimuli's order; flattened to vectors.
        responses: (stimuli, units), or (repetitions, stimuli, units), of which the mean is
            predicted.
        components: Of the regression; fewer where the features of a fold do not carry as many.
        folds: Parts of the stimuli, each held out once.
        strata: (stimuli,) labels that every fold shall hold in the same proportion.
        seed: Of the folds, the halves of the repetitions and the resampled units.
        progress: Whether to show a bar over the folds.

    Raises:
        InputError: The numbers of stimuli differ, there are too few for the folds, a value is not
            finite, no unit can be predicted, or repetitions do not agree at all.
    """
    recorded = checked_responses(responses)
    y = recorded if recorded.ndim == 2 else recorded.mean(axis=0)
    x = principal_axes(_checked_features(features, len(y)))
    if components < 1:
        raise InputError(f"components={components}; allowed: 1 or more")
    fold_of = folds_of(len(y), folds, strata, seed)
    by_fold = []
    for fold in tqdm(range(folds), desc="predict", unit="fold", disable=not progress):
        train, test = fold_of != fold, fold_of == fold
        predicted = pls_predictions(x[train], y[train], x[test], components)
        by_fold.append(correlation(predicted, y[test]))
    per_unit = _mean_of_defined(np.stack(by_fold))
    units = np.flatnonzero(np.isfinite(per_unit))
    if not len(units):
        raise InputError("no unit varies over held-out stimuli, or no feature does: no r to report")
    resampled = np.random.default_rng(seed).choice(units, (RESAMPLES, len(units)))
    median, medians = float(np.median(per_unit[units])), np.median(per_unit[resampled], axis=1)
    consistency, ceiled, ceiled_interval = None, None, None
    if recorded.ndim == 3:
        consistency = internal_consistency(recorded, seed=seed)
        ceiling = _median_ceiling(consistency[units])
        ceiled = median / ceiling
        known = np.where(np.isfinite(consistency), consistency, ceiling)
        ceiled_interval = _interval(medians / np.median(known[resampled], axis=1))
    return Predictivity(
        per_unit=per_unit,
        median=median,
        interval=_interval(medians),
        ceiling_per_unit=consistency,
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


def internal_consistency(responses: npt.ArrayLike, *, splits: int = SPLITS, seed: int = 0) -> Array:
    """Estimate how far the mean over repetitions would agree with that over as many others.

    Pearson's r between the means of two random halves, averaged over splits, and brought from a
    half's repetitions to all of them by Spearman and Brown's formula.

    Args:
        responses: (repetitions, stimuli, units), at least 2 repetitions.
        splits: Random halves.
        seed: Of the halves.

    Returns:
        (units,), 1 at most; NaN where a half never varies.
    """
    recorded = checked_responses(responses)
    if recorded.ndim != 3 or len(recorded) < 2:
        raise InputError(
            f"responses have shape {recorded.shape}; allowed: at least 2 repetitions, "
            "(repetitions, stimuli, units)"
        )
    generator = np.random.default_rng(seed)
    half = len(recorded) // 2
    agreement = []
    for _ in range(splits):
        order = generator.permutation(len(recorded))
        one, other = recorded[order[:half]], recorded[order[half : 2 * half]]
        agreement.append(correlation(one.mean(axis=0), other.mean(axis=0)))
    r = _mean_of_defined(np.stack(agreement))
    longer = len(recorded) / half
    consistency: Array = longer * r / (1 + (longer - 1) * r)
    return consistency


def folds_of(
    stimuli: int, folds: int, strata: npt.ArrayLike | None, seed: int
) -> npt.NDArray[np.int64]:
    """Assign every stimulus to a fold, (stimuli,), at random, in sizes as equal as can be.

    Raises:
        InputError: A fold would hold fewer than 3 stimuli, or strata have another length.
    """
    if folds < 2 or stimuli // folds < LEAST_HELD_OUT:
        raise InputError(
            f"{stimuli} stimuli in {folds} folds; allowed: at least 2 folds, with at least "
            f"{LEAST_HELD_OUT} stimuli in each"
        )
    labels = np.zeros(stimuli) if strata is None else np.asarray(strata)
    if labels.shape != (stimuli,):
        raise InputError(f"strata have shape {labels.shape}; allowed: ({stimuli},), one a stimulus")
    order = np.random.default_rng(seed).permutation(stimuli)
    # Dealt out like cards, one stratum after the other
    dealt = order[np.argsort(labels[order], kind="stable")]
    fold_of = np.empty(stimuli, dtype=np.int64)
    fold_of[dealt] = np.arange(stimuli) % folds
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


def _median_ceiling(consistency: Array) -> float:
    known = consistency[np.isfinite(consistency)]
    median = float(np.median(known)) if len(known) else 0.0
    if median <= 0:
        raise InputError(
            f"the median consistency of units between repetitions is {median:.3g}; allowed: above "
            "0 (or responses averaged over repetitions, which are not divided by a ceiling)"
        )
    return median


def _mean_of_defined(values: Array) -> Array:
    """Average what is not NaN over the first axis; NaN where nothing else is there."""
    defined = np.isfinite(values)
    number = defined.sum(axis=0)
    total = np.where(defined, values, 0.0).sum(axis=0)
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)


def _interval(values: Array) -> tuple[float, float]:
    low, high = np.percentile(values, PERCENTILES)
    return float(low), float(high)
