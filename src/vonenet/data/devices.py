"""The device that a command computes on, by the name that its user gives."""

from __future__ import annotations

import torch

from vonenet.errors import InputError


def chosen_device(name: str) -> torch.device:
    """The device of that name, or for `auto` a GPU where there is one.

    Raises:
        InputError: another name, or a GPU that is not there.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise InputError(f"device must be auto, cpu or cuda, got {name!r}")
    present = torch.cuda.is_available()
    if name == "cuda" and not present:
        raise InputError("device cuda was asked for, but torch sees no GPU here; use cpu or auto")
    return torch.device("cuda" if present and name != "cpu" else "cpu")
