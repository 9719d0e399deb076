"""How far an accuracy can be trusted: images are drawn, and so is the noise of a model.

With c[j, i] = 1 where repeat j decides image i correctly, accuracy is the mean of all c. By the law
of total variance its variance is

    var = V_images / n + V_repeats / m + V_rest / (n m)

with V_images the variance between images' chances of being right, V_repeats what all images of a
repeat share (zero if noise is drawn for each image by itself), and V_rest a decision's own noise.
The mean squares of a two-way layout (images x repeats, one decision per cell) estimate it without
the components: var = (MS_images + MS_repeats - MS_rest) / (n m).
"""

from __future__ import annotations

from math import sqrt
from statistics import NormalDist

from torch import Tensor

from vonenet.errors import InputError


def noisy_accuracy_interval(
    correct_by_draw: Tensor, confidence: float = 0.95
) -> tuple[float, float]:
    """Compute the confidence interval of a stochastic model's accuracy, over images and noise.

    Wilson's interval at the effective sample size a (1 - a) / var, with `var` as above: the number
    of independent decisions that would be as uncertain. With one repeat it is Wilson's interval
    over images. With more it is narrower, as far as repeats bring news: to the spread of images.

    Args:
        correct_by_draw: (m, n), whether repeat j decided image i correctly; each repeat a whole
            decision, averaged over noise draws or not, on the same images.
        confidence: Chance that the interval holds the accuracy on all images and all noise.

    Returns:
        Its lower and upper end.

    Raises:
        InputError: On another shape, no decision, or an impossible confidence.
    """
    if correct_by_draw.ndim != 2 or not correct_by_draw.numel():
        shape = tuple(correct_by_draw.shape)
        raise InputError(f"correct_by_draw has shape {shape}; allowed: (repeats, images)")
    if not 0 < confidence < 1:
        raise InputError(f"confidence={confidence} is not a chance; allowed: between 0 and 1")
    correct = correct_by_draw.double()
    accuracy = float(correct.mean())
    variance = accuracy_variance(correct)
    most, least = correct.numel(), correct.shape[1]
    if variance == 0 or accuracy in (0, 1):
        # No spread was seen at all; the images alone still limit what is known.
        effective = float(least)
    else:
        effective = min(accuracy * (1 - accuracy) / variance, float(most))
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    centre = (accuracy + z**2 / (2 * effective)) / (1 + z**2 / effective)
    spread = accuracy * (1 - accuracy) / effective + z**2 / (4 * effective**2)
    half = z * sqrt(spread) / (1 + z**2 / effective)
    return (
        0.0 if accuracy == 0 else max(0.0, centre - half),
        1.0 if accuracy == 1 else min(1.0, centre + half),
    )


def accuracy_variance(correct: Tensor) -> float:
    """Compute the variance of the mean of (m, n) decisions, by a two-way layout's mean squares."""
    repeats, images = correct.shape
    by_image, by_repeat = correct.mean(dim=0), correct.mean(dim=1)
    total = correct.mean()
    between_images = float((by_image - total).square().mean()) / images
    if repeats == 1:
        return between_images
    ms_repeats = images * float(by_repeat.var())
    rest = correct - by_image - by_repeat[:, None] + total
    ms_rest = float(rest.square().sum()) / max(1, (repeats - 1) * (images - 1))
    return between_images + max(0.0, ms_repeats - ms_rest) / (images * repeats)
