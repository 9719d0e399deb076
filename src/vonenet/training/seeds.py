"""Seeds for everything random in a training, by where in it: no generator has a state to keep."""

from __future__ import annotations

from hashlib import blake2b

import torch


def seed_at(seed: int, purpose: str, *position: int) -> int:
    """A seed for one purpose at one position of a run, from 0 to 2^63 - 1.

    Args:
        seed: the recipe's.
        purpose: what is drawn, such as "order".
        position: numbers of epoch, step, micro-batch.
    """
    text = f"{seed} {purpose} {position}"
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def seed_torch(seed: int, device: torch.device) -> None:
    """Seeds the generators of the CPU and of `device`; for a block that restores them afterwards.

    `torch.manual_seed` would also reseed every other device.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
