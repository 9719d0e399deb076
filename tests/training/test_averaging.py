"""Averages of weights over time, and of batch statistics over micro-batches."""

from contextlib import suppress

import pytest
import torch
from torch import nn

from tests.training.toys import same_weights, toy_model
from vonenet.training.averaging import RunningStatistics, WeightAverage, moving


def test_what_moves_is_averaged_and_nothing_else() -> None:
    names = {"model.2.weight", "model.2.bias", "model.5.weight", "model.5.bias"}
    statistics = {"model.2.running_mean", "model.2.running_var"}
    assert set(moving(toy_model())) == names | statistics


@pytest.mark.parametrize("decay", [0.0, 0.9])
def test_averages_by_the_formula(decay: float) -> None:
    model = toy_model()
    average = WeightAverage(model, decay)
    expected = {name: value.detach().double() for name, value in moving(model).items()}
    for _ in range(5):
        with torch.no_grad():
            for value in moving(model).values():
                value.add_(torch.randn(value.shape))
        average.update()
        for name, value in moving(model).items():
            expected[name] = decay * expected[name] + (1 - decay) * value.detach().double()
    for name, value in average.values.items():
        torch.testing.assert_close(value.double(), expected[name], rtol=1e-5, atol=1e-6)


def test_the_average_is_lent_and_given() -> None:
    model, before = toy_model(), toy_model()
    average = WeightAverage(model, 0.5)
    with torch.no_grad():
        for value in average.values.values():
            value.zero_()
    with suppress(KeyError), average.applied():
        assert not model.model[5].weight.any()
        raise KeyError  # even then
    assert same_weights(model, before)
    average.keep()
    assert not model.model[5].weight.any()


def test_statistics_are_means_over_micro_batches() -> None:
    """Against one batch norm for each micro-batch, as if each were a process's."""
    norm = nn.BatchNorm1d(3, momentum=0.2)
    frozen = nn.BatchNorm1d(3).eval()
    model = nn.Sequential(frozen, norm)
    statistics = RunningStatistics(model)
    alone = [nn.BatchNorm1d(3, momentum=0.2) for _ in range(3)]
    for step in range(2):
        batches = torch.randn(3, 8, 3, generator=torch.Generator().manual_seed(step)) + step
        statistics.begin()
        for number, batch in enumerate(batches):
            model(batch)
            alone[number](frozen(batch))
            if number < 2:
                statistics.between()
        statistics.end(3)
    for name in ("running_mean", "running_var"):
        mean = torch.stack([getattr(each, name) for each in alone]).mean(dim=0)
        torch.testing.assert_close(getattr(norm, name), mean)
    assert int(norm.num_batches_tracked) == 2  # type: ignore[arg-type]
    assert torch.equal(frozen.running_mean, torch.zeros(3))  # type: ignore[arg-type]
