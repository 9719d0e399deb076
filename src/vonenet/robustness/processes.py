"""This process among those that `torchrun` or Accelerate started: its number, and sums over all."""

from __future__ import annotations

from typing import Any

from torch import distributed


def rank_and_size() -> tuple[int, int]:
    """Number of this process and how many there are; (0, 1) where there is no process group."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def gathered(own: dict[Any, Any]) -> dict[Any, Any]:
    """The dictionaries of all processes in one, the same in each; their keys do not overlap."""
    _, size = rank_and_size()
    if size == 1:
        return own
    parts: list[dict[Any, Any] | None] = [None] * size
    distributed.all_gather_object(parts, own)
    return {key: value for part in parts if part for key, value in part.items()}
