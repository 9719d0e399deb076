"""Push-pull inhibition by its definition, and its place in a block, a file and an attack."""

import json
import math

import numpy as np
import pytest
import torch
from scipy.signal import correlate

import vonenet
from vonenet.robustness.sampling import averaged_gradient
from vonenet.v1.block import VOneBlock
from vonenet.v1.config import VOneBlockConfig
from vonenet.v1.noise import fixed_noise, no_noise
from vonenet.v1.push_pull import PushPullConfig
from vonenet.zoo.checkpoints import FILTERS

pytestmark = pytest.mark.filterwarnings("ignore::vonenet.VOneNetWarning")
SMALL = {"simple_channels": 3, "complex_channels": 2, "image_size": 32, "kernel_size": 9}
PUSH_PULL = PushPullConfig(strength=0.7)


def model(**settings):
    settings = {**SMALL, "num_classes": 5, **settings}
    return vonenet.create_model("voneresnet_small", front_end="vonenet_push_pull", **settings)


def gabor(p, i, scale, pixels_per_degree, half):
    """One filter pixel by pixel; enlarged `scale` times, and as high as it was."""
    cycles_per_px = p.frequency_cpd[i] / pixels_per_degree
    sigma_x, sigma_y = p.nx_cycles[i] / cycles_per_px, p.ny_cycles[i] / cycles_per_px
    t, phase = math.radians(p.orientation_deg[i]), math.radians(p.phase_deg[i])
    kernel = np.zeros((2 * half + 1, 2 * half + 1))
    for row in range(-half, half + 1):
        for column in range(-half, half + 1):
            x, y = row / scale, column / scale
            along, across = x * math.cos(t) + y * math.sin(t), y * math.cos(t) - x * math.sin(t)
            size = math.exp(-((along / sigma_x) ** 2 + (across / sigma_y) ** 2) / 2)
            kernel[row + half, column + half] = (
                size / (2 * math.pi * sigma_x * sigma_y)
            ) * math.cos(2 * math.pi * cycles_per_px * along + phase)
    return kernel


@pytest.mark.parametrize("way", ["fourier", "convolution", "space_to_depth"])
def test_responses_are_push_less_pull(way):
    block = VOneBlock(push_pull=PUSH_PULL, noise=None, **SMALL).double()
    block.way = way
    images = torch.rand(1, 3, 32, 32, dtype=torch.float64) * 2 - 1
    found = block(images)
    p, c = block.gabor_parameters, block.settings
    for i in range(3):
        image = images[0, p.color_channel[i]].numpy()
        push, pull = (
            correlate(np.pad(image, half), gabor(p, i, scale, c.pixels_per_degree, half), "valid")
            for scale, half in ((1, 4), (2, 9))
        )
        expected = np.maximum(np.maximum(push, 0) - 0.7 * np.maximum(-pull, 0), 0) * c.k_exc
        np.testing.assert_allclose(found[0, i], expected[:: c.stride, :: c.stride], atol=1e-5)
    plain = VOneBlock(noise=None, **SMALL).double()(images)
    torch.testing.assert_close(found[:, 3:], plain[:, 3:])  # complex cells
    assert not torch.allclose(found[:, :3], plain[:, :3])


def test_noise_is_suppressed_more_than_an_edge():
    """What push-pull is for (Strisciuglio et al. 2020)."""
    images = torch.zeros(2, 3, 64, 64)
    images[0, :, :, 32:] = 1
    images[1] = torch.randn(3, 64, 64) * 0.5
    settings = {"simple_channels": 64, "complex_channels": 0, "image_size": 64, "noise": None}
    kept = []
    for push_pull in (None, PushPullConfig()):
        block = VOneBlock(push_pull=push_pull, dc_balanced=True, **settings)
        kept.append(block(images)[:, :, 8:-8, 8:-8].mean((1, 2, 3)))
    edge, noise = kept[1] / kept[0]
    assert noise < edge - 0.05


def test_a_block_without_it_stays_as_it_was():
    block = VOneBlock(**SMALL)
    assert list(block.state_dict()) == ["simple_conv_q0.weight", "simple_conv_q1.weight"]


def test_gradients_are_right_and_finite():
    block = VOneBlock(push_pull=PUSH_PULL, **SMALL).double()
    images = torch.rand(1, 3, 5, 4, dtype=torch.float64, requires_grad=True)
    with fixed_noise(block, 0):
        assert torch.autograd.gradcheck(block, images)
    for value in (-1.0, 0.0, 1.0):
        images = torch.full((1, 3, 32, 32), value, dtype=torch.float64, requires_grad=True)
        block(images).sum().backward()
        assert images.grad.isfinite().all()


def test_what_is_computed_is_the_state_dict():
    block = VOneBlock(push_pull=PUSH_PULL, **SMALL)
    assert set(block.state_dict()) == {f.removeprefix("vone_block.") for f in FILTERS}
    assert block.gabor_parameters is not None
    images = torch.rand(1, 3, 32, 32)
    other = VOneBlock(block.config, seed=1)
    with no_noise(block), no_noise(other):
        assert not torch.equal(block(images), other(images))
        block.load_state_dict(other.state_dict())
        assert torch.equal(block(images), other(images))
        assert block.gabor_parameters is None
        other.push_pull.pull.weight.zero_()
        assert not torch.equal(block(images), other(images))
        assert other.gabor_parameters is None


def test_settings_go_through_json_and_impossible_ones_are_refused():
    config = VOneBlockConfig(push_pull=PUSH_PULL)
    stored = json.loads(json.dumps({"push_pull": {"widening": 2.0, "strength": 0.7}}))
    assert VOneBlockConfig(**stored) == config
    assert PUSH_PULL.kernel_size(25) == 51
    with pytest.raises(vonenet.InputError, match="push_pull must be a PushPullConfig"):
        VOneBlockConfig(push_pull=True)
    with pytest.raises(vonenet.InputError, match=r"push_pull\.strength must be a number"):
        PushPullConfig(strength=-1)


@pytest.mark.parametrize("in_chans", [3, 1])
def test_a_file_gives_the_same_model(tmp_path, in_chans):
    first = model().eval()
    vonenet.save_checkpoint(first, tmp_path / "a.safetensors")
    again = vonenet.load_checkpoint(tmp_path / "a.safetensors", in_chans=in_chans).eval()
    grey = torch.rand(2, 1, 32, 32)
    with fixed_noise(first, 0), fixed_noise(again, 0):
        found = again(grey.expand(-1, in_chans, -1, -1))
        torch.testing.assert_close(found, first(grey.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-5)
    if in_chans == 3:
        assert again.config == first.config
        assert again.vone_block.gabor_parameters is not None


def test_a_model_is_attacked():
    gradient = averaged_gradient(
        model().eval(), torch.rand(2, 3, 32, 32), torch.tensor([0, 1]), samples=2
    )
    assert gradient.isfinite().all()
    assert gradient.abs().max() > 0
