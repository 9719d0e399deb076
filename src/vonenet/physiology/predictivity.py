"""How well a layer predicts recorded neurons: partial least squares, cross-validated.

Brain-Score's neural predictivity (Schrimpf et al. 2018, bioRxiv 407007): from the features of some
stimuli to the responses to them by PLS regression with 25 components, Pearson's r on stimuli that
were held out, the median over units, and the responses' own consistency as the ceiling.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from scipy.linalg import eigh
from scipy.linalg.blas import dsyrk, ssyrk
from torch import Tensor, nn
from torch.nn import functional as F

from vonenet.data.pixels import eval_mode
from vonenet.data.seeding import device_of, seeded
from vonenet.errors import InputError
from vonenet.physiology.layers import (
    NoisyLayer,
    OnFlatMargin,
    find_layer,
    outputs_of,
    without_noise,
)
from vonenet.physiology.neural_data import checked_responses
from vonenet.physiology.recording import Array, Mask, as_numbers
from vonenet.physiology.rsa import ceiling_of_halves, dissimilarities_of_products

COMPONENTS = 25
FOLDS = 10
SPLITS = 100  # of the repetitions into random halves
RESAMPLES = 2000  # of the units
PERCENTILES = (2.5, 97.5)
# Pearson's r of two stimuli is always 1 or -1
LEAST_HELD_OUT = 3
EXHAUSTED = 1e-12  # share of the features' variance below which there is nothing left to use
BLOCK = 8192  # features whose products are summed at a time
BATCH = 8  # images at once: V1's responses to more would leave the processor's cache
FLOAT_BYTES = 4


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
        rsa_ceiling: As `rsa.ceiling_of_halves` has it; None without repetitions.
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
    rsa_ceiling: float | None


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
    consistency, ceiling, interval, rsa_ceiling = None, None, None, None
    if recorded.ndim == 3:
        consistency = internal_consistency(used, seed=seed)
        ceiling, interval = _ceiling(consistency, seed)
        rsa_ceiling = ceiling_of_halves(random_halves(used, seed))
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
        rsa_ceiling=rsa_ceiling,
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


def before_noise(model: nn.Module, layers: Sequence[str], margin_px: int = 0) -> nn.Module:
    """Return a model without the noise of V1 blocks, as `layers.without_noise` does.

    Args:
        model: Takes pixels in [0, 1].
        layers: Names of the layers to be recorded.
        margin_px: Width of the grey around each image that will be shown: responses of V1 blocks to
            it alone are computed once.

    Raises:
        InputError: No such layer.
    """
    wanted = [find_layer(model, name) for name in layers]

    def mean_of(layer: NoisyLayer) -> Callable[[Tensor], Tensor]:
        assert isinstance(layer, nn.Module)
        is_whole = margin_px == 0 or any(part in wanted for part in list(layer.modules())[1:])
        return layer.mean_response if is_whole else OnFlatMargin(layer.mean_response, margin_px)

    return without_noise(model, mean_of)


def show(
    model: nn.Module,
    layers: Sequence[str],
    images: Iterable[Tensor],
    receive: Callable[[str, Tensor], None],
    *,
    trials: int = 1,
    seed: int = 0,
) -> None:
    """Show images to a model, once for all layers, and hand on what each layer responds.

    Args:
        model: Takes pixels in [0, 1].
        layers: Their names; any layers that return a tensor, spatial or not.
        images: Each (C, H, W) in [0, 1].
        receive: Called with a layer and its float32 features of a batch, (images, features), on
            the CPU. Of maps the channels come last.
        trials: Passes to average over, for a model with noise.
        seed: Of the noise.

    Raises:
        InputError: No such layer, one that is not called or returns no tensor, or a model that does
            not take the images.
    """
    device, remaining = device_of(model), iter(images)
    with eval_mode(model), torch.no_grad(), seeded(seed, device):
        while batch := list(itertools.islice(remaining, BATCH)):
            pixels = torch.stack(batch).to(device)
            sums = outputs_of(model, layers, pixels)
            for _ in range(trials - 1):
                for name, output in outputs_of(model, layers, pixels).items():
                    sums[name] = sums[name] + output
            for name, total in sums.items():
                features = total.float() / trials if trials > 1 else total.float()
                if features.ndim == 4:  # as those of V1 are in memory
                    features = features.permute(0, 2, 3, 1)
                receive(name, features.flatten(start_dim=1).cpu())


class Features:
    """What tells images apart of the features of one layer, taken batch by batch.

    Differences from the first image are kept, of those features alone that differ between images:
    the products of images, and so every prediction, depend on nothing else.
    """

    def __init__(self) -> None:
        self._first: Tensor | None = None
        self._parts: list[Tensor] = []

    def add(self, features: Tensor) -> None:
        """Take the features of further images, (images, n)."""
        if self._first is None:
            self._first = features[0].clone()
            self._same = torch.arange(len(self._first))
            self._columns = self._same[:0]
        rest = features.index_select(1, self._same) - self._first[self._same]
        differs = rest.abs_().amax(dim=0) != 0
        # In the images before, the new ones are 0: their parts end earlier
        self._columns = torch.cat([self._columns, self._same[differs]])
        self._same = self._same[~differs]
        part = features.index_select(1, self._columns)
        self._parts.append(part.sub_(self._first[self._columns]))

    def __len__(self) -> int:
        """Return how many features differ between images."""
        return len(self._columns)

    def axes(self, rows: Tensor, products: Array) -> Array:
        """Return the chosen images in their principal axes, or as they are if that is smaller."""
        if len(self) > int(rows.sum()):
            return rotated(products)
        return _finite(self._block(rows, 0, max(len(self), 1)).double().numpy())

    def products(self, rows: Tensor) -> Array:
        """Return scalar products, (images + 2, images + 2), of which those of parts can be summed.

        They are those of the chosen images about their mean, of the mean image, and of an image of
        ones, which makes sums over the features.

        Raises:
            InputError: A feature is not finite.
        """
        n = int(rows.sum())
        assert self._first is not None
        products = np.zeros((n + 2, n + 2))
        same = self._first[self._same].double()
        products[n:, n:] = [[float(same @ same), 0], [float(same.sum()), len(same)]]
        for start in range(0, len(self), BLOCK):
            block = self._block(rows, start, min(start + BLOCK, len(self)), more=2)
            mean = block[:n].mean(dim=0)
            block[:n] -= mean
            block[n] = mean + self._first[self._columns[start : start + BLOCK]]
            block[n + 1] = 1
            # Of single precision they are summed in single precision within a block only
            syrk = ssyrk if block.dtype == torch.float32 else dsyrk
            products += syrk(1, block.numpy().T, trans=1, lower=1)
        return _finite(np.tril(products) + np.tril(products, -1).T)

    def _block(self, rows: Tensor, start: int, stop: int, more: int = 0) -> Tensor:
        """Return some features of the chosen images, and `more` rows of undefined contents."""
        parts = [part[:, start:stop] for part in self._parts]
        width = stop - start
        whole = [p if p.shape[1] == width else F.pad(p, (0, width - p.shape[1])) for p in parts]
        if not rows.all():
            whole = [torch.cat(whole)[rows]]
        return torch.cat([*whole, parts[0].new_empty(more, width)])


def _finite(values: Array) -> Array:
    if not np.isfinite(values).all():
        raise InputError("features of the layer are not finite, or too large; allowed: numbers")
    return values


def rotated(products: Array) -> Array:
    """Return the principal axes of features whose `Features.products` these are.

    This leaves every prediction of `pls_predictions` as it is, with far fewer features.
    """
    variances, axes = eigh(products[:-2, :-2])
    found: Array = axes * np.sqrt(np.maximum(variances, 0))
    return found


@dataclass(frozen=True)
class Cost:
    """What recording layers will take.

    Attributes:
        features: Of all layers, those that differ between images.
        gigabytes: Of memory, for the features of one pass.
        passes: Through the images, each for its share of the features.
        seconds: Of all passes and of the regression.
    """

    features: int
    gigabytes: float
    passes: int
    seconds: float


def expected_cost(
    model: nn.Module,
    layers: Sequence[str],
    images: Callable[[], Iterable[Tensor]],
    stimuli: int,
    most_gigabytes: float,
    **options: Any,
) -> Cost:
    """Measure on the first batch of images, shown twice, what all of them will take.

    Raises:
        InputError: As in `show`.
    """
    start = time.perf_counter()
    batch = list(itertools.islice(images(), BATCH))
    read = time.perf_counter() - start
    for _ in range(2):  # the first time prepares what the others use
        kept = {name: Features() for name in layers}
        start = time.perf_counter()
        show(model, layers, batch, partial(_take, kept, slice(None)), **options)
        shown = time.perf_counter() - start
    features = sum(map(len, kept.values()))
    block = torch.rand(stimuli, BLOCK).numpy()
    start = time.perf_counter()
    ssyrk(1, block.T, trans=1, lower=1)
    regression = (time.perf_counter() - start) * features / BLOCK
    gigabytes = features * stimuli * FLOAT_BYTES / 1e9
    passes = math.ceil(gigabytes / most_gigabytes)
    seconds = passes * (read + shown) / len(batch) * stimuli + regression
    return Cost(features, gigabytes / passes, passes, seconds)


class LayerResponses(NamedTuple):
    """What is kept of a layer's responses to images.

    Attributes:
        axes: (images used, axes), for `predictivity_of`.
        dissimilarities: (images used, images used), for `rsa.similarities_of`.
    """

    axes: Array
    dissimilarities: Array


def layer_responses(
    model: nn.Module,
    layers: Sequence[str],
    images: Callable[[], Iterable[Tensor]],
    stimuli: Mask,
    *,
    passes: int = 1,
    **options: Any,
) -> dict[str, LayerResponses]:
    """Record layers' responses to images: their principal axes and dissimilarities, by layer.

    Args:
        model: As in `show`.
        layers: As in `show`.
        images: Gives all images, in their order, for each pass anew.
        stimuli: (images,) which of them are used.
        passes: Each takes its share of the features, which it keeps in memory.
        **options: Of `show`.
    """
    rows, axes = torch.from_numpy(stimuli), {}
    products: dict[str, Array] = {}
    for part in range(passes):
        kept = {name: Features() for name in layers}
        take = partial(_take, kept, slice(part, None, passes))
        show(model, layers, images(), take, **options)
        for name in layers:
            features = kept.pop(name)
            products[name] = products.get(name, 0) + features.products(rows)
            if passes == 1:
                axes[name] = features.axes(rows, products[name])
    return {
        name: LayerResponses(
            axes[name] if passes == 1 else rotated(sums), dissimilarities_of_products(sums)
        )
        for name, sums in products.items()
    }


def _take(kept: Mapping[str, Features], share: slice, name: str, features: Tensor) -> None:
    kept[name].add(features[:, share])


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
        features: (stimuli, ...), a layer's responses in the stimuli's order, flattened to vectors.
        responses: (stimuli, units), or (repetitions, stimuli, units), of which the mean is
            predicted, NaN or masked where there is none.
        components: Of the regression; fewer where the features of a fold do not carry as many.
        folds: Parts of the stimuli, each held out once.
        seed: Of the folds, the halves of the repetitions and the resampled units.

    Raises:
        InputError: The numbers of stimuli differ, there are too few for the folds, a feature is
            not finite, or as in `usable_neurons`.
    """
    neurons = usable_neurons(responses, seed=seed)
    checked, stimuli = _checked_features(features), len(neurons.stimuli)
    if len(checked) != stimuli:
        raise InputError(
            f"features have shape {checked.shape}; allowed: ({stimuli}, ...), a row for each of "
            "the stimuli of the responses"
        )
    axes = principal_axes(checked, neurons.stimuli)
    return predictivity_of(axes, neurons, components=components, folds=folds, seed=seed)


