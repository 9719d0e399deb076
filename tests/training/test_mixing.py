"""Mixup and CutMix: timm's own results, odd batches, and images that stay images."""

import numpy as np
import pytest
import torch
from timm.data.mixup import Mixup

from vonenet.data.seeding import item_seeded
from vonenet.training.augment import mixed
from vonenet.training.config import AugmentationRecipe

CLASSES = 7


def batch(count: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.rand(count, 3, 16, 16), torch.randint(CLASSES, (count,))


def test_without_either_nothing_happens():
    pixels, labels = batch()
    found = mixed(pixels, labels, AugmentationRecipe(), CLASSES, 0.1, seed=0)
    assert found[0] is pixels
    assert found[1] is labels


@pytest.mark.parametrize("alphas", [(0.8, 0.0), (0.0, 1.0), (0.8, 1.0)])
def test_even_batches_are_timms(alphas):
    pixels, labels = batch()
    recipe = AugmentationRecipe(mixup=alphas[0], cutmix=alphas[1])
    for seed in range(10):
        found, targets = mixed(pixels, labels, recipe, CLASSES, 0.1, seed)
        timms = Mixup(*alphas, num_classes=CLASSES, label_smoothing=0.1)
        with item_seeded(seed, 0, 0):
            expected = timms(pixels.clone(), labels)
        assert torch.equal(found, expected[0])
        assert torch.equal(targets, expected[1])


@pytest.mark.parametrize("count", [1, 2, 5, 6])
def test_every_image_is_a_mixture_of_two_and_its_target_says_so(count):
    pixels, _ = batch(count)
    labels = torch.arange(count)
    found, targets = mixed(pixels, labels, AugmentationRecipe(mixup=1.0), CLASSES, 0.0, seed=1)
    shares = targets[:, :count]
    assert torch.allclose(shares.sum(dim=1), torch.ones(count))
    assert torch.allclose(found, torch.einsum("ij,jchw->ichw", shares, pixels), atol=1e-6)
    assert int((shares.max(dim=1).values < 1).sum()) == count - count % 2


@pytest.mark.parametrize("count", [5, 6])
def test_cutmix_shares_are_areas(count):
    pixels = torch.arange(count)[:, None, None, None] / CLASSES * torch.ones(count, 1, 16, 16)
    labels = torch.arange(count)
    found, targets = mixed(pixels, labels, AugmentationRecipe(cutmix=1.0), CLASSES, 0.0, seed=4)
    areas = torch.stack(
        [(found == value / CLASSES).float().mean(dim=(1, 2, 3)) for value in labels]
    )
    assert torch.allclose(areas.T, targets[:, :count])
    assert areas.max() < 1 or count % 2


def test_the_batch_that_was_given_stays_as_it_is():
    pixels, labels = batch(4)
    copy = pixels.clone()
    mixed(pixels, labels, AugmentationRecipe(mixup=1.0), CLASSES, 0.0, seed=0)
    assert torch.equal(pixels, copy)


def test_white_stays_white():
    """Above 1 by a rounding, an attack would refuse it."""
    white, labels = torch.ones(2, 1, 4, 4), torch.zeros(2, dtype=torch.int64)
    for seed in range(200):
        found, _ = mixed(white, labels, AugmentationRecipe(mixup=1.0), CLASSES, 0.0, seed)
        assert found.max() <= 1


def test_the_seed_decides_and_numpys_generator_is_left_alone():
    pixels, labels = batch()
    recipe = AugmentationRecipe(mixup=1.0, cutmix=1.0)
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    first, again, other = (mixed(pixels, labels, recipe, CLASSES, 0.0, s)[0] for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert np.array_equal(np.random.get_state()[1], state)  # noqa: NPY002
