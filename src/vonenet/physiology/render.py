"""Draws stimuli: from their parameters to pixels in [0, 1], all of one kind at once.

Every pattern is a function of position, computed at the pixels' centres, so that a window of a
canvas holds the same pixels as the whole. Hard edges fall over one pixel, in proportion to how far
each centre is inside, which keeps areas right.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from vonenet.errors import InputError
from vonenet.physiology.canvas import Canvas, Window
from vonenet.physiology.stimuli import (
    Annulus,
    BandNoise,
    Bar,
    Blank,
    Gabor,
    Grating,
    Pattern,
    Plaid,
    SparseNoise,
    Spot,
    Stimulus,
)

# (stimuli of one kind, canvas, window) -> patterns (n, height, width) about 0, times their contrast
Draw: TypeAlias = Callable[[Sequence[Any], Canvas, Window], Tensor]


def render(stimuli: Sequence[Stimulus], canvas: Canvas, window: Window | None = None) -> Tensor:
    """Images of stimuli.

    Args:
        stimuli: B of them, of any kinds.
        canvas: What they are drawn on.
        window: The part of it that is wanted; None: all.

    Returns:
        (B, in_chans, height, width), float32 pixels in [0, 1], the same in every colour channel.

    Raises:
        InputError: A band of noise that holds no frequency of this canvas.
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


def _blanks(stimuli: Sequence[Blank], canvas: Canvas, window: Window) -> Tensor:
    return torch.zeros(len(stimuli), window.height, window.width)


def _gratings(stimuli: Sequence[Grating], canvas: Canvas, window: Window) -> Tensor:
    x, y = _around(stimuli, canvas, window)
    pattern = _sines(stimuli, x, y).mul_(_column(stimuli, "contrast"))
    if all(s.diameter_deg is None and s.inner_diameter_deg == 0 for s in stimuli):
        return pattern
    return pattern.mul_(_ring(stimuli, torch.hypot(x, y), canvas))


def _plaids(stimuli: Sequence[Plaid], canvas: Canvas, window: Window) -> Tensor:
    first = _gratings([stimulus.first for stimulus in stimuli], canvas, window)
    return first + _gratings([stimulus.second for stimulus in stimuli], canvas, window)


def _gabors(stimuli: Sequence[Gabor], canvas: Canvas, window: Window) -> Tensor:
    x, y = _around(stimuli, canvas, window)
    along_carrier, along_bars = _carrier(stimuli, x, y), _bars(stimuli, x, y)
    squares = (along_carrier / _column(stimuli, "sigma_x_deg")) ** 2
    squares = squares + (along_bars / _column(stimuli, "sigma_y_deg")) ** 2
    return _column(stimuli, "contrast") * torch.exp(-squares / 2) * _sines(stimuli, x, y)


def _spots(stimuli: Sequence[Spot], canvas: Canvas, window: Window) -> Tensor:
    x, y = _around(stimuli, canvas, window)
    return _column(stimuli, "contrast") * _ring(stimuli, torch.hypot(x, y), canvas)


def _rectangles(stimuli: Sequence[Bar], canvas: Canvas, window: Window) -> Tensor:
    x, y = _around(stimuli, canvas, window)
    pixel_deg = 1 / canvas.pixels_per_degree
    across = _inside(_carrier(stimuli, x, y).abs(), _column(stimuli, "width_deg") / 2, pixel_deg)
    along = _inside(_bars(stimuli, x, y).abs(), _column(stimuli, "length_deg") / 2, pixel_deg)
    return _column(stimuli, "contrast") * across * along


def _squares(stimuli: Sequence[SparseNoise], canvas: Canvas, window: Window) -> Tensor:
    return torch.stack([_sparse(stimulus, canvas, window) for stimulus in stimuli])


def _sparse(stimulus: SparseNoise, canvas: Canvas, window: Window) -> Tensor:
    """A square's draw is found by its place in the grid, so that the middle one is at the centre.

    The grid is as large as a canvas seen from any of its points: it is the same for every window.
    """
    reach = math.ceil(canvas.degrees / stimulus.square_deg) + 1
    draw = np.random.default_rng(stimulus.seed).random((2 * reach + 1, 2 * reach + 1))
    bright, shown = draw < stimulus.density / 2, draw < stimulus.density
    values = torch.from_numpy(np.where(bright, 1.0, np.where(shown, -1.0, 0.0))).float()
    x, y = canvas.coordinates(window)
    column, row = (
        torch.floor(offset / stimulus.square_deg + 0.5).long().clamp(-reach, reach) + reach
        for offset in (x - stimulus.x_deg, stimulus.y_deg - y)
    )
    return stimulus.contrast * values[row, column]


def _noises(stimuli: Sequence[BandNoise], canvas: Canvas, window: Window) -> Tensor:
    rows = slice(window.top, window.top + window.height)
    columns = slice(window.left, window.left + window.width)
    return torch.stack([_band(stimulus, canvas)[rows, columns] for stimulus in stimuli])


