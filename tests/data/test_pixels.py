"""PixelModel: normalisation inside, the state dict the model's own."""

import math

import pytest
import torch
from torch import nn
from torchvision.transforms.functional import normalize

from vonenet.data import PixelModel, preprocessing_text
from vonenet.data.pixels import classes_of
from vonenet.errors import InputError


@pytest.mark.parametrize(("mean", "std"), [([0.5, 0.4, 0.3], [0.2, 0.3, 0.4]), (0.5, 0.5)])
def test_normalises_as_torchvision(mean, std):
    pixels = torch.rand(2, 3 if isinstance(mean, list) else 1, 4, 5)
    expected = normalize(pixels, *([v] if isinstance(v, float) else v for v in (mean, std)))
    torch.testing.assert_close(PixelModel(nn.Identity(), mean, std)(pixels), expected)


def test_state_dict_is_the_models_own_and_moves():
    wrapped = PixelModel(nn.Linear(2, 2), 0.5, 0.5)
    assert set(wrapped.state_dict()) == {"model.weight", "model.bias"}
    assert wrapped.to(torch.float64).mean.dtype == torch.float64


@pytest.mark.parametrize(
    ("mean", "std", "message"),
    [
        (0.5, (0.5, 0.0, 0.5), "std above 0"),
        (0.5, math.nan, "std above 0"),
        (math.inf, 0.5, "finite numbers"),
        ((127.5,), (51.0,), r"0 to 255; .* mean=\(0.5\), std=\(0.2\)"),
        ((103.53, 116.28, 123.68), 1.0, r"mean=\(0.406, 0.456, 0.485\), std=\(0.003922\)"),
        ("imagenet", 0.5, "mean='imagenet' is no number"),
        (0.5, None, "std=None is no number"),
        (0.0, 255.0, r"mean=\(0\), std=\(1\)"),
    ],
)
def test_numbers_that_cannot_be_meant_are_refused(mean, std, message):
    with pytest.raises(InputError, match=message):
        PixelModel(nn.Identity(), mean, std)


def test_preprocessing_and_classes_are_told():
    model = PixelModel(nn.Identity(), 0.5, [0.5, 0.25, 0.125], classes=["cat", "dog"])
    assert (model.classes, classes_of(model)) == (("cat", "dog"),) * 2
    assert preprocessing_text(model, (224, 224)) == "mean 0.5, std 0.5 0.25 0.125, 224 px"
    assert classes_of(nn.Identity()) is None
    assert preprocessing_text(nn.Identity(), (32, 64)) == "pixels in [0, 1], 32x64 px"
