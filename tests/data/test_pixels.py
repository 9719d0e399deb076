"""PixelModel and seeding: normalisation inside, gradients through, global state untouched."""

import pytest
import torch
from torch import nn
from torchvision.transforms.functional import normalize

from vonenet.data import PixelModel
from vonenet.data.seeding import seeded
from vonenet.errors import InputError


@pytest.mark.parametrize(
    ("channels", "mean", "std"), [(3, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)), (1, 0.5, 0.5)]
)
def test_normalises_as_torchvision(
    channels: int, mean: float | tuple[float, ...], std: float | tuple[float, ...]
) -> None:
    pixels = torch.rand(2, channels, 4, 5)
    wrapped = PixelModel(nn.Identity(), mean, std)
    as_lists = ([v] if isinstance(v, float) else list(v) for v in (mean, std))
    torch.testing.assert_close(wrapped(pixels), normalize(pixels, *as_lists))


def test_state_dict_is_the_models_own() -> None:
    inner = nn.Linear(2, 2)
    wrapped = PixelModel(inner, 0.5, 0.5)
    assert set(wrapped.state_dict()) == {"model.weight", "model.bias"}
    assert wrapped.to(torch.float64).mean.dtype == torch.float64


def test_zero_std_is_refused() -> None:
    with pytest.raises(InputError, match="std="):
        PixelModel(nn.Identity(), 0.5, (0.5, 0.0, 0.5))


def test_seeded_repeats_and_restores() -> None:
    cpu = torch.device("cpu")
    before = torch.get_rng_state()
    with seeded(0, cpu):
        first = torch.randn(3)
    with seeded(0, cpu):
        again = torch.randn(3)
    with seeded(1, cpu):
        other = torch.randn(3)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)
