"""The back-ends that we define: published names and shapes, and agreement with independent code."""

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from vonenet.backbones import NATIVE, build_backbone, build_base

# The last layer in the base network of the stage that V1 replaces.
FIRST_STAGE_ENDS = {
    "resnet18": "maxpool",
    "cornet_s": "V1",
    "resnet_small": "relu",
    "resnet_tiny": "relu",
}


def with_random_statistics(module):
    """In eval mode, and with batch statistics that a mix-up of two layers would show."""
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(std=0.1)
            layer.running_var.uniform_(0.5, 1.5)
            if layer.affine:
                nn.init.uniform_(layer.weight, 0.5, 1.5)
                nn.init.normal_(layer.bias, std=0.1)
    return module.eval()


@pytest.fixture(autouse=True)
def _no_grad():
    with torch.no_grad():
        yield


@pytest.mark.parametrize("name", NATIVE)
def test_back_end_and_base_take_odd_and_rectangular_images(name):
    size = height, width = (63, 97)
    with torch.device("meta"):
        backbone = build_backbone(name, num_classes=7, image_size=size)
        base = build_base(name, num_classes=7, in_chans=1, image_size=size)
        map_size = (-(-height // backbone.stride), -(-width // backbone.stride))
        responses = torch.empty(2, backbone.in_channels, *map_size)
        assert backbone.module(responses).shape == (2, 7)
        assert base(torch.empty(2, 1, height, width)).shape == (2, 7)
    assert backbone.module.get_submodule(backbone.head).out_features == 7


@pytest.mark.parametrize("name", FIRST_STAGE_ENDS)
def test_back_end_is_the_base_behind_its_first_stage(name):
    base = with_random_statistics(build_base(name, num_classes=5))
    backbone = build_backbone(name, num_classes=5)
    missing, unexpected = backbone.module.load_state_dict(base.state_dict(), strict=False)
    assert not missing
    assert unexpected
    stage_output: list[Tensor] = []
    last = base.get_submodule(FIRST_STAGE_ENDS[name])
    last.register_forward_hook(lambda _m, _args, out: stage_output.append(out))
    images = torch.randn(2, 3, 64, 96)
    expected = base(images)
    height, width = 64 // backbone.stride, 96 // backbone.stride
    assert stage_output[0].shape == (2, backbone.in_channels, height, width)
    torch.testing.assert_close(backbone.module.eval()(stage_output[0]), expected)


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "alexnet"])
def test_base_computes_what_torchvision_computes(name):
    base = with_random_statistics(build_base(name, num_classes=5))
    theirs = torchvision.models.get_model(name, num_classes=5)
    theirs.load_state_dict(base.state_dict())
    images = torch.randn(2, 3, 64, 96)
    torch.testing.assert_close(base(images), theirs.eval()(images))


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "alexnet", "cornet_s", "resnet_small"])
def test_hooks_keep_what_they_were_given(name):
    backbone = build_backbone(name, num_classes=5)
    held: dict[str, tuple[Tensor, Tensor]] = {}

    for name, layer in backbone.module.named_modules():
        layer.register_forward_hook(
            lambda _m, _args, out, name=name: held.update({name: (out, out.clone())})
        )
    backbone.module(torch.randn(2, backbone.in_channels, 16, 16))
    assert len(held) > 10
    for layer, (kept, at_hook_time) in held.items():
        assert torch.equal(kept, at_hook_time), layer


def cornet_area(x, weights, area, times):
    """A CORnet-S area in evaluation mode, from Kubilius et al. 2019, without modules."""
    w = {key.removeprefix(f"{area}."): value for key, value in weights.items()}

    def norm(x, layer):
        mean, var = w[f"{layer}.running_mean"], w[f"{layer}.running_var"]
        scale = w[f"{layer}.weight"] / torch.sqrt(var + 1e-5)
        shift = w[f"{layer}.bias"] - mean * scale
        return x * scale[:, None, None] + shift[:, None, None]

    x = F.conv2d(x, w["conv_input.weight"])
    for t in range(times):
        shortcut = norm(F.conv2d(x, w["skip.weight"], stride=2), "norm_skip") if t == 0 else x
        x = norm(F.conv2d(x, w["conv1.weight"]), f"norm1_{t}").clamp(min=0)
        x = F.conv2d(x, w["conv2.weight"], stride=2 if t == 0 else 1, padding=1)
        x = norm(x, f"norm2_{t}").clamp(min=0)
        x = norm(F.conv2d(x, w["conv3.weight"]), f"norm3_{t}")
        x = (x + shortcut).clamp(min=0)
    return x


def test_cornet_s_agrees_with_a_functional_rewrite():
    module = with_random_statistics(build_backbone("cornet_s", num_classes=5).module)
    weights = module.state_dict()
    responses = x = torch.randn(2, 64, 16, 24)
    for area, times in (("V2", 2), ("V4", 4), ("IT", 2)):
        x = cornet_area(x, weights, area, times)
    pooled = x.mean(dim=(2, 3))
    logits = pooled @ weights["decoder.linear.weight"].T + weights["decoder.linear.bias"]
    torch.testing.assert_close(module(responses), logits, rtol=1e-4, atol=1e-5)


def test_cornet_s_draws_its_convolutions_as_published():
    for name, layer in build_backbone("cornet_s", num_classes=5).module.named_modules():
        if isinstance(layer, nn.Conv2d):
            height, width = layer.kernel_size
            std = (2 / (height * width * layer.out_channels)) ** 0.5
            torch.testing.assert_close(layer.weight.std().item(), std, rtol=0.05, atol=0, msg=name)


def test_cornet_s_base_has_the_areas_of_the_ventral_stream():
    with torch.device("meta"):
        base = build_base("cornet_s")
    assert [name for name, _ in base.named_children()] == ["V1", "V2", "V4", "IT", "decoder"]
    weights = {k: tuple(v.shape) for k, v in base.V1.state_dict().items() if "conv" in k}
    assert weights == {"conv1.weight": (64, 3, 7, 7), "conv2.weight": (64, 64, 3, 3)}


def test_cornet_s_keeps_no_state_between_calls():
    module = build_backbone("cornet_s", num_classes=5).module.eval()
    strides = {name: m.stride for name, m in module.named_modules() if isinstance(m, nn.Conv2d)}
    calls: list[str] = []
    for name, layer in module.named_modules():
        layer.register_forward_hook(lambda _m, _args, _out, name=name: calls.append(name))
    responses = torch.randn(1, 64, 8, 8)
    assert torch.equal(module(responses), module(responses))
    assert strides == {n: m.stride for n, m in module.named_modules() if isinstance(m, nn.Conv2d)}
    # Shared layers are called once per time step
    for area, times in (("V2", 2), ("V4", 4), ("IT", 2)):
        for layer in ("conv1", "conv2", "conv3", "nonlin1", "nonlin2", "nonlin3", "output"):
            assert calls.count(f"{area}.{layer}") == 2 * times
        for once in ("conv_input", "skip", "norm_skip", f"norm2_{times - 1}"):
            assert calls.count(f"{area}.{once}") == 2
