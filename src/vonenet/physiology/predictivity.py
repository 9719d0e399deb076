"""How well a layer predicts recorded neurons: partial least squares, cross-validated.

Brain-Score's neural predictivity (Schrimpf et al. 2018, bioRxiv 407007): from the features of some
stimuli to the responses to them by PLS regression with 25 components, Pearson's r on stimuli that
were held out, the median over units, and the responses' own consistency as the ceiling.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
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
from vonenet.physiology.layers import find_layer, no_noise, outputs_of
from vonenet.physiology.neural_data import checked_responses
from vonenet.physiology.recording import Array, Mask, as_numbers

COMPONENTS = 25
FOLDS = 10
SPLITS = 100  # of the repetitions into random halves
RESAMPLES = 2000  # of the units
PERCENTILES = (2.5, 97.5)
# Pearson's r of two stimuli is always 1 or -1
LEAST_HELD_OUT = 3
EXHAUSTED = 1e-12  # share of the features' variance below which there is nothing left to use
BLOCK = 16_384  # features whose products are summed at a time


@dataclass(frozen=True, eq=False)
class Neurons:
    """Recorded responses, and what of them can be predicted.

    Attributes:
        means: (stimuli used, units used), over the repetitions that are there.
        stimuli: (stimuli,) which ones are used: those that any unit has a response to.
        units: (units,) which ones are used.
        left_out: The other units, by what is wrong with them.
        repetitions: The fewest and the most of a unit and an image used.
        missing: Repetitions that are not there, as a share of those of the array.
        consistency: (units used,) as `internal_consistency` has it; None without repetitions.
        ceiling: Its median; None without repetitions.
        ceiling_interval: 95 % interval of the median over resampled units.
    """

    means: Array
    stimuli: Mask
    units: Mask
    left_out: Mapping[str, npt.NDArray[np.int64]]
    repetitions: tuple[int, int]
    missing: float
    consistency: Array | None
    ceiling: float | None
    ceiling_interval: tuple[float, float] | None


def usable_neurons(responses: npt.ArrayLike, *, seed: int = 0) -> Neurons:
    """Find what can be predicted of recorded responses, before anything is computed from a model.

    Args:
        responses: (stimuli, units) or (repetitions, stimuli, units); NaN or masked where there is
            no response.
        seed: Of the halves of the repetitions and the resampled units.

    Raises:
        InputError: No unit has a response to every stimulus and varies, or repetitions agree too
            little for a ceiling.
    """
    recorded = checked_responses(responses)
    repeated = recorded if recorded.ndim == 3 else recorded[None]
    here = np.isfinite(repeated).sum(axis=0)
    stimuli = here.any(axis=1)
    repeated, here = repeated[:, stimuli], here[stimuli]
    means = np.nansum(repeated, axis=0) / np.maximum(here, 1)
    is_whole = (here > 0).all(axis=0) & stimuli.any()
    units = is_whole & np.isfinite(correlation(means, means))
    left_out = {
        "no response to some images": np.flatnonzero(~is_whole),
        "the same response to every image": np.flatnonzero(is_whole & ~units),
    }
    if not units.any():
        reasons = [f"{text}: {len(which)}" for text, which in left_out.items() if len(which)]
        raise InputError(
            f"none of {len(units)} units can be predicted ({'; '.join(reasons)}); needed: units "
            "that vary, with a response to each of the images"
        )
    used, counts = repeated[:, :, units], here[:, units]
    consistency, ceiling, interval = None, None, None
    if recorded.ndim == 3:
        consistency = internal_consistency(used, seed=seed)
        ceiling, interval = _ceiling(consistency, seed)
    return Neurons(
        means=means[:, units],
        stimuli=stimuli,
        units=units,
        left_out={text: which for text, which in left_out.items() if len(which)},
        repetitions=(int(counts.min()), int(counts.max())),
        missing=float(np.isnan(recorded).mean()),
        consistency=consistency,
        ceiling=ceiling,
        ceiling_interval=interval,
    )


def _ceiling(consistency: Array, seed: int) -> tuple[float, tuple[float, float]]:
    """Return the median consistency of units and its interval, which a score can be divided by."""
    known = consistency[np.isfinite(consistency)]
    if len(known):
        draws = np.random.default_rng(seed).choice(known, (RESAMPLES, len(known)))
        ceiling, interval = float(np.median(known)), _interval(np.median(draws, axis=1))
        if interval[0] > 0:
            return ceiling, interval
        found = f"{ceiling:.3g} (95 % interval {interval[0]:.3g} to {interval[1]:.3g})"
    else:
        found = "not defined for any unit: no unit varies between images in either half"
    raise InputError(
        f"the median consistency of units between repetitions is {found}; allowed: above 0 (or "
        "responses averaged over repetitions, which are not divided by it)"
    )


@dataclass(frozen=True, eq=False)
class Predictivity:
    """Cross-validated predictions of recorded responses.

    Attributes:
        per_unit: (units,) Pearson's r on held-out stimuli, mean over folds; NaN for a unit that is
            not used, or whose prediction does not vary. Such units are left out below.
        median: Over units.
        interval: 95 % interval of the median over resampled units.
        ceiling: Median of the units' internal consistency; None without repetitions.
        ceiled: Median over ceiling; None without repetitions. Brain-Score lists its square.
        ceiled_interval: Its interval over resampled units.
        n_undefined: Units without r.
        neurons: What was used of the responses.
    """

    per_unit: Array = field(repr=False)
    median: float
    interval: tuple[float, float]
    ceiling: float | None
    ceiled: float | None
    ceiled_interval: tuple[float, float] | None
    n_undefined: int
    neurons: Neurons = field(repr=False)


def feature_counts(
    model: nn.Module, layers: Sequence[str], image: Tensor, *, with_noise: bool = False
) -> dict[str, int]:
    """Return how many features each layer has for an image, (C, H, W).

    Raises:
        InputError: No such layer, one that is not called or returns no tensor, or a model that does
            not take the image.
    """
    found = {name: find_layer(model, name) for name in layers}
    without_noise = nullcontext() if with_noise else no_noise(model)
    with eval_mode(model), torch.no_grad(), seeded(0, device_of(model)), without_noise:
        outputs = outputs_of(model, found, image[None].to(device_of(model)))
    return {name: output[0].numel() for name, output in outputs.items()}


def layer_features(
    model: nn.Module,
    layers: Sequence[str],
    images: Iterable[Tensor],
    *,
    trials: int | None = None,
    seed: int = 0,
    batch_size: int = 32,
) -> dict[str, list[Tensor]]:
    """Record several layers' responses to images in one pass.

    Args:
        model: Takes pixels in [0, 1].
        layers: Their names; any layers that return a tensor, spatial or not.
        images: Each (C, H, W) in [0, 1].
        trials: Passes to average over, 1 or more; None: one without the noise of V1 blocks.
        seed: Of the noise.
        batch_size: Images at once.

    Returns:
        By layer, batches of features in the images' order, float32 (images, features) on the CPU.

    Raises:
        InputError: No such layer, or one that returns no tensor.
    """
    found, device = {name: find_layer(model, name) for name in layers}, device_of(model)
    features: dict[str, list[Tensor]] = {name: [] for name in found}
    remaining = iter(images)
    without_noise = no_noise(model) if trials is None else nullcontext()
    with eval_mode(model), torch.no_grad(), seeded(seed, device), without_noise:
        while batch := list(itertools.islice(remaining, batch_size)):
            pixels = torch.stack(batch).to(device)
            sums = _flat_outputs(model, found, pixels)
            for _ in range((trials or 1) - 1):
                for name, output in _flat_outputs(model, found, pixels).items():
                    sums[name] = sums[name] + output
            for name, total in sums.items():
                # Divided even by 1: a copy, for a layer may return a tensor that it keeps
                features[name].append((total / (trials or 1)).cpu())
    return features


def _flat_outputs(
    model: nn.Module, layers: Mapping[str, nn.Module], pixels: Tensor
) -> dict[str, Tensor]:
    outputs = outputs_of(model, layers, pixels)
    return {name: output.float().flatten(start_dim=1) for name, output in outputs.items()}


def predictivity(
    features: npt.ArrayLike | Sequence[Tensor],
    responses: npt.ArrayLike | Neurons,
    *,
    components: int = COMPONENTS,
    folds: int = FOLDS,
    seed: int = 0,
) -> Predictivity:
    """Predict recorded responses from a model's features.

    Args:
        features: (stimuli, ...), a layer's responses in the stimuli's order, flattened to vectors;
            or batches of them, as `layer_features` returns.
        responses: (stimuli, units), or (repetitions, stimuli, units), of which the mean is
            predicted, NaN or masked where there is none; or what `usable_neurons` found of them.
        components: Of the regression; fewer where the features of a fold do not carry as many.
        folds: Parts of the stimuli, each held out once.
        seed: Of the folds, the halves of the repetitions and the resampled units.

    Raises:
        InputError: The numbers of stimuli differ, there are too few for the folds, a feature is
            not finite, or as in `usable_neurons`.
    """
    neurons = responses if isinstance(responses, Neurons) else usable_neurons(responses, seed=seed)
    check_settings(len(neurons.means), components, folds)
    batches = [_checked_features(each) for each in _batches(features)]
    if sum(map(len, batches)) != len(neurons.stimuli):
        shapes = ", ".join(str(each.shape) for each in batches[:3])
        raise InputError(
            f"features have shape {shapes}; allowed: ({len(neurons.stimuli)}, ...), a row for each "
            "of the stimuli of the responses"
        )
    x, y = principal_axes(batches, neurons.stimuli), neurons.means
    fold_of = folds_of(len(y), folds, seed)
    by_fold = []
    for fold in range(folds):
        train, test = fold_of != fold, fold_of == fold
        predicted = pls_predictions(x[train], y[train], x[test], components)
        by_fold.append(correlation(predicted, y[test]))
    r = _mean_of_defined(np.stack(by_fold))
    defined = np.flatnonzero(np.isfinite(r))
    if not len(defined):
        raise InputError("no unit varies over held-out stimuli, or no feature does: no r to report")
    resampled = np.random.default_rng(seed).choice(defined, (RESAMPLES, len(defined)))
    median, medians = float(np.median(r[defined])), np.median(r[resampled], axis=1)
    ceiling, ceiled, ceiled_interval = None, None, None
    if neurons.consistency is not None:
        known = neurons.consistency[defined]
        ceiling = float(np.median(known[np.isfinite(known)]))
        ceiled = median / ceiling
        of_units = np.where(np.isfinite(neurons.consistency), neurons.consistency, ceiling)
        ceiled_interval = _interval(medians / np.median(of_units[resampled], axis=1))
    per_unit = np.full(len(neurons.units), np.nan)
    per_unit[neurons.units] = r
    return Predictivity(
        per_unit=per_unit,
        median=median,
        interval=_interval(medians),
        ceiling=ceiling,
        ceiled=ceiled,
        ceiled_interval=ceiled_interval,
        n_undefined=len(per_unit) - len(defined),
        neurons=neurons,
    )


def check_settings(stimuli: int, components: int, folds: int, trials: int | None = None) -> None:
    """Check what can be checked before any feature is computed.

    Raises:
        InputError: Components or trials below 1, or folds of fewer than 3 stimuli.
    """
    for name, number in (("components", components), ("trials", trials)):
        if number is not None and number < 1:
            raise InputError(f"{name} must be 1 or more, got {number}")
    if folds < 2 or stimuli // folds < LEAST_HELD_OUT:
        raise InputError(
            f"{stimuli} stimuli in {folds} folds; allowed: at least 2 folds, with at least "
            f"{LEAST_HELD_OUT} stimuli in each"
        )


def pls_predictions(features: Array, responses: Array, new: Array, components: int) -> Array:
    """Fit responses (stimuli, units) to features (stimuli, n); predict them for new features.

    PLS2 (Wold 1975; Wegelin 2000): each component is the direction of the features whose covariance
    with the responses is largest; the features are then cleared of it. That direction is a singular
    vector, which is solved for: scikit-learn's `PLSRegression` iterates towards it, and needs ten
    times as long to come within 1e-7 of these predictions. Only the covariance is cleared, not the
    features (Dayal & MacGregor 1997, J Chemometrics 11:73), so that a component costs two products
    of the features with a vector. Fewer components are used where features or responses are
    exhausted before.
    """
    mean_features, mean_responses = features.mean(axis=0), responses.mean(axis=0)
    x, y, x_new = features - mean_features, responses - mean_responses, new - mean_features
    predicted = np.tile(mean_responses, (len(new), 1))
    covariance, least_power = x.T @ y, EXHAUSTED * (x**2).sum()
    # Of the components so far: directions in the features as given, scores of length 1, loadings
    rotations = np.zeros((components, x.shape[1]))
    scores, loadings = np.zeros((components, len(x))), np.zeros((components, x.shape[1]))
    for done in range(components):
        rotation = _largest_covariance(covariance)
        rotation = rotation - (loadings[:done] @ rotation) @ rotations[:done]
        score = x @ rotation
        again = scores[:done] @ score  # rounding leaves a little of the components before
        score, rotation = score - again @ scores[:done], rotation - again @ rotations[:done]
        power = score @ score
        if power <= least_power:
            break
        length = np.sqrt(power)
        scores[done], rotations[done] = score / length, rotation / length
        loadings[done] = scores[done] @ x
        of_responses = scores[done] @ y
        predicted += np.outer(x_new @ rotations[done], of_responses)
        covariance -= np.outer(loadings[done], of_responses)
    return predicted


def _largest_covariance(covariance: Array) -> Array:
    """Return the direction of the features, of length 1, that covaries most; 0 where none does."""
    is_tall = covariance.shape[0] > covariance.shape[1]
    # The first singular vector, from the smaller of the two squares
    square = covariance.T @ covariance if is_tall else covariance @ covariance.T
    last = len(square) - 1
    vector = eigh(square, subset_by_index=(last, last))[1][:, 0]
    direction: Array = covariance @ vector if is_tall else vector
    length = np.linalg.norm(direction)
    return direction / length if length > 0 else direction


def principal_axes(batches: Sequence[npt.NDArray[np.generic]], rows: Mask | None = None) -> Array:
    """Rotate features into their principal axes, (stimuli, at most stimuli).

    This leaves every prediction of `pls_predictions` as it is, with far fewer features.

    Args:
        batches: (stimuli, n) in parts.
        rows: Which stimuli are used; None: all.
    """
    stimuli, number = sum(map(len, batches)), batches[0].shape[1]
    kept = np.ones(stimuli, bool) if rows is None else rows
    if number <= kept.sum():
        whole: Array = np.concatenate(batches).astype(np.float64)
        return whole[kept]
    products = torch.zeros(int(kept.sum()), int(kept.sum()), dtype=torch.float64)
    chosen = torch.from_numpy(kept)
    for start in range(0, number, BLOCK):
        parts = [torch.as_tensor(each[:, start : start + BLOCK]) for each in batches]
        block = torch.cat(parts)[chosen]
        # Products of single-precision features are summed in single precision within a block only
        block = block if block.dtype == torch.float32 else block.double()
        block -= block.mean(dim=0)
        products += block @ block.T
    variances, axes = eigh(products.numpy())
    rotated: Array = axes * np.sqrt(np.maximum(variances, 0))
    return rotated


def correlation(a: Array, b: Array) -> Array:
    """Return Pearson's r of every column of a with that of b; NaN where one does not vary.

    Stimuli for which either is NaN are left out; r of fewer than 3 stimuli is NaN.
    """
    known = np.isfinite(a) & np.isfinite(b)
    n, scores = known.sum(axis=0), []
    for each in (a, b):
        values = np.where(known, each, 0)
        deviation = np.where(known, values - values.sum(axis=0) / np.maximum(n, 1), 0)
        length = np.linalg.norm(deviation, axis=0)
        varies = (length > 1e-10 * np.linalg.norm(values, axis=0)) & (n >= LEAST_HELD_OUT)
        scores.append(deviation / np.where(varies, length, np.nan))
    r: Array = (scores[0] * scores[1]).sum(axis=0)
    return r


def internal_consistency(responses: Array, *, seed: int = 0) -> Array:
    """Estimate how far the mean over repetitions would agree with that over as many others.

    Pearson's r between the means of two random halves, averaged over splits, and brought from the
    halves' repetitions to all of them by Spearman and Brown's formula. An image with n repetitions
    of a unit has n // 2 in each half; one with a single repetition is in neither. Where images have
    unequal numbers, the variance of the noise in a mean over repetitions is, over images, in
    proportion to the average of 1 / n, and so the formula is

        consistency = k r / (1 + (k - 1) r),    k = average(1 / (n // 2)) / average(1 / n)

    which is Spearman and Brown's where all n are the same. An r of 0 or below stays as it is.

    Args:
        responses: (repetitions, stimuli, units), NaN where there is none.
        seed: Of the halves.

    Returns:
        (units,), 1 at most; NaN where a half never varies, or fewer than 3 images are repeated.

    Raises:
        InputError: Fewer than 2 repetitions.
    """
    if len(responses) < 2:
        raise InputError(
            f"responses have shape {responses.shape}; allowed: at least 2 repetitions, "
            "(repetitions, stimuli, units)"
        )
    here = np.isfinite(responses)
    n = here.sum(axis=0)
    half = n // 2
    generator, agreement = np.random.default_rng(seed), []
    values, size = np.where(here, responses, 0), np.where(half > 0, half, np.nan)
    for _ in range(SPLITS):
        order = generator.permutation(len(responses))
        rank = here[order].cumsum(axis=0)  # among the repetitions of a unit and an image
        drawn, shuffled = here[order] & (rank <= 2 * half), values[order]
        both = (shuffled * drawn).sum(axis=0)
        one = (shuffled * (drawn & (rank <= half))).sum(axis=0)
        agreement.append(correlation(one / size, (both - one) / size))
    r = _mean_of_defined(np.stack(agreement))
    k = _mean_of_defined(1 / size) / (1 / np.where(n > 0, n, np.nan)).mean(axis=0)
    consistency: Array = np.where(r > 0, k * r / (1 + (k - 1) * r), r)
    return consistency


def folds_of(stimuli: int, folds: int, seed: int) -> npt.NDArray[np.int64]:
    """Assign every stimulus to a fold, (stimuli,), at random, in sizes as equal as can be."""
    fold_of = np.empty(stimuli, dtype=np.int64)
    fold_of[np.random.default_rng(seed).permutation(stimuli)] = np.arange(stimuli) % folds
    return fold_of


def _batches(features: npt.ArrayLike | Sequence[Tensor]) -> Sequence[npt.ArrayLike]:
    if isinstance(features, list) and features and isinstance(features[0], Tensor):
        return [each.numpy() for each in features]
    return [features]


def _checked_features(features: npt.ArrayLike) -> npt.NDArray[np.generic]:
    array = np.asarray(features)
    if np.ma.isMaskedArray(features):
        array = as_numbers(features)
    if array.dtype.kind not in "biuf" or array.ndim < 2 or not array.size:
        raise InputError(
            f"features have shape {array.shape} and type {array.dtype}; allowed: numbers of shape "
            "(stimuli, ...), a row for each of the stimuli of the responses"
        )
    flat = array.reshape(len(array), -1)
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
