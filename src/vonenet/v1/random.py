"""Standard normal numbers on the CPU: fast bits, then the Box-Muller transform on all cores.

Most of the time of `torch.randn`, which uses one core, goes into the bits of its Mersenne Twister.
Here they come from SFC64 (Doty-Humphrey's PractRand, as numpy has it). One seed gives the same
numbers whatever the number of cores.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

# Numbers made at a time, which stay in the cache. Part of what a seed promises: do not change.
BLOCK = 2**19


def fill_normal(out: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Overwrite a tensor with independent standard normal numbers, up to 6.7 in size.

    Args:
        out: contiguous, float32 or float64, on the CPU; any shape.
        generator: what sets the numbers; None: PyTorch's global generator of the CPU.

    Returns:
        `out`.
    """
    seed = int(torch.randint(2**63 - 1, (), dtype=torch.int64, generator=generator))
    bits = np.random.SFC64(seed)
    for block in torch.split(out.view(-1), BLOCK):
        n = -(-len(block) // 2)
        integers = torch.from_numpy(bits.random_raw(n).view(np.int32))
        # Whole numbers from -2^31: the size of the first half is uniform in (0, 1], and finest
        # where it is smallest, which makes the largest normal numbers.
        uniform = integers[:n].to(out.dtype).abs_().mul_(2.0**-31).add_(2.0**-33)
        radius = uniform.log_().mul_(-2).clamp_min_(0).sqrt_()
        angle = integers[n:].to(out.dtype).mul_(math.pi * 2.0**-31)
        torch.mul(angle.cos(), radius, out=block[:n])
        torch.mul(angle.sin_()[: len(block) - n], radius[: len(block) - n], out=block[n:])
    return out