def _band(stimulus: BandNoise, canvas: Canvas) -> Tensor:
    """Random phases and equal amplitudes within the band; the canvas's position does not matter."""
    along_side = np.fft.fftfreq(canvas.pixels, 1 / canvas.pixels_per_degree)
    down, right = np.meshgrid(along_side, along_side, indexing="ij")
    frequency = np.hypot(down, right)
    orientation = np.rad2deg(np.arctan2(right, down))
    distance = np.abs((orientation - stimulus.orientation_deg + 90) % 180 - 90)
    kept = (frequency >= stimulus.low_cpd) & (frequency <= stimulus.high_cpd) & (frequency > 0)
    kept &= distance <= stimulus.half_width_deg
    if not kept.any():
        raise InputError(
            f"no frequency of a canvas of {canvas.pixels} px over {canvas.degrees:g} degrees lies "
            f"within {stimulus}"
        )
    white = np.random.default_rng(stimulus.seed).standard_normal(kept.shape)
    spectrum = np.fft.fft2(white)
    phases = np.where(kept, spectrum / np.abs(spectrum), 0)
    pattern = np.fft.ifft2(phases).real
    return torch.from_numpy(stimulus.contrast * pattern / pattern.std()).float()


DRAW: dict[type[Stimulus], Draw] = {
    Blank: _blanks,
    Grating: _gratings,
    Plaid: _plaids,
    Gabor: _gabors,
    Spot: _spots,
    Annulus: _spots,
    Bar: _rectangles,
    SparseNoise: _squares,
    BandNoise: _noises,
}


def _column(stimuli: Sequence[Stimulus], name: str) -> Tensor:
    """One parameter of every stimulus, (n, 1, 1); an absent diameter is infinite, a hole's 0."""
    absent = {"diameter_deg": math.inf}.get(name, 0.0)
    values = [getattr(stimulus, name, absent) for stimulus in stimuli]
    filled = [absent if value is None else value for value in values]
    return torch.tensor(filled, dtype=torch.float32)[:, None, None]


def _around(stimuli: Sequence[Pattern], canvas: Canvas, window: Window) -> tuple[Tensor, Tensor]:
    """Positions about each stimulus's centre: x (n, 1, width) rightwards, y (n, height, 1) up."""
    x, y = canvas.coordinates(window)
    return x - _column(stimuli, "x_deg"), y - _column(stimuli, "y_deg")


def _sines(stimuli: Sequence[Stimulus], x: Tensor, y: Tensor) -> Tensor:
    """cos(2 pi frequency u + phase), from cosines and sines of x and of y alone, which are few."""
    angle, phase = (torch.deg2rad(_column(stimuli, f"{n}_deg")) for n in ("orientation", "phase"))
    radians_per_deg = 2 * math.pi * _column(stimuli, "frequency_cpd")
    of_x = radians_per_deg * torch.sin(angle) * x + phase
    of_y = radians_per_deg * torch.cos(angle) * y
    by_y = torch.cat([torch.cos(of_y), torch.sin(of_y)], dim=2)
    return by_y @ torch.cat([torch.cos(of_x), torch.sin(of_x)], dim=1)


def _carrier(stimuli: Sequence[Stimulus], x: Tensor, y: Tensor) -> Tensor:
    """Degrees across the bars (`canvas.py`)."""
    angle = torch.deg2rad(_column(stimuli, "orientation_deg"))
    return x * torch.sin(angle) - y * torch.cos(angle)


def _bars(stimuli: Sequence[Stimulus], x: Tensor, y: Tensor) -> Tensor:
    """Degrees along the bars."""
    angle = torch.deg2rad(_column(stimuli, "orientation_deg"))
    return x * torch.cos(angle) + y * torch.sin(angle)


def _ring(stimuli: Sequence[Stimulus], distance: Tensor, canvas: Canvas) -> Tensor:
    """How much of each pixel is inside the outer and outside the inner diameter, in [0, 1]."""
    pixel_deg = 1 / canvas.pixels_per_degree
    edge = _column(stimuli, "edge_deg")
    outer, inner = (_column(stimuli, name) / 2 for name in ("diameter_deg", "inner_diameter_deg"))
    ring = _disc(distance, outer, edge, pixel_deg)
    if not bool((inner > 0).any()):
        return ring
    return ring - torch.where(inner > 0, _disc(distance, inner, edge, pixel_deg), 0.0)


def _disc(distance: Tensor, radius: Tensor, edge: Tensor, pixel_deg: float) -> Tensor:
    """1 inside a radius, 0 outside, over a raised-cosine edge, or over a pixel if that is hard.

    A straight edge of width w about the radius makes the area pi (radius^2 + w^2 / 12).
    """
    hard = edge <= pixel_deg
    shrunk = torch.where(hard, (radius**2 - pixel_deg**2 / 12).clamp_min(0).sqrt(), radius)
    straight = _inside(distance, shrunk, torch.clamp_min(edge, pixel_deg))
    if bool(hard.all()):
        return straight
    return torch.where(hard, straight, 0.5 - 0.5 * torch.cos(math.pi * straight))


def _inside(distance: Tensor, limit: Tensor, ramp_deg: Tensor | float) -> Tensor:
    """1 well within a limit, 0 well beyond, falling in a straight line over the ramp."""
    return ((limit - distance) / ramp_deg + 0.5).clamp(0, 1)
