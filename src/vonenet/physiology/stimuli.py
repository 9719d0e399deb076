"""Stimuli as physiologists describe them, designs that cross their parameters, and their pixels.

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

Every pattern is a function of position, computed at the pixels' centres, so that a window of a
canvas holds the same pixels as the whole. Hard edges fall over one pixel, in proportion to how far
each centre is inside, which keeps areas right.
"""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vonenet.errors import InputError
from vonenet.physiology.recording import Array


@dataclass(frozen=True)
class Window:
    """A rectangle of a canvas, pixels; rows count downwards."""

    top: int
    left: int
    height: int
    width: int


@dataclass(frozen=True)
class Canvas:
    """A square image of so many pixels that spans so many degrees of visual angle.

    Attributes:
        degrees: Visual angle of its side, above 0.
        pixels: Its side, 2 or more.
        in_chans: 3 for colour images, 1 for grey ones.

    Raises:
        InputError: A value out of range.
    """

    degrees: float
    pixels: int
    in_chans: int = 3

    def __post_init__(self) -> None:
        _check(self, "degrees", 0 < self.degrees < math.inf, "above 0")
        _check(self, "pixels", self.pixels >= 2, "2 or more")
        _check(self, "in_chans", self.in_chans in (1, 3), "3 (colour) or 1 (grey)")

    @property
    def pixels_per_degree(self) -> float:
        """Pixels in one degree of visual angle."""
        return self.pixels / self.degrees

    @property
    def nyquist_cpd(self) -> float:
        """Highest spatial frequency that the pixels carry, cycles per degree."""
        return self.pixels_per_degree / 2

    @property
    def whole(self) -> Window:
        """The window that is all of the canvas."""
        return Window(0, 0, self.pixels, self.pixels)

    def below_nyquist(self, frequencies_cpd: Iterable[float]) -> tuple[float, ...]:
        """Return those spatial frequencies that the pixels carry."""
        return tuple(float(each) for each in frequencies_cpd if each < self.nyquist_cpd)

    def coordinates(self, window: Window) -> tuple[Tensor, Tensor]:
        """Return the pixels' centres, degrees: x (1, width) rightwards, y (height, 1) up."""
        columns = torch.arange(window.left, window.left + window.width, dtype=torch.float64)
        rows = torch.arange(window.top, window.top + window.height, dtype=torch.float64)
        x, down = (
            ((index + 0.5 - self.pixels / 2) / self.pixels_per_degree).float()
            for index in (columns, rows)
        )
        return x[None, :], -down[:, None]


@dataclass(frozen=True, kw_only=True)
class Stimulus(ABC):
    """Anything that can be shown.

    Attributes:
        mean_luminance: Luminance of the background and mean of a grating, in (0, 1).
    """

    mean_luminance: float = 0.5

    def __post_init__(self) -> None:
        _check(self, "mean_luminance", 0 < self.mean_luminance < 1, "in (0, 1)")

    @staticmethod
    @abstractmethod
    def draw(stimuli: Sequence[Any], canvas: Canvas, window: Window) -> Tensor:
        """Return patterns times contrast, float32 (n, height, width), of n such stimuli."""


@dataclass(frozen=True, kw_only=True)
class Blank(Stimulus):
    """Nothing but the background."""

    @staticmethod
    def draw(stimuli: Sequence[Blank], canvas: Canvas, window: Window) -> Tensor:
        """Return zeros."""
        return torch.zeros(len(stimuli), window.height, window.width)


@dataclass(frozen=True, kw_only=True)
class Grating(Stimulus):
    """A sine grating in an aperture, or without one.

    Attributes:
        contrast: Largest distance from the mean luminance, as a share of it, in [0, 1].
        x_deg: Centre, degrees to the right of the image's.
        y_deg: Centre, degrees above the image's.
        orientation_deg: Of the bars, degrees.
        frequency_cpd: Cycles per degree, above 0.
        phase_deg: At the stimulus's centre; 0 is a bright bar there.
        diameter_deg: Of the aperture; None: the whole image.
        inner_diameter_deg: Of a hole in it, for an annulus of grating.
        edge_deg: Width of the aperture's raised-cosine edge, half of it on either side of the
            diameter; 0 is a hard edge.
    """

    contrast: float = 1.0
    x_deg: float = 0.0
    y_deg: float = 0.0
    orientation_deg: float
    frequency_cpd: float
    phase_deg: float = 0.0
    diameter_deg: float | None = None
    inner_diameter_deg: float = 0.0
    edge_deg: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self, "contrast", 0 <= self.contrast <= 1, "in [0, 1]")
        _check_brightest(self.mean_luminance, self.contrast)
        _check(self, "frequency_cpd", self.frequency_cpd > 0, "above 0")
        _check(self, "edge_deg", self.edge_deg >= 0, "0 or more")
        inner = self.inner_diameter_deg
        _check(self, "inner_diameter_deg", inner >= 0, "0 or more")
        is_open = self.diameter_deg is None or self.diameter_deg > inner
        _check(self, "diameter_deg", is_open, f"above inner_diameter_deg={inner}")

    @staticmethod
    def draw(stimuli: Sequence[Grating], canvas: Canvas, window: Window) -> Tensor:
        """Return gratings in their apertures."""
        x, y = canvas.coordinates(window)
        x, y = x - _column(stimuli, "x_deg"), y - _column(stimuli, "y_deg")
        pattern = _sinusoids(stimuli, x, y).mul_(_column(stimuli, "contrast"))
        if all(s.diameter_deg is None and s.inner_diameter_deg == 0 for s in stimuli):
            return pattern
        return pattern.mul_(_rings(stimuli, torch.hypot(x, y), 1 / canvas.pixels_per_degree))


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
        _check_brightest(self.mean_luminance, self.first.contrast + self.second.contrast)

    @staticmethod
    def draw(stimuli: Sequence[Plaid], canvas: Canvas, window: Window) -> Tensor:
        """Return the sums."""
        first = Grating.draw([stimulus.first for stimulus in stimuli], canvas, window)
        return first + Grating.draw([stimulus.second for stimulus in stimuli], canvas, window)


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


