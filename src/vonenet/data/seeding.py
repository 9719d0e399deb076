"""Seeds code that draws from global generators without the caller noticing."""

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain

import numpy as np
import torch
from torch import nn


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed the CPU generator and `device`'s inside the block; restore both afterwards.

    Dropout and a model's noise draw from these generators. `torch.manual_seed` would also reseed
    every other device, which nothing would restore.
    """
    cuda = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        torch.default_generator.manual_seed(seed)
        for each in cuda:
            with torch.cuda.device(each):
                torch.cuda.manual_seed(seed)
        yield


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
    numpy_state = np.random.get_state()  # noqa: NPY002  # transforms draw from the global one
    np.random.seed(int.from_bytes(digest[:4], "little"))  # noqa: NPY002
    random.seed(int.from_bytes(digest[4:12], "little"))
    torch.default_generator.manual_seed(int.from_bytes(digest[12:], "little") >> 1)
    try:
        yield
    finally:
        np.random.set_state(numpy_state)  # noqa: NPY002
        random.setstate(python_state)
        torch.default_generator.set_state(torch_state)


def device_of(model: nn.Module) -> torch.device:
    """Return the device of a model's first parameter or buffer; the CPU if it has none."""
    for tensor in chain(model.parameters(), model.buffers()):
        return tensor.device
    return torch.device("cpu")
