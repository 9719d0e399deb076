"""timm's networks behind V1: the same network from the stem on, one small member per family.

The oracle is timm itself: an adapted network that is given the original's weights, and what the
original's stem (or a rearrangement of the image) would deliver, must compute the same logits.
"""

from functools import cache

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn.functional import pad, pixel_unshuffle

from vonenet.backbones import build_backbone, build_base, timm_stems
from vonenet.errors import InputError

# The smallest member of each family, and what is fast enough to run with weights at each change.
# fmt: off
CHAINS = {
    "convnext": "test_convnext", "densenet": "densenet121", "dla": "dla46x_c",
    "edgenext": "edgenext_xx_small", "efficientnet": "test_efficientnet",
    "ghostnet": "ghostnet_050", "maxxvit": "test_coatnet", "mobilenetv3": "mobilenetv3_small_050",
    "mobilevit": "mobilevit_xxs", "nfnet": "test_nfnet", "regnet": "regnetx_002",
    "resnet": "test_resnet", "resnetv2": "resnetv2_18", "starnet": "starnet_s050",
    "vovnet": "ese_vovnet19b_slim_dw",
}
SLOW_CHAINS = {
    "byoanet": "eca_botnext26ts_256", "byobnet": "mobileone_s1", "cpubone": "cpubone_nano",
    "cspnext": "cspnext_tiny", "davit": "davit_tiny", "dpn": "dpn48b",
    "efficientvit_mit": "efficientvit_b0", "fasternet": "fasternet_t0", "fastvit": "fastvit_t8",
    "focalnet": "focalnet_tiny_srf", "gcvit": "gcvit_xxtiny", "hardcorenas": "hardcorenas_b",
    "hgnet": "hgnetv2_b0", "hiera": "hiera_tiny_224", "hieradet_sam2": "hieradet_small",
    "hrnet": "hrnet_w18_small", "iformer": "iformer_t", "inception_next": "inception_next_atto",
    "lcnetv2": "lcnetv2_small", "lowformer": "lowformer_b0", "metaformer": "poolformerv2_s12",
    "mvitv2": "mvitv2_tiny", "nextvit": "nextvit_small", "pvt_v2": "pvt_v2_b0",
    "rdnet": "rdnet_tiny", "repghost": "repghostnet_050", "res2net": "res2next50",
    "resnest": "resnest14d", "rexnet": "rexnet_100", "selecsls": "selecsls42",
    "senet": "legacy_seresnet18", "sknet": "skresnet18", "tiny_vit": "tiny_vit_5m_224",
    "vgg": "vgg11", "visformer": "visformer_tiny", "xception_aligned": "xception41p",
}
PATCHES = {
    "deit": "deit_tiny_patch16_224", "eva": "vit_tiny_patch16_dinov3_qkvb",
    "vision_transformer": "test_vit", "vision_transformer_relpos": "test_vit_relpos",
}
SLOW_PATCHES = {
    "beit": "beit_base_patch16_224", "cait": "cait_xxs24_224", "convit": "convit_tiny",
    "nest": "nest_tiny", "swin_transformer": "swin_tiny_patch4_window7_224",
    "swin_transformer_v2": "swinv2_tiny_window8_256",
    "swin_transformer_v2_cr": "swinv2_cr_tiny_224",
    "vision_transformer_sam": "samvit_base_patch16_224",
}
# fmt: on
MEMBERS = CHAINS | SLOW_CHAINS | PATCHES | SLOW_PATCHES
# Height and width in pixels: small, unequal, unless timm itself cannot.
SIZES = {"convit": (64, 64), "mvitv2": (64, 64), "nest": (64, 64)}


def size_of(family):
    return SIZES.get(family, (64, 96))


def families(fast, slow):
    return [*fast, *(pytest.param(family, marks=pytest.mark.slow) for family in slow)]


def build(family):
    """A family's base and its adapted form, unrelated weights, evaluation mode."""
    name, size = f"timm/{MEMBERS[family]}", size_of(family)
    base = build_base(name, num_classes=7, image_size=size)
    backbone = build_backbone(name, num_classes=7, image_size=size)
    backbone.module.eval()
    return base.eval(), backbone


build_with_weights = cache(build)


@pytest.fixture(autouse=True)
def _no_grad():
    with torch.no_grad():
        yield


def bottleneck_output(backbone, size):
    height, width = size[0] // backbone.stride, size[1] // backbone.stride
    return torch.randn(1, backbone.in_channels, height, width)


def test_every_family_has_a_member_here():
    assert set(MEMBERS) == set(timm_stems.FAMILIES)


@pytest.mark.parametrize(
    "family", ["beit", "byobnet", "metaformer", "res2net", "resnest", "swin_transformer", "vgg"]
)
def test_strides_are_kept(family):
    size = size_of(family)
    with torch.device("meta"):
        base, backbone = build(family)
        expected = base.forward_features(torch.empty(1, 3, *size)).shape
        kept = backbone.module.forward_features(bottleneck_output(backbone, size)).shape
    assert kept == expected
    assert backbone.stride in (2, 4)


@pytest.mark.parametrize("family", families(CHAINS, SLOW_CHAINS))
def test_network_behind_its_own_stem_is_the_original(family):
    base, backbone = build_with_weights(family)
    assert not backbone.module.load_state_dict(base.state_dict(), strict=False).missing_keys
    replaced = [
        name
        for name, layer in backbone.module.named_modules()
        if isinstance(layer, nn.Identity) and not isinstance(base.get_submodule(name), nn.Identity)
    ]
    lost = base.state_dict().keys() - backbone.module.state_dict().keys()
    of_stem = tuple(f"{name}." for name in replaced)
    assert lost == {key for key in base.state_dict() if key.startswith(of_stem)}
    outputs: list[Tensor] = []
    hooks = [
        base.get_submodule(name).register_forward_hook(lambda _m, _args, out: outputs.append(out))
        for name in replaced
    ]
    expected = base(torch.randn(1, 3, *size_of(family)))
    for hook in hooks:
        hook.remove()
    assert len(outputs) == len(replaced) > 0
    assert outputs[-1].shape == bottleneck_output(backbone, size_of(family)).shape
    torch.testing.assert_close(backbone.module(outputs[-1]), expected)


