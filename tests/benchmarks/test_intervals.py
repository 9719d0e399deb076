"""Intervals that count images and noise: coverage by simulation, Wilson where there is one draw."""

import pytest
import torch

from benchmarks.intervals import noisy_accuracy_interval
from vonenet.results import wilson_interval


@pytest.mark.parametrize("right", [0, 1, 17, 30])
def test_one_draw_is_wilsons_interval(right):
    correct = torch.arange(30)[None] < right
    assert noisy_accuracy_interval(correct) == pytest.approx(wilson_interval(right, 30))


@pytest.mark.parametrize(("a", "b"), [(2.0, 2.0), (0.3, 0.2), (30.0, 20.0)])
@pytest.mark.parametrize("shared", [0.0, 0.15])
def test_covers_the_true_accuracy_as_often_as_it_says(a, b, shared):
    """Images' chances are Beta(a, b); `shared` noise moves all images of a repeat together."""
    generator = torch.Generator().manual_seed(0)
    images, repeats, runs, hits = 100, 8, 400, 0
    for _ in range(runs):
        chance = torch.distributions.Beta(a, b).sample((images,))
        common = shared * torch.randn(repeats, 1, generator=generator)
        moved = chance + common * chance * (1 - chance)  # zero on average
        low, high = noisy_accuracy_interval(
            torch.rand(repeats, images, generator=generator) < moved
        )
        hits += low <= a / (a + b) <= high
    # 0.95 within the simulation's own error of four standard deviations; never far too wide.
    assert hits / runs > 0.95 - 0.045
