"""Back-ends: networks without their first stage, to stand behind V1, and the whole networks.

By name: our own ones, and any of timm's as `timm/<name>`.
"""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from torch import Tensor, nn

from vonenet.backbones.alexnet import alexnet, alexnet_backbone, alexnet_backbone_weights
from vonenet.backbones.backbone import Backbone
from vonenet.backbones.cornet_s import cornet_s, cornet_s_backbone
from vonenet.backbones.resnet import (
    DEPTHS,
    SMALL,
    resnet,
    resnet_backbone,
    small_resnet,
    small_resnet_backbone,
)
from vonenet.errors import InputError

# Below this, first stages of stride 4 run at stride 2, as the field has it on Tiny ImageNet (Baidya
# et al. 2021, 64 px): at stride 4 the last maps of a 64 px image would be 2 x 2.
SMALL_IMAGE_PX = 128

# timm takes seconds to import, so the functions below import `timm_stems` when they need it.
_TIMM_PREFIX = "timm/"


@dataclass(frozen=True)
class Native:
    """How to build a network that we define, without its first stage and whole.

    `halve_stem_stride` changes a whole one for small images, where its stem has stride 4.
    `stem_end` is the last layer of a whole one's stem, where it has no weights.
    `rename` turns a whole one's weights into the back-end's, where names or shapes differ.
    """

    backbone: Callable[..., Backbone]  # (*, num_classes)
    base: Callable[..., nn.Module]  # (*, num_classes, in_chans)
    halve_stem_stride: Callable[[Any], None] | None = None
    stem_end: str | None = None
    rename: Callable[[Mapping[str, Tensor]], dict[str, Tensor]] = dict


def _halve_alexnet_conv1(model: Any) -> None:
    model.features[0].stride = (2, 2)


NATIVE: dict[str, Native] = {
    **{
        f"resnet{depth}": Native(
            partial(resnet_backbone, depth),
            partial(resnet, depth),
            lambda model: model.set_submodule("maxpool", nn.Identity()),
            "maxpool",
        )
        for depth in DEPTHS
    },
    "alexnet": Native(
        alexnet_backbone, alexnet, _halve_alexnet_conv1, "features.2", alexnet_backbone_weights
    ),
    "cornet_s": Native(
        cornet_s_backbone, cornet_s, lambda model: model.set_submodule("V1.pool", nn.Identity())
    ),
    **{
        name: Native(
            partial(small_resnet_backbone, name), partial(small_resnet, name), stem_end="relu"
        )
        for name in SMALL
    },
}


def build_backbone(
    name: str,
    *,
    num_classes: int = 1000,
    image_size: tuple[int, int] = (224, 224),
    stride: int | None = None,
) -> Backbone:
    """Build a network without its first stage, randomly initialised.

    Args:
        name: One of `NATIVE`, or `timm/<name>` with a name of `timm_stems.timm_backbone_names()`.
        num_classes: Width of the logits.
        image_size: Height and width in pixels of the images that V1 will see. The published
            networks among ours ask for a V1 of stride 2 where the shorter side is below 128; of
            timm's, only networks tied to one size, such as vision transformers, take notice.
        stride: V1's stride in pixels where it is not to be the default. A vision transformer fits
            its patches to it; a convolutional network only gets larger or smaller maps.

    Returns:
        The back-end and what it expects of the stage before it.

    Raises:
        InputError: For an unknown name (the message lists the nearest), for a network of timm
            whose stem cannot be replaced, and for an image size or stride that does not fit.
    """
    if name in NATIVE:
        native = NATIVE[name]
        backbone = native.backbone(num_classes=num_classes)
        if native.halve_stem_stride is not None and min(image_size) < SMALL_IMAGE_PX:
            return replace(backbone, stride=2)
        return backbone
    _check_is_timm(name)
    from vonenet.backbones import timm_stems

    timm_name = name.removeprefix(_TIMM_PREFIX)
    return timm_stems.timm_backbone(
        timm_name, num_classes=num_classes, image_size=image_size, stride=stride
    )


def build_base(
    name: str,
    *,
    num_classes: int = 1000,
    in_chans: int = 3,
    image_size: tuple[int, int] = (224, 224),
) -> nn.Module:
    """Build the whole network that the back-end of this name comes from, randomly initialised.

    Args:
        name: As in `build_backbone`; any other network of timm will do as well.
        num_classes: Width of the logits.
        in_chans: Channels of the images.
        image_size: Height and width in pixels; for small images our own networks have a stem of
            half the stride, as in `build_backbone`.
    """
    if name in NATIVE:
        native = NATIVE[name]
        base = native.base(num_classes=num_classes, in_chans=in_chans)
        if native.halve_stem_stride is not None and min(image_size) < SMALL_IMAGE_PX:
            native.halve_stem_stride(base)
        return base
    _check_is_timm(name)
    from vonenet.backbones import timm_stems

    timm_name = name.removeprefix(_TIMM_PREFIX)
    return timm_stems.timm_base(
        timm_name, num_classes=num_classes, in_chans=in_chans, image_size=image_size
    )


def backbone_weights(name: str, whole: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Pick the weights of a back-end out of those of the whole network.

    Args:
        name: As in `build_backbone`.
        whole: State dict of `build_base(name)`.

    Returns:
        Weights by the back-end's names. Some of the first stage may be among them; what V1 has
        rebuilt, such as a patch embedding, is not.
    """
    if name in NATIVE:
        return NATIVE[name].rename(whole)
    from vonenet.backbones import timm_stems

    rebuilt = timm_stems.rebuilt_prefixes(name.removeprefix(_TIMM_PREFIX))
    return {key: value for key, value in whole.items() if not key.startswith(rebuilt)}


def _check_is_timm(name: str) -> None:
    """Raise an InputError that lists the nearest names unless this is `timm/<name in timm>`."""
    import timm

    timm_names = [_TIMM_PREFIX + timm_name for timm_name in timm.list_models()]
    if name not in timm_names:
        nearest = difflib.get_close_matches(name, [*NATIVE, *timm_names]) or NATIVE
        raise InputError(f"unknown back-end {name!r}; nearest: {', '.join(nearest)}")
