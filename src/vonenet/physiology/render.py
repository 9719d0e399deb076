"""Draw stimuli on a canvas: from their parameters to pixels in [0, 1], all of one kind at once.

Every pattern is a function of position, computed at the pixels' centres, so that a window of a
canvas holds the same pixels as the whole. Hard edges fall over one pixel, in proportion to how far
each centre is inside, which keeps areas right. Coordinates and angles are those of `stimuli.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vonenet.errors import InputError
from vonenet.physiology.stimuli import (
    Blank,
    Gabor,
    Grating,
    Pattern,
    Plaid,
    SparseNoise,
    Spot,
    Stimulus,
)


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
        if not 0 < self.degrees < math.inf:
            raise InputError(f"degrees must be above 0, got {self.degrees}")
        if self.pixels < 2:
            raise InputError(f"pixels must be 2 or more, got {self.pixels}")
        if self.in_chans not in (1, 3):
            raise InputError(f"in_chans must be 3 (colour) or 1 (grey), got {self.in_chans}")

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

    def coordinates(self, window: Window) -> tuple[Tensor, Tensor]:
        """Return the pixels' centres, degrees: x (1, width) rightwards, y (height, 1) up."""
        columns = torch.arange(window.left, window.left + window.width, dtype=torch.float64)
        rows = torch.arange(window.top, window.top + window.height, dtype=torch.float64)
        x, down = (
            ((index + 0.5 - self.pixels / 2) / self.pixels_per_degree).float()
            for index in (columns, rows)
        )
        return x[None, :], -down[:, None]


def render(stimuli: Sequence[Stimulus], canvas: Canvas, window: Window | None = None) -> Tensor:
    """Draw stimuli.

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
        luminance[places] = mean * (1 + DRAW[kind](of_kind, canvas, window))
    return luminance.clamp_(0, 1)[:, None].expand(-1, canvas.in_chans, -1, -1)


def _draw_blanks(stimuli: Sequence[Blank], canvas: Canvas, window: Window) -> Tensor:
    return torch.zeros(len(stimuli), window.height, window.width)


def _draw_gratings(stimuli: Sequence[Grating], canvas: Canvas, window: Window) -> Tensor:
    x, y = _offsets(stimuli, canvas, window)
    pattern = _sinusoids(stimuli, x, y).mul_(_column(stimuli, "contrast"))
    if all(s.diameter_deg is None and s.inner_diameter_deg == 0 for s in stimuli):
        return pattern
    return pattern.mul_(_rings(stimuli, torch.hypot(x, y), canvas))


def _draw_plaids(stimuli: Sequence[Plaid], canvas: Canvas, window: Window) -> Tensor:
    first = _draw_gratings([stimulus.first for stimulus in stimuli], canvas, window)
    return first + _draw_gratings([stimulus.second for stimulus in stimuli], canvas, window)


def _draw_gabors(stimuli: Sequence[Gabor], canvas: Canvas, window: Window) -> Tensor:
    x, y = _offsets(stimuli, canvas, window)
    angle = torch.deg2rad(_column(stimuli, "orientation_deg"))
    across = x * torch.sin(angle) - y * torch.cos(angle)
    along = x * torch.cos(angle) + y * torch.sin(angle)
    squares = (across / _column(stimuli, "sigma_x_deg")) ** 2
    squares = squares + (along / _column(stimuli, "sigma_y_deg")) ** 2
    return _column(stimuli, "contrast") * torch.exp(-squares / 2) * _sinusoids(stimuli, x, y)


def _draw_spots(stimuli: Sequence[Spot], canvas: Canvas, window: Window) -> Tensor:
    x, y = _offsets(stimuli, canvas, window)
    return _column(stimuli, "contrast") * _rings(stimuli, torch.hypot(x, y), canvas)


def _draw_sparse_noise(stimuli: Sequence[SparseNoise], canvas: Canvas, window: Window) -> Tensor:
    """Draw squares, the middle one at the centre.

    The grid is as large as a canvas seen from any of its points: it is the same for every window.
    """
    patterns = []
    x, y = canvas.coordinates(window)
    for stimulus in stimuli:
        reach = math.ceil(canvas.degrees / stimulus.square_deg) + 1
        draw = np.random.default_rng(stimulus.seed).random((2 * reach + 1, 2 * reach + 1))
        bright, shown = draw < stimulus.density / 2, draw < stimulus.density
        values = torch.from_numpy(np.where(bright, 1.0, np.where(shown, -1.0, 0.0))).float()
        column, row = (
            torch.floor(offset / stimulus.square_deg + 0.5).long().clamp(-reach, reach) + reach
            for offset in (x - stimulus.x_deg, stimulus.y_deg - y)
        )
        patterns.append(stimulus.contrast * values[row, column])
    return torch.stack(patterns)


# Each returns the patterns (n, height, width) of n stimuli of one kind, times their contrast
DRAW: dict[type[Stimulus], Callable[[Sequence[Any], Canvas, Window], Tensor]] = {
    Blank: _draw_blanks,
    Grating: _draw_gratings,
    Plaid: _draw_plaids,
    Gabor: _draw_gabors,
    Spot: _draw_spots,
    SparseNoise: _draw_sparse_noise,
}


def _column(stimuli: Sequence[Stimulus], name: str) -> Tensor:
    """Return one parameter of every stimulus, (n, 1, 1); infinite for an absent diameter."""
    absent = {"diameter_deg": math.inf}.get(name, 0.0)
    values = [getattr(stimulus, name, absent) for stimulus in stimuli]
    filled = [absent if value is None else value for value in values]
    return torch.tensor(filled, dtype=torch.float32)[:, None, None]


def _offsets(stimuli: Sequence[Pattern], canvas: Canvas, window: Window) -> tuple[Tensor, Tensor]:
    """Return positions about each stimulus's centre: x (n, 1, width) and y (n, height, 1)."""
    x, y = canvas.coordinates(window)
    return x - _column(stimuli, "x_deg"), y - _column(stimuli, "y_deg")


def _sinusoids(stimuli: Sequence[Stimulus], x: Tensor, y: Tensor) -> Tensor:
    """Return cos(2 pi frequency u + phase).

    By the addition theorem, from cosines and sines of x and of y alone, which are few.
    """
    angle, phase = (torch.deg2rad(_column(stimuli, f"{n}_deg")) for n in ("orientation", "phase"))
    radians_per_deg = 2 * math.pi * _column(stimuli, "frequency_cpd")
    of_x = radians_per_deg * torch.sin(angle) * x + phase
    of_y = radians_per_deg * torch.cos(angle) * y
    by_y = torch.cat([torch.cos(of_y), torch.sin(of_y)], dim=2)
    return by_y @ torch.cat([torch.cos(of_x), torch.sin(of_x)], dim=1)


def _rings(stimuli: Sequence[Stimulus], distance: Tensor, canvas: Canvas) -> Tensor:
    """Return how much of each pixel is between the inner and the outer diameter, in [0, 1]."""
    pixel_deg = 1 / canvas.pixels_per_degree
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
    straight = _inside(distance, shrunk, torch.clamp_min(edge, pixel_deg))
    if bool(hard.all()):
        return straight
    return torch.where(hard, straight, 0.5 - 0.5 * torch.cos(math.pi * straight))


def _inside(distance: Tensor, limit: Tensor, ramp_deg: Tensor | float) -> Tensor:
    """Return 1 well within a limit, 0 well beyond, falling in a straight line over the ramp."""
    return ((limit - distance) / ramp_deg + 0.5).clamp(0, 1)
