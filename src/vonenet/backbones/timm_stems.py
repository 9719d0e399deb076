"""Any network of timm without its stem: which modules V1 and its bottleneck stand in for.

A family is the module of `timm.models` that a network is defined in. Networks of a family name
their stem alike, so one line per family in `FAMILIES` says how it is replaced, in one of two ways:

- A convolutional stem is a chain of modules. Each becomes an identity, and the bottleneck delivers
  what the chain did. Channels and stride are measured by running the chain on a meta tensor.
- A patch embedding has a stride too long for V1, whose cells would not cover the image. V1 takes
  the longest of `_V1_STRIDES` that divides the patch, the bottleneck delivers 64 channels, and the
  projection becomes a convolution over the rest of the patch. The grid of tokens stays as it was.
"""

import math
from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import Any, cast

import timm
import torch
from timm.models import is_model_in_modules
from torch import Tensor, nn

from vonenet.backbones.backbone import Backbone, without_inplace
from vonenet.errors import InputError

# Strides that V1 may take in front of a patch embedding, the longest (cheapest) first.
_V1_STRIDES = (4, 2, 1)
# What the bottleneck delivers to a patch embedding: the width that it has in front of a ResNet.
_PATCH_CHANNELS = 64
# Side in pixels of the image that a stem's stride is measured on: a multiple of every such stride.
_PROBE_PX = 64

# Takes (model without trained weights, V1's stride or None), changes the model's stem in place and
# returns the in_channels and stride of the `Backbone`.
Adapter = Callable[[nn.Module, int | None], tuple[int, int]]


def _chain(*names: str) -> Adapter:
    """Adapt a stem that is a chain of modules, named in the order that they are called in."""
    return lambda model, _stride: _take_out(model, names)


def _densenet(model: nn.Module, _stride: int | None) -> tuple[int, int]:
    """Take out all before the first dense block: plain and deep stems differ in length."""
    children = [name for name, _ in model.get_submodule("features").named_children()]
    stem = takewhile(lambda name: name != "denseblock1", children)
    return _take_out(model, [f"features.{name}" for name in stem])


def _vgg(model: nn.Module, _stride: int | None) -> tuple[int, int]:
    """Take out the first block of convolutions with its max-pool: nothing else is that short."""
    layers = list(model.get_submodule("features").children())
    first_pool = next(i for i, layer in enumerate(layers) if isinstance(layer, nn.MaxPool2d))
    return _take_out(model, [f"features.{i}" for i in range(first_pool + 1)])


def _take_out(model: nn.Module, names: Sequence[str]) -> tuple[int, int]:
    """Put an identity in the place of each named module; return their channels and stride."""
    stem = nn.Sequential(*(model.get_submodule(name) for name in names))
    for name in names:
        model.set_submodule(name, nn.Identity())
    probe = torch.empty(1, 3, _PROBE_PX, _PROBE_PX, device="meta")
    with torch.no_grad():
        _, channels, height, width = stem.eval().to("meta")(probe).shape
    if height != width or _PROBE_PX % height:
        raise InputError(
            f"its stem makes {height} x {width} out of {_PROBE_PX} x {_PROBE_PX} pixels, "
            "which V1 cannot do with any stride"
        )
    return channels, _PROBE_PX // height


