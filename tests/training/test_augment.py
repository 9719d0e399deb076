"""Augmentation: every image flipped or moved as a whole, at random, by its own generator."""

import torch
from torch import Tensor

from vonenet.training.augment import flip_some, shift


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_half_of_the_images_are_mirrored() -> None:
    images = torch.rand(400, 3, 5, 6)
    flipped = flip_some(images, generator())
    kept = (flipped == images).all(dim=(1, 2, 3))
    mirrored = (flipped == images.flip(-1)).all(dim=(1, 2, 3))
    assert (kept ^ mirrored).all()
    assert 150 < mirrored.sum() < 250


def rolled_with_zeros(image: Tensor, down: int, right: int) -> Tensor:
    _, height, width = image.shape
    moved = torch.zeros_like(image)
    for row in range(height):
        for column in range(width):
            if 0 <= row - down < height and 0 <= column - right < width:
                moved[:, row, column] = image[:, row - down, column - right]
    return moved


def test_each_image_moves_as_a_whole() -> None:
    images = torch.rand(60, 2, 4, 5) + 0.1
    moves = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)]
    seen = set()
    for image, moved in zip(images, shift(images, 1, generator()), strict=True):
        found = [m for m in moves if torch.equal(rolled_with_zeros(image, *m), moved)]
        assert len(found) == 1
        seen.add(found[0])
    assert seen == set(moves)


def test_draws_come_from_the_generator() -> None:
    images = torch.rand(16, 1, 8, 8)
    state = torch.get_rng_state()
    for augment in (flip_some, lambda batch, source: shift(batch, 2, source)):
        assert torch.equal(augment(images, generator(1)), augment(images, generator(1)))
        assert not torch.equal(augment(images, generator(1)), augment(images, generator(2)))
    assert torch.equal(torch.get_rng_state(), state)
