"""The plain reference does what our block does: same means, same noise, same gradients."""

import pytest
import torch

import vonenet
from vonenet.benchmarks.published import PublishedBlock, PublishedNet
from vonenet.errors import InputError

SMALL = {"image_size": 32, "simple_channels": 6, "complex_channels": 6}
# The default, colours that differ between phases, other geometry, one cell type.
BLOCKS = [
    SMALL,
    {**SMALL, "filters": "legacy", "color_seed": 3},
    {**SMALL, "stride": 3, "kernel_size": 9, "k_exc": 10.0, "sf_max": 4.0},
    {**SMALL, "complex_channels": 0},
]


def images(batch=2):
    return torch.rand(batch, 3, 32, 32) * 2 - 1


@pytest.mark.filterwarnings("ignore::vonenet.VOneNetWarning")
@pytest.mark.parametrize("settings", BLOCKS)
def test_without_noise_it_equals_our_block(settings):
    block = vonenet.VOneBlock(**settings, noise=None)
    ours, x = block(images()), images()
    ours = block(x)
    torch.testing.assert_close(PublishedBlock(block)(x), ours, rtol=1e-5, atol=1e-5)


def test_image_gradients_equal_our_blocks():
    block = vonenet.VOneBlock(**SMALL, noise=None)
    gradients = []
    x, weights = images(), torch.randn(2, 12, 16, 16)
    for module in (block, PublishedBlock(block)):
        pixels = x.clone().requires_grad_()
        gradients.append(torch.autograd.grad(module(pixels), pixels, weights)[0])
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("with_gradient", [False, True])
def test_noise_has_our_blocks_mean_and_variance(with_gradient):
    block = vonenet.VOneBlock(**SMALL, noise_scale=0.5, noise_level=0.2)
    x = images(1).expand(3000, -1, -1, -1)[:, :, :16, :16]
    moments = []
    for module in (block, PublishedBlock(block)):
        responses = module(x.clone().requires_grad_(with_gradient)).detach()
        moments.append((responses.mean(dim=0), responses.var(dim=0)))
    (mean, variance), (published_mean, published_variance) = moments
    # Of 768 responses no mean is off by more than about 4 standard errors.
    error = (2 * variance / 3000).sqrt()
    assert ((mean - published_mean).abs() < 5 * error + 1e-6).all()
    ratio = published_variance.sum() / variance.sum()
    assert ratio == pytest.approx(1, abs=0.02)


def test_both_ways_to_add_noise_are_one():
    published = PublishedBlock(vonenet.VOneBlock(**SMALL))
    x = images()
    torch.manual_seed(1)
    in_place = published(x)
    torch.manual_seed(1)
    torch.testing.assert_close(published(x.requires_grad_()), in_place)


def test_noise_that_was_not_published_is_refused():
    with pytest.raises(InputError, match="'gaussian'"):
        PublishedBlock(vonenet.VOneBlock(**SMALL, noise="gaussian"))


def test_the_network_has_the_models_weights_as_its_own():
    model = vonenet.create_model("voneresnet18", num_classes=5, noise=None, **SMALL).eval()
    published, x = PublishedNet(model).eval(), images()
    torch.testing.assert_close(published(x), model(x), rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        model.bottleneck.weight.zero_()
        model.model.fc.bias.add_(1)
    assert published.bottleneck.weight.abs().sum() > 0
    assert not torch.equal(published.model.fc.bias, model.model.fc.bias)
