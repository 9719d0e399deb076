"""Seeds: the same draws in any process, other draws for others, nothing left behind."""

import random
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from tests.data.pictures import FORKS
from vonenet.data.seeding import item_seeded


def draws():
    """From each of the three, and from numpy normal numbers too, which come in pairs."""
    return (
        random.random(),
        float(np.random.rand()),  # noqa: NPY002
        float(np.random.randn()),  # noqa: NPY002
        float(np.random.choice(1000)),  # noqa: NPY002
        float(torch.rand(())),
        float(torch.randn(())),
    )


def states():
    kind, key, *rest = np.random.get_state()  # noqa: NPY002
    return random.getstate(), (kind, key.tolist(), *rest), torch.get_rng_state().tolist()


def drawn_at(index, seed=7, epoch=2):
    with item_seeded(seed, epoch, index):
        return draws()


@FORKS
@pytest.mark.parametrize("workers", [1, 2])
def test_workers_draw_what_the_main_process_draws(workers):
    loader = DataLoader(range(12), batch_size=None, num_workers=workers, collate_fn=drawn_at)
    assert list(loader) == [drawn_at(index) for index in range(12)]


def test_each_of_seed_epoch_and_index_matters():
    """... and neighbours are not alike: first draws are uniform and not correlated."""
    places = [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0), (0, 1, 1), (1, 11, 1), (11, 1, 1)]
    seen = {drawn_at(index, seed, epoch) for seed, epoch, index in places}
    assert len(seen) == 7
    for values in zip(*seen, strict=True):  # each generator by itself
        assert len(set(values)) == 7
    first = np.empty((2000, 3))
    for index in range(2000):
        with item_seeded(0, 0, index):
            first[index] = random.random(), np.random.rand(), float(torch.rand(()))  # noqa: NPY002
    for column in first.T:
        counts, _ = np.histogram(column, bins=10, range=(0, 1))
        assert np.abs(counts - 200).max() < 5 * 200**0.5
        assert abs(np.corrcoef(column[:-1], column[1:])[0, 1]) < 0.1
    assert np.abs(np.corrcoef(first.T) - np.eye(3)).max() < 0.1


def test_everything_is_restored():
    """With one normal number drawn, numpy keeps a second, which must not be lost."""
    for outside in (nullcontext(), item_seeded(0, 0, 1)):
        with outside:
            for _ in range(3):
                before = states()
                drawn_at(0)
                assert states() == before
                with pytest.raises(ZeroDivisionError), item_seeded(0, 0, 0):
                    raise ZeroDivisionError
                assert states() == before
                np.random.randn()  # noqa: NPY002
