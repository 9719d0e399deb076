"""Seeds code that draws from global generators without the caller noticing."""

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain

import numpy as np
import torch
from numpy.random import mtrand
from torch import nn

# The generator that numpy's global functions draw from inside `item_seeded`
_item_bits = np.random.MT19937(0)


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

    What is drawn inside depends on the seed of the run, the epoch and the number of the image
    alone, in whichever process it is drawn: so the transforms of torchvision and timm, which draw
    from these, augment an image alike with any number of workers. The three are hashed, so
    neighbouring ones are as different as any.
    """
    digest = hashlib.blake2b(f"{seed}/{epoch}/{index}".encode(), digest_size=20).digest()
    python_state, torch_state = random.getstate(), torch.default_generator.get_state()
    # Another generator is put under numpy's functions, for not every kind can be seeded
    numpy_bits, numpy_state = mtrand.get_bit_generator(), np.random.get_state(legacy=False)  # noqa: NPY002
    mtrand.set_bit_generator(_item_bits)
    np.random.seed(int.from_bytes(digest[:4], "little"))  # noqa: NPY002
    random.seed(int.from_bytes(digest[4:12], "little"))
    torch.default_generator.manual_seed(int.from_bytes(digest[12:], "little") >> 1)
    try:
        yield
    finally:
        random.setstate(python_state)
        torch.default_generator.set_state(torch_state)
        mtrand.set_bit_generator(numpy_bits)
        # A generator that was put aside is as it was; numpy forgets a second normal number it kept
        if numpy_bits is _item_bits or numpy_state["has_gauss"]:
            np.random.set_state(numpy_state)  # noqa: NPY002


def device_of(model: nn.Module) -> torch.device:
    """Return the device of a model's first parameter or buffer; the CPU if it has none."""
    for tensor in chain(model.parameters(), model.buffers()):
        return tensor.device
    return torch.device("cpu")


def seed_at(seed: int, purpose: str, *position: int) -> int:
    """Return a seed, from 0 to 2^63 - 1, for one purpose at one position of a run.

    The purpose is what is drawn, such as "order"; the position, such as epoch and step.
    """
    digest = hashlib.blake2b(f"{seed} {purpose} {position}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1
