"""Numbers and images of users: made plain ones, or refused in one line with what is allowed."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

from torch import Tensor

from vonenet.errors import InputError

# The largest whole number that is not a seed: every library here counts this far.
MOST = 2**31 - 1
# What NumPy's legacy generator takes.
LARGEST_SEED = 2**32 - 1


def plain(value: Any) -> Any:
    """Return the Python number in a NumPy or torch scalar, and anything else as it is."""
    return value.item() if getattr(value, "shape", None) == () else value


def whole(name: str, value: Any, low: int = 0, high: int = MOST) -> int:
    """Return a whole number in [low, high] as an int.

    Raises:
        InputError: anything else: a string, a bool, a fraction.
    """
    number = plain(value)
    if isinstance(number, int) and not isinstance(number, bool) and low <= number <= high:
        return number
    raise InputError(f"{name} must be a whole number from {low} to {high}, got {value!r}")


def real(name: str, value: Any, low: float, high: float) -> float:
    """Return a finite number in [low, high] as a float.

    Raises:
        InputError: anything else: a string, a bool, inf, nan.
    """
    number = plain(value)
    is_number = isinstance(number, Real) and not isinstance(number, bool)
    if is_number and low <= number <= high and math.isfinite(number):
        return float(number)
    raise InputError(f"{name} must be a number from {low:g} to {high:g}, got {value!r}")


def check_is_tensor(images: Any) -> None:
    """Raise InputError, with what to type, unless images are a torch tensor."""
    if not isinstance(images, Tensor):
        raise InputError(
            f"images must be a torch tensor, got {type(images).__name__}; of an array type "
            "torch.from_numpy(array), of a picture "
            "torchvision.transforms.functional.to_tensor(picture)[None]"
        )
