"""Noise samples: averaged gradients against a plain loop, and one pass through the filters."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from tests.robustness.toys import NoisyMeanModel, NoisyModel, RecordedNoise
from vonenet.data import PixelModel
from vonenet.robustness import averaged_gradient, averaged_probabilities, sample_logits

SAMPLES = 5


@pytest.fixture(params=[NoisyModel, NoisyMeanModel])
def model(request):
    toy: NoisyModel = request.param().double()
    return toy


@pytest.fixture
def pixels():
    return torch.rand(3, 1, 6, 7, dtype=torch.float64)


LABELS = torch.tensor([0, 3, 1])


def test_gradient_is_the_mean_of_per_draw_gradients(model, pixels):
    wrapped = PixelModel(model, 0.5, 0.5).double()
    with torch.no_grad():
        ours = averaged_gradient(wrapped, pixels, LABELS, SAMPLES)
    assert not ours.requires_grad
    assert not pixels.requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())

    model.noise = RecordedNoise()
    gradients = []
    for _ in range(SAMPLES):
        image = pixels.clone().requires_grad_()
        logits = model((image - 0.5) / 0.5)
        (gradient,) = torch.autograd.grad(
            sum(cross_entropy(logits[i], LABELS[i]) for i in range(3)), image
        )
        gradients.append(gradient)
    torch.testing.assert_close(ours, torch.stack(gradients).mean(dim=0), rtol=1e-10, atol=0)
    assert not torch.allclose(gradients[0], gradients[1])  # the draws do differ


def test_samples_are_draw_first(model, pixels):
    logits = sample_logits(model, pixels, SAMPLES)
    model.noise = RecordedNoise()
    expected = torch.stack([model(pixels) for _ in range(SAMPLES)])
    torch.testing.assert_close(logits, expected)
    model.noise = RecordedNoise()
    probabilities = averaged_probabilities(model, pixels, SAMPLES)
    torch.testing.assert_close(probabilities, expected.softmax(dim=2).mean(dim=0))


@pytest.mark.parametrize(("kind", "passes"), [(NoisyModel, SAMPLES), (NoisyMeanModel, 1)])
@pytest.mark.parametrize("wrapped", [True, False])
def test_mean_response_is_taken_once(kind, passes, wrapped, pixels):
    toy = kind().double()
    averaged_gradient(
        PixelModel(toy, 0.5, 0.5).double() if wrapped else toy, pixels, LABELS, SAMPLES
    )
    assert toy.passes == passes