@pytest.mark.parametrize("family", families(PATCHES, SLOW_PATCHES))
def test_transformer_behind_rearranged_pixels_is_the_original(family):
    base, backbone = build_with_weights(family)
    weights = base.state_dict()
    # The pixels of a stride x stride square as channels are a V1 whose patch embedding is known.
    empty = backbone.in_channels - 3 * backbone.stride**2
    to_channels = (0, 0, 0, 0, 0, empty)
    weights["patch_embed.proj.weight"] = pad(
        pixel_unshuffle(weights["patch_embed.proj.weight"], backbone.stride), to_channels
    )
    backbone.module.load_state_dict(weights)
    images = torch.randn(1, 3, *size_of(family))
    responses = pad(pixel_unshuffle(images, backbone.stride), to_channels)
    torch.testing.assert_close(backbone.module(responses), base(images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", families(CHAINS | PATCHES, SLOW_CHAINS | SLOW_PATCHES))
def test_hooks_keep_what_they_were_given(family):
    """On the bottleneck, and on a normalisation that an activation follows."""
    _, backbone = build_with_weights(family)
    bottleneck = nn.Conv2d(backbone.in_channels, backbone.in_channels, 1, bias=False)
    layers = [bottleneck]
    if family == "resnet":
        layers.append(backbone.module.get_submodule("layer1.0.bn1"))
    held: list[tuple[Tensor, Tensor]] = []
    for layer in layers:
        layer.register_forward_hook(lambda _m, _args, out: held.append((out, out.clone())))
    nn.Sequential(bottleneck, backbone.module)(bottleneck_output(backbone, size_of(family)))
    assert len(held) == len(layers)
    assert all(torch.equal(output, at_hook_time) for output, at_hook_time in held)


@pytest.mark.parametrize(
    ("name", "patch_px", "stride", "expected"),
    [
        ("test_vit", 16, None, 4),
        ("test_vit", 16, 8, 8),
        ("vit_small_patch14_dinov2", 14, None, 2),
        ("swinv2_cr_tiny_224", 4, 2, 2),
    ],
)
def test_patches_leave_v1_a_stride_that_divides_them(name, patch_px, stride, expected):
    with torch.device("meta"):
        backbone = build_backbone(f"timm/{name}", stride=stride)
        logits = backbone.module(torch.empty(1, 64, 224 // expected, 224 // expected))
    assert (backbone.stride, backbone.in_channels) == (expected, 64)
    embed = backbone.module.patch_embed
    assert embed.proj.kernel_size == (patch_px // expected, patch_px // expected)
    assert embed.grid_size == (224 // patch_px, 224 // patch_px)
    assert logits.shape == (1, 1000)


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("test_vit", {"stride": 3}, r"timm/test_vit: .*\(16, 16\), got 3"),
        ("test_vit", {"image_size": (63, 64)}, "image_size 63 x 64 .* multiple of 16"),
        ("nest_tiny", {"image_size": (64, 96)}, "nest_tiny for images of 64 x 96 px: .*square"),
        ("mixer_s32_224", {}, "timm/mixer_s32_224.*'mlp_mixer'.*: beit, .*vovnet"),
        ("voneresnet18", {}, "cannot be replaced"),
        ("deit_tiny_distilled_patch16_224", {}, "head, head_dist"),
    ],
)
def test_what_cannot_be_adapted_is_refused(name, settings, words):
    with pytest.raises(InputError, match=words):
        build_backbone(f"timm/{name}", **settings)


def test_a_base_network_needs_no_adapter_but_a_size_that_timm_takes():
    base = build_base("timm/mixer_s32_224", num_classes=3, in_chans=1, image_size=(64, 64))
    assert base(torch.zeros(1, 1, 64, 64)).shape == (1, 3)
    with pytest.raises(InputError, match="nest_tiny for images of 64 x 96 px: .*square"):
        build_base("timm/nest_tiny", image_size=(64, 96))


def test_stride_of_a_convolutional_network_is_its_own():
    backbone = build_backbone("timm/test_resnet", num_classes=7, stride=2)
    assert backbone.stride == 4
    assert backbone.module(torch.randn(1, backbone.in_channels, 32, 32)).shape == (1, 7)


@pytest.mark.slow
@pytest.mark.parametrize("family", MEMBERS)
def test_every_network_of_the_family_keeps_its_strides(family):
    for name in set(timm.list_models(module=family)) & set(timm_stems.timm_backbone_names()):
        size = timm.get_pretrained_cfg(name).input_size[1:]
        with torch.device("meta"):
            base = build_base(f"timm/{name}", num_classes=7, image_size=size).eval()
            backbone = build_backbone(f"timm/{name}", num_classes=7, image_size=size)
            expected = base.forward_features(torch.empty(1, 3, *size)).shape
            responses = bottleneck_output(backbone, size)
            assert backbone.module.eval().forward_features(responses).shape == expected, name
            assert backbone.module(responses).shape == (1, 7), name
        assert backbone.stride in (2, 4), name
        assert backbone.module.get_submodule(backbone.head).weight.shape[0] == 7, name
