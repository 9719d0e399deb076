"""From a model's responses to spikes per second, by the protocol of Marques et al. 2021.

Marques, Schrimpf & DiCarlo 2021 (bioRxiv 2021.03.01.433495; science.md 5.2): one affine map for
all units, such that the population's medians are those that Ringach et al. 2002 measured in V1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vonenet.errors import InputError
from vonenet.physiology.recording import Array

# Ringach, Shapley & Hawken 2002, medians and largest rate over units, spikes per second
MEDIAN_SPONTANEOUS = 0.82
MEDIAN_MAXIMUM = 33.8
LARGEST_MAXIMUM = 243.1
# A unit responds if its rate is so much above its spontaneous rate, spikes per second
RESPONSE_THRESHOLD = 5.0


@dataclass(frozen=True)
class RateMap:
    """rate = slope x response + offset, in spikes per second, and not below 0.

    Attributes:
        slope: Spikes per second and unit of response, above 0.
        offset: Spikes per second of a silent unit; may be below 0.
    """

    slope: float
    offset: float

    def __call__(self, responses: npt.ArrayLike) -> Array:
        """Rates, of the shape of the responses, which are rectified first."""
        rectified = np.maximum(np.asarray(responses, np.float64), 0)
        return np.maximum(self.slope * rectified + self.offset, 0)


def fit_rates(maxima: Array, spontaneous: Array) -> RateMap:
    """The map that gives responsive units the medians of V1.

    Args:
        maxima: (units,) largest responses to drifting gratings, rectified, averaged over phases.
        spontaneous: (units,) responses to a blank, rectified.

    Raises:
        InputError: No unit responds.
    """
    evoked = maxima - spontaneous
    responsive = evoked > RESPONSE_THRESHOLD / LARGEST_MAXIMUM * evoked.max(initial=0)
    if not responsive.any():
        raise InputError("no unit responds to any grating more than to a blank: nothing to measure")
    silent, driven = (float(np.median(values[responsive])) for values in (spontaneous, maxima))
    slope = (MEDIAN_MAXIMUM - MEDIAN_SPONTANEOUS) / (driven - silent)
    return RateMap(slope, MEDIAN_SPONTANEOUS - slope * silent)
