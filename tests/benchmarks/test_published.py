"""The published formula gives the numbers of our block, which are the original's (tests/v1)."""

import pytest
import torch

import vonenet
from benchmarks.published import PublishedBlock, PublishedNet
from vonenet.errors import InputError

SMALL = {"image_size": 32, "simple_channels": 6, "complex_channels": 6}
GEOMETRIES = [{}, {"stride": 3, "kernel_size": 9, "k_exc": 10.0}, {"complex_channels": 0}]
IMAGES = 2 * torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) - 1


@pytest.mark.filterwarnings("ignore::vonenet.VOneNetWarning")
@pytest.mark.parametrize("settings", GEOMETRIES)
def test_mean_responses_and_gradients_equal_our_blocks(settings):
    block, x = vonenet.VOneBlock(**{**SMALL, **settings}, noise=None).double(), IMAGES.double()
    results = []
    for module in (block, PublishedBlock(block), PublishedBlock(block, 1e-30)):
        pixels = x.clone().requires_grad_()
        responses = module(pixels)
        weights = torch.linspace(-1, 1, responses.numel()).double().view_as(responses)
        results.append((responses.detach(), torch.autograd.grad(responses, pixels, weights)[0]))
    for published in results[1:]:
        torch.testing.assert_close(published, results[0], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("recorded", [False, True])
def test_noise_equals_our_blocks_on_the_same_draw(recorded, monkeypatch):
    block = vonenet.VOneBlock(**SMALL, noise_scale=0.5, noise_level=0.2).double()
    x = IMAGES.double().requires_grad_(recorded)
    z = torch.randn_like(mean := block.mean_response(x))
    monkeypatch.setattr(torch, "randn_like", lambda like: z)
    torch.testing.assert_close(PublishedBlock(block)(x), block.respond(mean, z))
    with pytest.raises(InputError, match="'gaussian'"):
        PublishedBlock(vonenet.VOneBlock(**SMALL, noise="gaussian"))


def test_the_network_has_the_models_weights_as_its_own():
    model = vonenet.create_model("voneresnet18", num_classes=5, noise=None, **SMALL).eval()
    published = PublishedNet(model).eval()
    torch.testing.assert_close(published(IMAGES), model(IMAGES), rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        model.bottleneck.weight.zero_()
    assert published.bottleneck.weight.any()
