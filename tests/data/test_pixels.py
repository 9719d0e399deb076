"""PixelModel: normalisation inside, the state dict the model's own."""

import pytest
import torch
from torch import nn
from torchvision.transforms.functional import normalize

from vonenet.data import PixelModel
from vonenet.errors import InputError


@pytest.mark.parametrize(("mean", "std"), [([0.5, 0.4, 0.3], [0.2, 0.3, 0.4]), (0.5, 0.5)])
def test_normalises_as_torchvision(mean, std):
    pixels = torch.rand(2, 3 if isinstance(mean, list) else 1, 4, 5)
    expected = normalize(pixels, *([v] if isinstance(v, float) else v for v in (mean, std)))
    torch.testing.assert_close(PixelModel(nn.Identity(), mean, std)(pixels), expected)


def test_state_dict_is_the_models_own_and_zero_std_is_refused():
    wrapped = PixelModel(nn.Linear(2, 2), 0.5, 0.5)
    assert set(wrapped.state_dict()) == {"model.weight", "model.bias"}
    assert wrapped.to(torch.float64).mean.dtype == torch.float64
    with pytest.raises(InputError, match="std="):
        PixelModel(nn.Identity(), 0.5, (0.5, 0.0, 0.5))
