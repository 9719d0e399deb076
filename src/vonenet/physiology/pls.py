"""Partial least squares: linear prediction from few directions of many features.

PLS2 by NIPALS (Wold 1975; Wegelin 2000): each component is the direction of the features whose
covariance with the responses is largest; the features are then cleared of it, and the next sought.
"""

import numpy as np
import numpy.typing as npt
from scipy.linalg import eigh

Array = npt.NDArray[np.float64]

EXHAUSTED = 1e-12  # share of the features' variance below which there is nothing left to use
BLOCK = 16_384  # features held in double precision at a time


def pls_predictions(features: Array, responses: Array, new: Array, components: int) -> Array:
    """Fits responses to features, predicts them for new features.

    Args:
        features: (stimuli, features).
        responses: (stimuli, units).
        new: (other stimuli, features).
        components: at least 1; fewer are used where features or responses are exhausted before.

    Returns:
        (other stimuli, units).
    """
    mean, answer = features.mean(axis=0), responses.mean(axis=0)
    left, wanted, arriving = features - mean, responses - answer, new - mean
    predicted = np.tile(answer, (len(new), 1))
    least = EXHAUSTED * (left**2).sum()
    for _ in range(components):
        direction = _largest_covariance(left, wanted)
        scores, new_scores = left @ direction, arriving @ direction
        power = scores @ scores
        if power <= least:
            break
        predicted += np.outer(new_scores, wanted.T @ scores / power)
        loadings = left.T @ scores / power
        left = left - np.outer(scores, loadings)
        arriving = arriving - np.outer(new_scores, loadings)
    return predicted


def rotated(features: npt.NDArray[np.generic]) -> Array:
    """Features in the axes of their own principal components: no more of them than stimuli.

    A rotation and a shift, which leave every prediction of `pls_predictions` as it is.

    Args:
        features: (stimuli, features), real numbers of any precision.

    Returns:
        (stimuli, at most as many).
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
    rotated_features: Array = axes * np.sqrt(np.maximum(variances, 0))
    return rotated_features


def correlation(a: Array, b: Array) -> Array:
    """Pearson's r of every column of a with that of b; NaN where one does not vary."""
    lengths = np.ones(a.shape[1])
    centred = []
    for each in (a, b):
        deviation = each - each.mean(axis=0)
        length = np.linalg.norm(deviation, axis=0)
        varies = length > 1e-10 * np.linalg.norm(each, axis=0)
        lengths = lengths * np.where(varies, length, np.nan)
        centred.append(deviation)
    r: Array = (centred[0] * centred[1]).sum(axis=0) / lengths
    return r


def _largest_covariance(features: Array, responses: Array) -> Array:
    """The direction of the features, of length 1, that covaries most; 0 where none does."""
    covariance = features.T @ responses
    tall = covariance.shape[0] > covariance.shape[1]
    # The first singular vector, from the smaller of the two squares
    square = covariance.T @ covariance if tall else covariance @ covariance.T
    last = len(square) - 1
    vector = eigh(square, subset_by_index=(last, last))[1][:, 0]
    direction: Array = covariance @ vector if tall else vector
    length = np.linalg.norm(direction)
    return direction / length if length > 0 else direction
