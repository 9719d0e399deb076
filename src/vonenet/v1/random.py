"""Standard normal numbers on all cores of the CPU: the same numbers whatever the number of cores.

`torch.randn` draws on one core, and a V1 block needs 1.6 million numbers for an image of 224 px:
half as long as all else that the block does. Here the numbers are drawn in blocks, each by its own
generator (PyTorch's Mersenne Twister), in as many threads as PyTorch has.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import torch
from torch import Tensor

# Numbers of one generator. Part of the promise that a seed gives the same noise: do not change.
BLOCK = 2**18
# Up to so many blocks are drawn sooner than threads wake up (measured on 2 cores: 1 to 2 ms).
FEW_BLOCKS = 8
# PyTorch's Mersenne Twister reads this many bits of a seed.
_SEED_BITS = 32


def fill_normal(out: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Overwrite a tensor with independent standard normal numbers.

    Args:
        out: contiguous, float32 or float64, on the CPU; any shape.
        generator: what sets the numbers; None: PyTorch's global generator of the CPU.

    Returns:
        `out`.
    """
    drawn = torch.randint(2**_SEED_BITS, (), dtype=torch.int64, generator=generator)
    parts = torch.split(out.view(-1), BLOCK)
    seeds = [(int(drawn) + number) % 2**_SEED_BITS for number in range(len(parts))]
    if len(parts) <= FEW_BLOCKS:
        for part, seed in zip(parts, seeds, strict=True):
            _fill_block(part, seed)
    else:
        list(_pool(os.getpid(), torch.get_num_threads()).map(_fill_block, parts, seeds))
    return out


def _fill_block(out: Tensor, seed: int) -> None:
    with torch.inference_mode():  # threads do not inherit it, and its tensors would refuse the draw
        out.normal_(generator=torch.Generator().manual_seed(seed))


@lru_cache(maxsize=4)
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    """Threads that wait for work; a forked process has to make its own."""
    return ThreadPoolExecutor(threads, thread_name_prefix="vonenet-normal")
