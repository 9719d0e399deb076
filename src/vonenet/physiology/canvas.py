"""Where stimuli are drawn: an image of so many pixels that spans so many degrees of visual angle.

Conventions of the whole room, stated here and nowhere else:

- Positions are degrees from the centre of the image, x to the right, y up. The centre of an image
  with an even number of pixels lies between two of them.
- An orientation is that of the bars, counter-clockwise from horizontal, in [0, 180): 0 is a
  horizontal bar, 90 a vertical one. The V1 room's `GaborParameters.orientation_deg` is the same
  angle: its x runs down the rows, so a filter of 0 degrees has a carrier that changes from row to
  row, and horizontal bars.
- A pattern changes along its carrier coordinate, at right angles to the bars:
  u = x sin(orientation) - y cos(orientation), downwards for horizontal bars and rightwards for
  vertical ones. A grating is cos(2 pi frequency u + phase), as is a V1 filter's carrier.
- Contrast c makes a luminance L (1 + c pattern) around the mean luminance L; 1 is a pixel's white.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor

from vonenet.errors import InputError


@dataclass(frozen=True)
class Window:
    """A rectangle of a canvas, pixels; rows count downwards."""

    top: int
    left: int
    height: int
    width: int


@dataclass(frozen=True)
class Canvas:
    """A square image.

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
        if not 0 < self.degrees < inf:
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
        """Positions of the pixels' centres, degrees: x (1, width) rightwards, y (height, 1) up."""
        columns = torch.arange(window.left, window.left + window.width, dtype=torch.float64)
        rows = torch.arange(window.top, window.top + window.height, dtype=torch.float64)
        x, down = (
            ((index + 0.5 - self.pixels / 2) / self.pixels_per_degree).float()
            for index in (columns, rows)
        )
        return x[None, :], -down[:, None]
