"""Names of back-ends: which there are, and what is said about those there are not."""

import pytest
import timm
import torch

from vonenet.backbones import NATIVE, build_backbone, build_base
from vonenet.backbones.timm_stems import timm_backbone_names
from vonenet.errors import InputError


def test_native_names():
    resnets = ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]
    assert list(NATIVE) == [*resnets, "alexnet", "cornet_s", "resnet_small", "resnet_tiny"]


def test_timm_names_are_those_of_timm_and_of_known_families():
    names = timm_backbone_names()
    assert len(names) > 500
    assert set(names) <= set(timm.list_models())
    assert {"resnet50", "convnext_tiny", "vit_tiny_patch16_224", "efficientnet_b0"} <= set(names)
    assert "mixer_s32_224" not in names  # its family has no adapter
    assert "deit_tiny_distilled_patch16_224" not in names  # two classifiers


@pytest.mark.parametrize("build", [build_backbone, build_base])
@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("resnet51", "resnet50"),
        ("convnext_tiny", "timm/convnext_tiny"),
        ("timm/resnet50.a1_in1k", "timm/resnet50"),
        ("timm/resnet5O", "timm/resnet50"),
        ("zzz", "cornet_s"),
    ],
)
def test_unknown_name_lists_the_nearest(build, name, nearest):
    with pytest.raises(InputError, match="unknown back-end") as error:
        build(name)
    assert nearest in str(error.value).partition("nearest: ")[2].split(", ")


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "cornet_s", "alexnet", "resnet_small"])
def test_small_images_meet_a_first_stage_of_stride_2_in_network_and_base(name):
    """The last maps of a base and of its VOneNet have one size, so that they can be compared."""
    last = {"cornet_s": "decoder.avgpool", "alexnet": "avgpool"}.get(name, "avgpool")
    shapes = []
    with torch.device("meta"):
        backbone = build_backbone(name, image_size=(64, 64))
        base = build_base(name, image_size=(64, 64))
        assert backbone.stride == 2
        for module in (backbone.module, base):
            module.get_submodule(last).register_forward_pre_hook(
                lambda _m, args: shapes.append(args[0].shape[-2:])
            )
        backbone.module(torch.empty(1, backbone.in_channels, 32, 32))
        base(torch.empty(1, 3, 64, 64))
    lost_at_borders = 2 if name == "alexnet" else 0  # it pads less than its VOneNet does
    assert max(shapes[0]) == max(shapes[1]) + lost_at_borders
