"""Stimuli as physiologists describe them, and designs that cross their parameters.

Conventions of the whole package:

- Positions are degrees of visual angle from the centre of the image, x to the right, y up. The
  centre of an image with an even number of pixels lies between two of them.
- An orientation is that of the bars, counter-clockwise from horizontal, in [0, 180): 0 is a
  horizontal bar, 90 a vertical one. It is the same angle as `GaborParameters.orientation_deg` of
  `vonenet.v1`.
- A pattern changes along its carrier coordinate, at right angles to the bars:
  u = x sin(orientation) - y cos(orientation), downwards for horizontal bars and rightwards for
  vertical ones. A grating is cos(2 pi frequency u + phase), as is a V1 filter's carrier.
- Contrast c makes a luminance L (1 + c pattern) around the mean luminance L; 1 is a pixel's white.
- A drifting grating is a series of still ones at evenly spaced phases: the models have no time.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from vonenet.errors import InputError
from vonenet.physiology.recording import Array


@dataclass(frozen=True, kw_only=True)
class Stimulus:
    """Anything that can be shown.

    Attributes:
        mean_luminance: Luminance of the background and mean of a grating, in (0, 1).
    """

    mean_luminance: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.mean_luminance < 1:
            raise InputError(f"mean_luminance must be in (0, 1), got {self.mean_luminance}")


@dataclass(frozen=True, kw_only=True)
class Blank(Stimulus):
    """Nothing but the background."""


@dataclass(frozen=True, kw_only=True)
class Pattern(Stimulus):
    """A pattern on the background.

    Attributes:
        contrast: Largest distance from the mean luminance, as a share of it, in [0, 1]. Spots
            are darker than the background where it is below 0.
        x_deg: Centre, degrees to the right of the image's.
        y_deg: Centre, degrees above the image's.
    """

    contrast: float = 1.0
    x_deg: float = 0.0
    y_deg: float = 0.0
    lowest_contrast: ClassVar[float] = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.lowest_contrast <= self.contrast <= 1:
            raise InputError(
                f"contrast must be in [{self.lowest_contrast:g}, 1], got {self.contrast}"
            )
        _check_luminance(self.mean_luminance, self.contrast)


@dataclass(frozen=True, kw_only=True)
class Grating(Pattern):
    """A sine grating in an aperture, or without one.

    Attributes:
        orientation_deg: Of the bars, degrees.
        frequency_cpd: Cycles per degree, above 0.
        phase_deg: At the stimulus's centre; 0 is a bright bar there.
        diameter_deg: Of the aperture; None: the whole image.
        inner_diameter_deg: Of a hole in it, for an annulus of grating.
        edge_deg: Width of the aperture's raised-cosine edge, half of it on either side of the
            diameter; 0 is a hard edge.
    """

    orientation_deg: float
    frequency_cpd: float
    phase_deg: float = 0.0
    diameter_deg: float | None = None
    inner_diameter_deg: float = 0.0
    edge_deg: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_positive(self, "frequency_cpd")
        _check_aperture(self, self.diameter_deg)


@dataclass(frozen=True, kw_only=True)
class Plaid(Stimulus):
    """The sum of two gratings, each with its own contrast.

    Attributes:
        first: One grating.
        second: The other. Both have the plaid's mean luminance.
    """

    first: Grating
    second: Grating

    def __post_init__(self) -> None:
        super().__post_init__()
        luminances = {self.mean_luminance, self.first.mean_luminance, self.second.mean_luminance}
        if len(luminances) != 1:
            raise InputError(f"a plaid has one mean_luminance, got {sorted(luminances)}")
        _check_luminance(self.mean_luminance, self.first.contrast + self.second.contrast)


@dataclass(frozen=True, kw_only=True)
class Gabor(Pattern):
    """A grating under a Gaussian envelope.

    Attributes:
        orientation_deg: Of the bars, degrees.
        frequency_cpd: Cycles per degree, above 0.
        phase_deg: At the centre.
        sigma_x_deg: Envelope's standard deviation along the carrier, at right angles to the bars.
        sigma_y_deg: Envelope's standard deviation along the bars.
    """

    orientation_deg: float
    frequency_cpd: float
    phase_deg: float = 0.0
    sigma_x_deg: float
    sigma_y_deg: float

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_positive(self, "frequency_cpd", "sigma_x_deg", "sigma_y_deg")


@dataclass(frozen=True, kw_only=True)
class Spot(Pattern):
    """A uniform disc, or a ring.

    Attributes:
        diameter_deg: Above 0.
        inner_diameter_deg: Of the hole of a ring; 0 is a disc.
        edge_deg: Width of its raised-cosine edge; 0 is a hard edge.
    """

    diameter_deg: float
    inner_diameter_deg: float = 0.0
    edge_deg: float = 0.0
    lowest_contrast: ClassVar[float] = -1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_aperture(self, self.diameter_deg)


@dataclass(frozen=True, kw_only=True)
class SparseNoise(Pattern):
    """Bright and dark squares scattered on the background, on a grid around the centre.

    Attributes:
        square_deg: Side of the squares.
        density: Share of squares that are bright or dark, in (0, 1]; half of them are bright.
        seed: Of the draw; 0 is a seed.
    """

    square_deg: float
    density: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_positive(self, "square_deg")
        if not 0 < self.density <= 1:
            raise InputError(f"density must be in (0, 1], got {self.density}")


@dataclass(frozen=True, eq=False)
class Design:
    """Every combination of some parameters, and a stimulus for each.

    Attributes:
        axes: Values by parameter. The last one changes fastest.
        stimuli: One for each combination.
    """

    axes: Mapping[str, tuple[float, ...]]
    stimuli: tuple[Stimulus, ...]

    def axis(self, name: str) -> Array:
        """Return the values of a parameter."""
        return np.asarray(self.axes[name])

    def by_unit(self, responses: npt.ArrayLike) -> Array:
        """Reshape responses (stimuli, units) to (units, *axes), in double precision."""
        array = np.asarray(responses, np.float64).T
        return array.reshape(len(array), *map(len, self.axes.values()))


def crossed(make: Callable[..., Stimulus], **axes: Iterable[float]) -> Design:
    """Make a design of `make(name=value, ...)` for every combination of the axes' values."""
    values = {name: tuple(map(float, axis)) for name, axis in axes.items()}
    combinations = itertools.product(*values.values())
    stimuli = (make(**dict(zip(values, each, strict=True))) for each in combinations)
    return Design(values, tuple(stimuli))


