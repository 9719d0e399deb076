"""How well a layer predicts recorded neurons: partial least squares, cross-validated.

Brain-Score's neural predictivity (Schrimpf et al. 2018, bioRxiv 407007): from the features of some
stimuli to the responses to them by PLS regression with 25 components, Pearson's r on stimuli that
were held out, the median over units, and the responses' own consistency as the ceiling.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from vonenet.errors import InputError
from vonenet.physiology.neural_data import checked_responses
from vonenet.physiology.pls import Array, correlation, pls_predictions, rotated

COMPONENTS = 25
FOLDS = 10
SPLITS = 100  # of the repetitions into random halves
RESAMPLES = 2000  # of the units
PERCENTILES = (2.5, 97.5)
# Pearson's r of two stimuli is always 1 or -1
LEAST_HELD_OUT = 3


@dataclass(frozen=True, eq=False)
class Predictivity:
    """Cross-validated predictions of recorded responses.

    Attributes:
        per_unit: (units,) Pearson's r on held-out stimuli, mean over folds; NaN for a unit that
            does not vary, or whose prediction does not. Such units are left out below.
        median: over units.
        interval: 95 % interval of the median over resampled units.
        ceiling_per_unit: (units,) internal consistency; NaN where a half of the repetitions does
            not vary; None without repetitions.
        ceiled: median of r over median ceiling, as Brain-Score has it; None without repetitions.
        ceiled_interval: its interval over resampled units.
        n_undefined: units without r.
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
    def explained_variance(self) -> float | None:
        """The square of `ceiled`: what Brain-Score lists."""
        return None if self.ceiled is None else self.ceiled**2

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
    """Predicts recorded responses from a model's features.

    Args:
        features: (stimuli, ...), a layer's responses in the stimuli's order; flattened to vectors.
        responses: (stimuli, units), or (repetitions, stimuli, units), of which the mean is
            predicted.
        components: of the regression; fewer where the features of a fold do not carry as many.
        folds: parts of the stimuli, each held out once.
        strata: (stimuli,) labels that every fold shall hold in the same proportion.
        seed: of the folds, the halves of the repetitions and the resampled units.
        progress: whether to show a bar over the folds.

    Raises:
        InputError: If the numbers of stimuli differ, there are too few for the folds, a value is
            not finite, no unit can be predicted, or repetitions do not agree at all.
    """
    recorded = checked_responses(responses)
    y = recorded if recorded.ndim == 2 else recorded.mean(axis=0)
    x = rotated(_checked_features(features, len(y)))
    if components < 1:
        raise InputError(f"components={components}; allowed: 1 or more")
    fold_of = folds_of(len(y), folds, strata, seed)
    by_fold = []
    for fold in tqdm(range(folds), desc="predict", unit="fold", disable=not progress):
        kept, held_out = fold_of != fold, fold_of == fold
        predicted = pls_predictions(x[kept], y[kept], x[held_out], components)
        by_fold.append(correlation(predicted, y[held_out]))
    per_unit = _mean_of_defined(np.stack(by_fold))
    units = np.flatnonzero(np.isfinite(per_unit))
    if not len(units):
        raise InputError("no unit varies over held-out stimuli, or no feature does: no r to report")
    drawn = np.random.default_rng(seed).choice(units, (RESAMPLES, len(units)))
    median, medians = float(np.median(per_unit[units])), np.median(per_unit[drawn], axis=1)
    consistency, ceiled, ceiled_interval = None, None, None
    if recorded.ndim == 3:
        consistency = internal_consistency(recorded, seed=seed)
        ceiling = _median_ceiling(consistency[units])
        ceiled = median / ceiling
        known = np.where(np.isfinite(consistency), consistency, ceiling)
        ceiled_interval = _interval(medians / np.median(known[drawn], axis=1))
    return Predictivity(
        per_unit=per_unit,
        median=median,
        interval=_interval(medians),
        ceiling_per_unit=consistency,
        ceiled=ceiled,
        ceiled_interval=ceiled_interval,
        n_undefined=len(per_unit) - len(units),
    )


def internal_consistency(responses: npt.ArrayLike, *, splits: int = SPLITS, seed: int = 0) -> Array:
    """How far the mean over repetitions would agree with that over as many others.

    Pearson's r between the means of two random halves, averaged over splits, and brought from a
    half's repetitions to all of them by Spearman and Brown's formula.

    Args:
        responses: (repetitions, stimuli, units), at least 2 repetitions.
        splits: random halves.
        seed: of the halves.

    Returns:
        (units,), 1 at most; NaN where a half never varies.

    Raises:
        InputError: On another shape, or a value that is not finite.
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
    """The fold of every stimulus, (stimuli,): at random, sizes as equal as can be.

    Raises:
        InputError: If a fold would hold fewer than 3 stimuli, or strata have another length.
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
    """Mean over the first axis of what is not NaN; NaN where nothing else is there."""
    defined = np.isfinite(values)
    number = defined.sum(axis=0)
    total = np.where(defined, values, 0.0).sum(axis=0)
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)


def _interval(values: Array) -> tuple[float, float]:
    low, high = np.percentile(values, PERCENTILES)
    return float(low), float(high)
