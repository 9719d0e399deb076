"""Stimuli that cross several parameters, and what is read off the responses to them.

Responses have the shape (units, *axes), in the order of the design's axes. Of a drifting grating,
phase is the last axis: its mean over phases is F0, the amplitude at the grating's frequency F1.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vonenet.physiology.recording import Array
from vonenet.physiology.stimuli import Stimulus


@dataclass(frozen=True, eq=False)
class Design:
    """Every combination of some parameters.

    Attributes:
        axes: Values by parameter, in the order of the stimuli: the last one changes fastest.
        stimuli: One for each combination.
    """

    axes: Mapping[str, tuple[float, ...]]
    stimuli: tuple[Stimulus, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of values of each axis."""
        return tuple(len(values) for values in self.axes.values())

    def axis(self, name: str) -> Array:
        """The values of a parameter."""
        return np.asarray(self.axes[name])

    def shaped(self, responses: npt.ArrayLike) -> Array:
        """Responses (stimuli, units) as (units, *axes), in double precision."""
        by_unit = np.asarray(responses, np.float64).T
        return by_unit.reshape(len(by_unit), *self.shape)


def crossed(make: Callable[..., Stimulus], **axes: Iterable[float]) -> Design:
    """A design of `make(name=value, ...)` for every combination of values."""
    values = {name: tuple(map(float, of_axis)) for name, of_axis in axes.items()}
    combinations = itertools.product(*values.values())
    stimuli = (make(**dict(zip(values, each, strict=True))) for each in combinations)
    return Design(values, tuple(stimuli))


def f0(responses: Array) -> Array:
    """Mean over the phases, the last axis."""
    mean: Array = responses.mean(axis=-1)
    return mean


def f1(responses: Array) -> Array:
    """Amplitude of the modulation once per cycle; phases, the last axis, evenly spaced."""
    amplitude: Array = 2 * np.abs(np.fft.rfft(responses, axis=-1)[..., 1]) / responses.shape[-1]
    return amplitude


def larger_component(responses: Array, spontaneous: Array) -> Array:
    """F0 above the spontaneous rate and F1, as a new first axis after the units.

    The one with the larger maximum is what a tuning curve is made of (De Valois et al. 1982,
    Cavanaugh et al. 2002): F1 for simple cells, F0 for complex ones.
    """
    mean = f0(responses)
    above = mean - spontaneous.reshape(-1, *(1,) * (mean.ndim - 1))
    return np.stack([above, f1(responses)], axis=1)


def best_curve(responses: Array, along: int) -> Array:
    """Each unit's responses along one axis, the other axes being where its maximum is.

    Args:
        responses: (units, *axes).
        along: The axis kept, counted as in `responses`; may be negative.

    Returns:
        (units, n).
    """
    last = np.moveaxis(responses, along, -1)
    curves = last.reshape(len(last), -1, last.shape[-1])
    best = curves.max(axis=2).argmax(axis=1)
    chosen: Array = curves[np.arange(len(curves)), best]
    return chosen


def largest(responses: Array) -> Array:
    """Each unit's largest response, (units,)."""
    top: Array = responses.reshape(len(responses), -1).max(axis=1)
    return top
