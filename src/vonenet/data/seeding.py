"""Seeds code that draws from global generators without the caller noticing."""

import ctypes
import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.random import mtrand
from torch import nn

MT19937_BYTES = 624 * 4 + 4  # its key and the position in it

# The generator that numpy's global functions draw from inside `item_seeded`
_item_bits = np.random.MT19937(0)
# Where numpy's own one stood when no second normal number was waiting in it
_nothing_waited_at: tuple[Any, bytes] = (None, b"")


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed the CPU generator and `device`'s inside the block; restore both afterwards.

    Dropout and a model's noise draw from these generators. `torch.manual_seed` would also reseed
    every other device, which nothing would restore.
    """
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        seed_torch(seed, device)
        yield


def seed_torch(seed: int, device: torch.device) -> None:
    """Seed the generators of the CPU and of `device`, inside of `seeded`, which restores them."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)


@contextmanager
def item_seeded(seed: int, epoch: int, index: int) -> Iterator[None]:
    """Seed `random`, numpy's global functions and torch's CPU generator; restore them afterwards.

    What is drawn inside depends on the three numbers alone, in whichever process it is drawn: so
    the transforms of torchvision and timm, which draw from these, augment an image alike with any
    number of workers. The numbers are hashed, so neighbouring ones are as different as any.

    Args:
        seed: Of the run.
        epoch: Of the run.
        index: Of the image in its data set.
    """
    digest = hashlib.blake2b(f"{seed}/{epoch}/{index}".encode(), digest_size=20).digest()
    python_state, torch_state = random.getstate(), torch.default_generator.get_state()
    with _numpy_seeded(int.from_bytes(digest[:4], "little")):
        random.seed(int.from_bytes(digest[4:12], "little"))
        torch.default_generator.manual_seed(int.from_bytes(digest[12:], "little") >> 1)
        try:
            yield
        finally:
            random.setstate(python_state)
            torch.default_generator.set_state(torch_state)


@contextmanager
def _numpy_seeded(seed: int) -> Iterator[None]:
    """Put another generator under numpy's global functions: a tenth of the time of copying it."""
    bits = mtrand.get_bit_generator()
    copied = np.random.get_state() if bits is _item_bits or _normal_waits(bits) else None  # noqa: NPY002
    mtrand.set_bit_generator(_item_bits)
    np.random.seed(seed)  # noqa: NPY002  # what is seeded here is ours
    try:
        yield
    finally:
        mtrand.set_bit_generator(bits)
        if copied is not None:
            np.random.set_state(copied)  # noqa: NPY002


def _normal_waits(bits: Any) -> bool:
    """Say whether numpy keeps the second of two normal numbers, which another generator drops.

    To ask numpy takes longer than all the rest here. One can only wait after a draw, so a generator
    that stands where it stood when none waited needs no asking.
    """
    global _nothing_waited_at
    stands = (bits, b"")
    if isinstance(bits, np.random.MT19937):
        stands = bits, ctypes.string_at(bits.ctypes.state_address, MT19937_BYTES)
        if stands == _nothing_waited_at:
            return False
    if np.random.get_state(legacy=False)["has_gauss"]:  # noqa: NPY002
        return True
    _nothing_waited_at = stands
    return False


def device_of(model: nn.Module) -> torch.device:
    """Return the device of a model's first parameter or buffer; the CPU if it has none."""
    for tensor in chain(model.parameters(), model.buffers()):
        return tensor.device
    return torch.device("cpu")


def seed_at(seed: int, purpose: str, *position: int) -> int:
    """Return a seed for one purpose at one position of a run, from 0 to 2^63 - 1.

    Args:
        seed: Of the run.
        purpose: What is drawn, such as "order".
        position: Numbers such as epoch, step and micro-batch.
    """
    digest = hashlib.blake2b(f"{seed} {purpose} {position}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1
