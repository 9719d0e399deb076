"""Random numbers of a batch: every image draws from a CPU generator of its own."""

from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor

Generators: TypeAlias = Sequence[torch.Generator]


def normal(generators: Generators, shape: Sequence[int]) -> Tensor:
    """Standard normal numbers, (B, *shape) on the CPU."""
    return torch.stack([torch.randn(tuple(shape), generator=each) for each in generators])


def uniform(
    generators: Generators, shape: Sequence[int], low: float = 0, high: float = 1
) -> Tensor:
    """Uniform numbers in [low, high), (B, *shape) on the CPU."""
    draws = torch.stack([torch.rand(tuple(shape), generator=each) for each in generators])
    return low + (high - low) * draws


def integers(generators: Generators, shape: Sequence[int], low: int, high: int) -> Tensor:
    """Whole numbers from low to high - 1, (B, *shape) on the CPU."""
    draws = [torch.randint(low, high, tuple(shape), generator=each) for each in generators]
    return torch.stack(draws)