def evenly_spaced(n: int, period_deg: float) -> tuple[float, ...]:
    """Return `n` angles from 0 up to, and without, a period, degrees."""
    return tuple(period_deg * i / n for i in range(n))


def _check_luminance(mean: float, contrast: float) -> None:
    """Raise InputError where a pattern would be brighter than white."""
    if mean * (1 + contrast) > 1 + 1e-9:
        raise InputError(
            f"mean_luminance={mean} with a contrast of {contrast:g} is brighter than white; "
            f"the highest contrast there is {1 / mean - 1:.3g}"
        )


def _check_positive(stimulus: Stimulus, *names: str) -> None:
    for name in names:
        if not getattr(stimulus, name) > 0:
            raise InputError(f"{name} must be above 0, got {getattr(stimulus, name)}")


def _check_aperture(stimulus: Grating | Spot, diameter_deg: float | None) -> None:
    for name in ("inner_diameter_deg", "edge_deg"):
        if not getattr(stimulus, name) >= 0:
            raise InputError(f"{name} must be 0 or more, got {getattr(stimulus, name)}")
    if diameter_deg is not None and not diameter_deg > stimulus.inner_diameter_deg:
        raise InputError(
            f"diameter_deg must be above inner_diameter_deg={stimulus.inner_diameter_deg}, "
            f"got {diameter_deg}"
        )