def principal_axes(features: npt.NDArray[np.generic], stimuli: Mask) -> Array:
    """Rotate features (stimuli, n) of the chosen stimuli into their principal axes."""
    kept = Features()
    for batch in torch.split(torch.from_numpy(features), BATCH):
        kept.add(batch if batch.dtype == torch.float32 else batch.double())
    rows = torch.from_numpy(stimuli)
    return kept.axes(rows, kept.products(rows))


def predictivity_of(
    x: Array,
    neurons: Neurons,
    *,
    components: int = COMPONENTS,
    folds: int = FOLDS,
    seed: int = 0,
) -> Predictivity:
    """Predict neurons from features of the stimuli used, (stimuli used, n), as `predictivity`."""
    y = neurons.means
    check_settings(len(y), components, folds)
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
    n = np.isfinite(responses).sum(axis=0)
    agreement = [correlation(one, other) for one, other in random_halves(responses, seed)]
    r = _mean_of_defined(np.stack(agreement))
    size = np.where(n > 1, n // 2, np.nan)
    k = _mean_of_defined(1 / size) / (1 / np.where(n > 0, n, np.nan)).mean(axis=0)
    consistency: Array = np.where(r > 0, k * r / (1 + (k - 1) * r), r)
    return consistency


def random_halves(responses: Array, seed: int) -> Iterator[tuple[Array, Array]]:
    """Split repetitions at random; return means over each half, as `internal_consistency` says."""
    here = np.isfinite(responses)
    half = here.sum(axis=0) // 2
    values, size = np.where(here, responses, 0), np.where(half > 0, half, np.nan)
    generator = np.random.default_rng(seed)
    for _ in range(SPLITS):
        order = generator.permutation(len(responses))
        rank = here[order].cumsum(axis=0)  # among the repetitions of a unit and an image
        drawn, shuffled = here[order] & (rank <= 2 * half), values[order]
        both = (shuffled * drawn).sum(axis=0)
        one = (shuffled * (drawn & (rank <= half))).sum(axis=0)
        yield one / size, (both - one) / size


def folds_of(stimuli: int, folds: int, seed: int) -> npt.NDArray[np.int64]:
    """Assign every stimulus to a fold, (stimuli,), at random, in sizes as equal as can be."""
    fold_of = np.empty(stimuli, dtype=np.int64)
    fold_of[np.random.default_rng(seed).permutation(stimuli)] = np.arange(stimuli) % folds
    return fold_of


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