def render(stimuli: Sequence[Stimulus], canvas: Canvas, window: Window | None = None) -> Tensor:
    """Draw stimuli, all of one kind at once.

    Args:
        stimuli: B of them, of any kinds.
        canvas: What they are drawn on.
        window: The part of it that is wanted; None: all.

    Returns:
        (B, in_chans, height, width), float32 pixels in [0, 1], the same in every colour channel.
    """
    window = window or canvas.whole
    luminance = torch.empty(len(stimuli), window.height, window.width)
    kinds = [type(stimulus) for stimulus in stimuli]
    for kind in dict.fromkeys(kinds):
        places = [i for i, other in enumerate(kinds) if other is kind]
        of_kind = [stimuli[i] for i in places]
        mean = _column(of_kind, "mean_luminance")
        luminance[places] = mean * (1 + kind.draw(of_kind, canvas, window))
    return luminance.clamp_(0, 1)[:, None].expand(-1, canvas.in_chans, -1, -1)


def _column(stimuli: Sequence[Stimulus], name: str) -> Tensor:
    """Return one parameter of every stimulus, (n, 1, 1); infinite for an absent diameter."""
    values = [getattr(stimulus, name) for stimulus in stimuli]
    filled = [math.inf if value is None else value for value in values]
    return torch.tensor(filled, dtype=torch.float32)[:, None, None]


def _sinusoids(stimuli: Sequence[Grating], x: Tensor, y: Tensor) -> Tensor:
    """Return cos(2 pi frequency u + phase).

    By the addition theorem, from cosines and sines of x and of y alone, which are few.
    """
    angle, phase = (torch.deg2rad(_column(stimuli, f"{n}_deg")) for n in ("orientation", "phase"))
    radians_per_deg = 2 * math.pi * _column(stimuli, "frequency_cpd")
    of_x = radians_per_deg * torch.sin(angle) * x + phase
    of_y = radians_per_deg * torch.cos(angle) * y
    by_y = torch.cat([torch.cos(of_y), torch.sin(of_y)], dim=2)
    return by_y @ torch.cat([torch.cos(of_x), torch.sin(of_x)], dim=1)


def _rings(stimuli: Sequence[Grating], distance: Tensor, pixel_deg: float) -> Tensor:
    """Return how much of each pixel is between the inner and the outer diameter, in [0, 1]."""
    edge = _column(stimuli, "edge_deg")
    outer, inner = (_column(stimuli, name) / 2 for name in ("diameter_deg", "inner_diameter_deg"))
    ring = _discs(distance, outer, edge, pixel_deg)
    if not bool((inner > 0).any()):
        return ring
    return ring - torch.where(inner > 0, _discs(distance, inner, edge, pixel_deg), 0.0)


def _discs(distance: Tensor, radius: Tensor, edge: Tensor, pixel_deg: float) -> Tensor:
    """Return 1 inside a radius, 0 outside; the edge is a raised cosine, or one pixel if hard.

    A straight edge of width w about the radius makes the area pi (radius^2 + w^2 / 12).
    """
    hard = edge <= pixel_deg
    shrunk = torch.where(hard, (radius**2 - pixel_deg**2 / 12).clamp_min(0).sqrt(), radius)
    straight = ((shrunk - distance) / edge.clamp_min(pixel_deg) + 0.5).clamp(0, 1)
    if bool(hard.all()):
        return straight
    return torch.where(hard, straight, 0.5 - 0.5 * torch.cos(math.pi * straight))


def _check(checked: object, name: str, is_allowed: bool, allowed: str) -> None:
    """Raise InputError where an attribute has a value that is not allowed."""
    if not is_allowed:
        raise InputError(f"{name} must be {allowed}, got {getattr(checked, name)}")


def _check_brightest(mean: float, contrast: float) -> None:
    """Raise InputError where a pattern would be brighter than white."""
    if mean * (1 + contrast) > 1 + 1e-9:
        raise InputError(
            f"mean_luminance={mean} with a contrast of {contrast:g} is brighter than white; "
            f"the highest contrast there is {1 / mean - 1:.3g}"
        )
