"""Validation: right decisions, whatever was drawn before, in as many batches for each process."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.training.toys import toy_images, toy_model, toy_recipe
from vonenet.data import ImageArrays
from vonenet.training.processes import accelerated
from vonenet.training.validation import Validation


def accuracy(model: nn.Module, images: ImageArrays, epoch: int = 0, **descent: Any) -> float | None:
    with accelerated("cpu", "float32") as accelerator:
        validation = Validation(accelerator, images, toy_recipe(**descent))
        return validation.accuracy(model.eval(), epoch, lambda: False)


def test_noise_depends_on_the_epoch_and_nothing_else() -> None:
    images, model = toy_images(150), toy_model(noise=3.0)
    found = accuracy(model, images)
    torch.manual_seed(99)
    assert accuracy(model, images) == found
    assert len({accuracy(model, images, epoch) for epoch in range(6)}) > 1
    assert len({accuracy(model, images, seed=seed) for seed in range(6)}) > 1


def test_decisions_are_averaged_over_draws() -> None:
    class Coin(nn.Module):
        """Right by 0.6 on average, by a coin on any draw."""

        def forward(self, pixels: Tensor) -> Tensor:
            right = torch.rand(len(pixels)) < 0.6
            return 4.0 * torch.stack([right, ~right], dim=1)

    images = ImageArrays(torch.zeros(200, 1, 2, 2), torch.zeros(200), ("a", "b"), "zeros")
    once, often = (accuracy(Coin(), images, decision_samples=n) or 0.0 for n in (1, 101))
    assert once == pytest.approx(0.6, abs=0.12)
    assert often > 0.95


def test_stops_when_asked() -> None:
    images = toy_images(100)
    with accelerated("cpu", "float32") as accelerator:
        validation = Validation(accelerator, images, toy_recipe(batch_size=10))
        asked = iter([False, False, True])
        assert validation.accuracy(toy_model().eval(), 0, lambda: next(asked)) is None


@pytest.mark.parametrize("processes", [1, 2, 3, 4, 7])
def test_processes_share_the_batches_and_pass_as_often(processes: int) -> None:
    """Sharded weights would wait for ever for a process with fewer batches."""
    images, recipe = toy_images(85), toy_recipe(batch_size=32, micro_batch_size=8)
    batches, counted = [], []
    for rank in range(processes):
        accelerator = SimpleNamespace(
            process_index=rank, num_processes=processes, device=torch.device("cpu")
        )
        validation = Validation(accelerator, images, recipe)  # type: ignore[arg-type]
        batches.append([len(labels) for _, labels in validation._loader])
        counted.append(sum(n for n, c in zip(batches[-1], validation._counted, strict=True) if c))
    assert len({len(each) for each in batches}) == 1
    assert sum(counted) == 85


def test_batches_are_micro_batches_and_never_big() -> None:
    """Whatever a training step may have taken."""
    images = toy_images(300)
    for descent, size in (({"micro_batch_size": 8}, 8), ({"batch_size": 300}, 256)):
        recipe = toy_recipe(**descent)
        with accelerated("cpu", "float32") as accelerator:
            validation = Validation(accelerator, images, recipe)
            assert len(next(iter(validation._loader))[1]) == size
