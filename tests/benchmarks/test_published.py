"""The published formula gives the numbers of our block, which are the original's (tests/v1)."""

import pytest
import torch

import vonenet
from benchmarks.published import (
    PublishedBlock,
    PublishedFrontEnd,
    PublishedNet,
    PublishedSubcortical,
)
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


@pytest.mark.parametrize("size", [64, 41])
def test_the_front_end_of_2025_equals_ours(size, monkeypatch):
    front_end = vonenet.create_front_end(
        "evnet2025", image_size=64, simple_channels=6, complex_channels=6
    )
    pixels = torch.rand(2, 3, size, size)
    with vonenet.no_noise(front_end):
        expected = [front_end.stages[0](pixels), front_end(pixels)]
    plain = PublishedFrontEnd(front_end)
    plain.subcortical.noise = plain.vone_block.noise = None
    found = [plain.subcortical(pixels), plain(pixels)]
    for ours, published in zip(expected, found, strict=True):
        assert (ours - published).abs().max() < 1e-5 * published.abs().max()

    draws = {4: torch.randn(2, 4, size, size), 12: torch.randn_like(found[1])}
    monkeypatch.setattr(torch, "randn_like", lambda like: draws[like.shape[1]])
    plain.subcortical.noise = plain.vone_block.noise = "neuronal"
    for stage, own in zip(front_end.stages, draws.values(), strict=True):
        stage.noise.fix(own)
    assert (front_end(pixels) - plain(pixels)).abs().max() < 1e-5 * found[1].abs().max()
    without_a_part = vonenet.create_front_end("evnet2025_no_p_cells", image_size=64).stages[0]
    with pytest.raises(InputError, match="has all parts"):
        PublishedSubcortical(without_a_part)


def test_the_network_has_the_models_weights_as_its_own():
    model = vonenet.create_model("voneresnet18", num_classes=5, noise=None, **SMALL).eval()
    published = PublishedNet(model).eval()
    torch.testing.assert_close(published(IMAGES), model(IMAGES), rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        model.bottleneck.weight.zero_()
    assert published.bottleneck.weight.any()