def _patches(model: nn.Module, stride: int | None) -> tuple[int, int]:
    """Give V1 a part of the stride of a vision transformer's patch embedding."""
    embed = cast(Any, model.get_submodule("patch_embed"))
    patch_size: tuple[int, int] = embed.patch_size
    if stride is None:
        stride = next(s for s in _V1_STRIDES if _divides(s, patch_size))
    elif not _divides(stride, patch_size):
        raise InputError(f"V1's stride must divide the patch size {patch_size}, got {stride}")
    embed.patch_size = (patch_size[0] // stride, patch_size[1] // stride)
    embed.proj = nn.Conv2d(
        _PATCH_CHANNELS,
        embed.proj.out_channels,
        kernel_size=embed.patch_size,
        stride=embed.patch_size,
        bias=embed.proj.bias is not None,
    )
    # It expects V1's map instead of the image; the grid of tokens stays.
    height, width = embed.img_size
    map_size = (math.ceil(height / stride), math.ceil(width / stride))
    grid = (map_size[0] // embed.patch_size[0], map_size[1] // embed.patch_size[1])
    if grid != tuple(embed.grid_size):
        raise InputError(
            f"image_size {height} x {width} px holds {embed.grid_size} patches, but V1's map "
            f"holds {grid}; choose a multiple of {stride * max(embed.patch_size)} px"
        )
    embed.img_size = map_size
    return _PATCH_CHANNELS, stride


def _divides(stride: int, patch_size: tuple[int, int]) -> bool:
    return all(side % stride == 0 for side in patch_size)


# fmt: off
FAMILIES: dict[str, Adapter] = {
    # Convolutional stems, by what timm calls their parts.
    **dict.fromkeys(
        (
            "byoanet", "byobnet", "convnext", "cpubone", "cspnext", "davit", "edgenext",
            "efficientvit_mit", "fastvit", "focalnet", "gcvit", "hgnet", "iformer",
            "inception_next", "lcnetv2", "lowformer", "maxxvit", "metaformer", "mobilevit",
            "nextvit", "nfnet", "rdnet", "regnet", "resnetv2", "rexnet", "selecsls", "starnet",
            "visformer", "vovnet", "xception_aligned",
        ),
        _chain("stem"),
    ),
    **dict.fromkeys(
        ("res2net", "resnest", "resnet", "sknet"), _chain("conv1", "bn1", "act1", "maxpool")
    ),
    **dict.fromkeys(("efficientnet", "hardcorenas", "mobilenetv3"), _chain("conv_stem", "bn1")),
    **dict.fromkeys(("ghostnet", "repghost"), _chain("conv_stem", "bn1", "act1")),
    **dict.fromkeys(("fasternet", "tiny_vit"), _chain("patch_embed")),
    **dict.fromkeys(("hiera", "hieradet_sam2", "mvitv2", "pvt_v2"), _chain("patch_embed.proj")),
    "densenet": _densenet,
    "dla": _chain("base_layer", "level0", "level1"),
    "dpn": _chain("features.conv1_1", "features.conv1_pool"),
    "hrnet": _chain("conv1", "bn1", "act1", "conv2", "bn2", "act2"),
    "senet": _chain("layer0", "pool0"),
    "vgg": _vgg,
    # Patch embeddings.
    **dict.fromkeys(
        (
            "beit", "cait", "convit", "deit", "eva", "nest", "swin_transformer",
            "swin_transformer_v2", "swin_transformer_v2_cr", "vision_transformer",
            "vision_transformer_relpos", "vision_transformer_sam",
        ),
        _patches,
    ),
}
# fmt: on


def timm_backbone_names() -> list[str]:
    """List the networks that `timm_backbone` takes, sorted; none is built."""
    names = (name for family in _families() for name in timm.list_models(module=family))
    return sorted(name for name in names if isinstance(_classifier(name), str))


def timm_base(
    name: str, *, num_classes: int, in_chans: int, image_size: tuple[int, int]
) -> nn.Module:
    """Build a network of timm, randomly initialised, with no in-place layer.

    Inside some blocks timm adds the shortcut in place; a hook on the layer before such a sum sees
    the sum.

    Raises:
        InputError: For an image size that the network cannot take.
    """
    try:
        model: nn.Module = timm.create_model(
            name, num_classes=num_classes, in_chans=in_chans, **_size_settings(name, image_size)
        )
    except (ArithmeticError, AssertionError, RuntimeError) as error:
        height, width = image_size
        raise InputError(
            f"timm cannot build {name} for images of {height} x {width} px: {error!r}"
        ) from error
    return without_inplace(model)


def timm_weights(name: str, *, num_classes: int, image_size: tuple[int, int]) -> dict[str, Tensor]:
    """Download published weights, as timm fits them to a size and a number of classes.

    A name without a tag leaves the choice among several weights to timm. For another number of
    classes the classifier is random; position embeddings are resampled to the image size.
    """
    settings = _size_settings(name, image_size)
    model: nn.Module = timm.create_model(name, pretrained=True, num_classes=num_classes, **settings)
    return dict(model.state_dict())


def timm_tags(name: str) -> list[str]:
    """List what timm calls the published weights of a network; empty if there are none."""
    names: list[str] = timm.list_pretrained(f"{name}.*")
    return [each.partition(".")[2] for each in names]


def rebuilt_prefixes(name: str) -> tuple[str, ...]:
    """Return beginnings of the names of parameters that `timm_backbone` shapes anew."""
    return ("patch_embed.proj.",) if FAMILIES[_family(name)] is _patches else ()


def timm_backbone(
    name: str, *, num_classes: int, image_size: tuple[int, int], stride: int | None
) -> Backbone:
    """Build a network of timm and replace its stem; arguments and errors as in `build_backbone`."""
    family = _family(name)
    if family not in FAMILIES:
        raise InputError(
            f"the stem of timm/{name} cannot be replaced, it is of the family {family!r}; "
            f"families that can be: {', '.join(_families())}"
        )
    head = _classifier(name)
    if not isinstance(head, str):
        raise InputError(
            f"timm/{name} must have exactly one classifier, it has {', '.join(head) or 'none'}"
        )
    model = timm_base(name, num_classes=num_classes, in_chans=3, image_size=image_size)
    try:
        in_channels, actual_stride = FAMILIES[family](model, stride)
    except InputError as error:
        raise InputError(f"timm/{name}: {error}") from None
    return Backbone(model, in_channels=in_channels, stride=actual_stride, head=head)


def _size_settings(name: str, image_size: tuple[int, int]) -> dict[str, Any]:
    """Return timm's keyword for the image size, if the network is tied to one."""
    config = timm.get_pretrained_cfg(name)
    is_tied = config is not None and config.fixed_input_size
    return {"img_size": image_size} if is_tied else {}


def _families() -> list[str]:
    """List the families of the table that this version of timm has."""
    return sorted(FAMILIES.keys() & set(timm.list_modules()))


def _family(name: str) -> str:
    return next(f for f in timm.list_modules() if is_model_in_modules(name, [f]))


def _classifier(name: str) -> str | tuple[str, ...]:
    """Return the final classifier's dotted name, or a tuple where there is not just one."""
    config = timm.get_pretrained_cfg(name)
    return (config.classifier if config is not None else None) or ()
