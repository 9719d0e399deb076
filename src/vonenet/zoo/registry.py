"""Names to VOneNets: `create_model`, `get_model`, `list_models`; and their base networks.

Our named models are in timm's registry too: `timm.create_model("voneresnet50", num_classes=10)`.
"""

from __future__ import annotations

import difflib
import fnmatch
import math
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from timm.models import is_model, register_model
from torch import nn

from vonenet.backbones import NATIVE, build_base
from vonenet.backbones.timm_stems import timm_backbone_names
from vonenet.data.classes import imagenet_ids
from vonenet.errors import InputError
from vonenet.frontends.front_end import FrontEnd, build_front_end
from vonenet.frontends.presets import find_preset
from vonenet.model import DEFAULT_FRONT_END, VOneNet, VOneNetConfig
from vonenet.names import NAMED_MODELS, ModelEntry
from vonenet.v1.block import VOneBlock
from vonenet.v1.checks import MOST, real, whole
from vonenet.v1.config import FIELDS, image_size_pair
from vonenet.v1.noise import Noise
from vonenet.v1.old_names import current_names
from vonenet.zoo.backbone_weights import fill_backbone, fill_base
from vonenet.zoo.checkpoints import (
    LARGEST_IMAGE_PX,
    SETTINGS,
    check_fit,
    header_errors,
    header_value,
    load_checkpoint,
    read_metadata,
    stored_classes,
)
from vonenet.zoo.weights import PUBLISHED, fetch, read_safetensors

TIMM_PREFIX = "vone_"
IMAGENET_CLASSES = 1000
IMAGENET_SIZE = (224, 224)
# What a base network's file says of how to build it, and the largest value
BASE_SETTINGS = {"num_classes": MOST, "in_chans": 3, "image_size": LARGEST_IMAGE_PX}
_SEPARATORS = re.compile("[-_ ]")
# What timm.create_model passes to every model, beside the user's own keywords.
_TIMMS_OWN = ("pretrained_cfg", "pretrained_cfg_overlay", "cache_dir")


def create_model(
    name: str,
    *,
    pretrained: bool = False,
    checkpoint: str | Path | None = None,
    backbone_weights: str | Path | None = None,
    front_end: str | None = None,
    **settings: Any,
) -> VOneNet:
    """Build a VOneNet by name.

    Args:
        name: a registered name (`list_models`), such as `voneresnet50` or `vone_convnext_tiny`.
        pretrained: load the published weights of that name, downloading them once.
        checkpoint: load these weights instead: a file of `save_checkpoint`, or a published one.
        backbone_weights: for fine-tuning, start the back-end, what follows V1 and its bottleneck,
            from the weights of an ordinary network: "timm" or "torchvision" for the published ones
            of the same network (with a colon and a name for one of several, as in "timm:a1_in1k"),
            or a file: a state dict of the base network or of a VOneNet. The first stage in it is
            left out. A classifier of another number of classes is new and random, as are the
            bottleneck and, in a vision transformer, the patch projection.
        front_end: a preset (`list_front_ends`), such as `evnet2025`; `vonenet` by default. Trained
            weights have their own, and another is refused.
        **settings: `num_classes` (default 1000) and every field of `VOneBlockConfig`: `in_chans`
            (3), `image_size` (224), `visual_degrees` (8 at 224 px), `noise` ("neuronal"),
            `simple_channels`, `complex_channels`, `kernel_size`, `stride`, `sf_min`, `sf_max`,
            `sf_corr`, `k_exc`, `noise_scale`, `noise_level`, `filters`, `seed`, `color_seed`.
            With trained weights, those that the weights leave open.

    Returns:
        The model, in training mode like any new module; call `.eval()` for inference.

    Raises:
        InputError: an unknown name (with the nearest ones), or a setting that cannot be used.
        SettingError: a setting that does not exist (with the nearest one).
        CheckpointError: weights that are damaged, or not of this network.
        DownloadError: weights that could not be fetched.
    """
    entry = find_entry(name)
    settings = current_names(settings, SETTINGS)
    if backbone_weights is not None and (pretrained or checkpoint is not None):
        other = "pretrained" if checkpoint is None else f"checkpoint={str(checkpoint)!r}"
        raise InputError(
            f"backbone_weights={str(backbone_weights)!r} contradicts {other}; allowed: one of them"
        )
    if checkpoint is not None:
        model = load_checkpoint(checkpoint, **settings)
        if model.config.backbone != entry.backbone:
            raise InputError(
                f"{checkpoint} holds a {model.config.name} (back-end {model.config.backbone}), "
                f"not a {name} (back-end {entry.backbone})"
            )
        _check_front_end(model, front_end)
        return model
    if pretrained:
        if entry.weights is None:
            with_weights = [e.name for e in NAMED_MODELS.values() if e.weights]
            raise InputError(
                f"no weights are published for {name}; there are for {', '.join(with_weights)}"
            )
        model = load_checkpoint(fetch(PUBLISHED[entry.weights]), name=entry.name, **settings)
        if model.config.num_classes == IMAGENET_CLASSES:
            model.class_names = tuple(imagenet_ids())
        _check_front_end(model, front_end)
        return model
    num_classes = settings.pop("num_classes", None)
    num_classes = IMAGENET_CLASSES if num_classes is None else num_classes
    front_end = front_end or DEFAULT_FRONT_END
    preset = find_preset(front_end)
    if entry.noise is None:
        settings = {"noise": None, **settings}
    v1 = preset.v1_config(**settings)
    model = VOneNet.from_config(
        VOneNetConfig(entry.name, entry.backbone, num_classes, v1, preset.before_v1, front_end)
    )
    if backbone_weights is not None:
        fill_backbone(model, backbone_weights)
    return model


def _check_front_end(model: VOneNet, wanted: str | None) -> None:
    """Refuse another front-end than the one that trained weights have."""
    found = model.config.front_end
    if wanted not in (None, found):
        raise InputError(f"these weights have the front-end {found}, not {wanted}; leave that out")


def get_model(
    model_arch: str | None = "resnet50",
    pretrained: bool = True,
    map_location: Any = "cpu",
    **settings: Any,
) -> VOneNet | VOneBlock:
    """Build what the original package's function of this name builds.

    Without published weights that is a model with the original's filters and its geometry at every
    image size: 8 degrees, kernels of 25 px, stride 4. The original took the filters' colours from
    torch's global generator; `color_seed=n` gives those after `torch.manual_seed(n)`.

    Args:
        model_arch: `resnet50`, `resnet50_at`, `resnet50_ns`, `cornets`, `alexnet`, or any name of
            `create_model`; None for the V1 block alone.
        pretrained: load the published weights.
        map_location: device of the model.
        **settings: as `create_model`, also by the original's names (`ksize`, `gabor_seed`, ...);
            every one of them counts, with pretrained weights too.
    """
    ours = current_names(settings, SETTINGS, quiet=True)
    if model_arch is not None:
        model = create_model(model_arch, pretrained=pretrained, front_end="vonenet2020", **ours)
        return model.to(map_location)
    if "num_classes" in ours:
        raise InputError("model_arch=None is V1 alone, without num_classes; leave that out")
    return VOneBlock(find_preset("vonenet2020").v1_config(**ours)).to(map_location)


def create_front_end(name: str = DEFAULT_FRONT_END, **settings: Any) -> FrontEnd:
    """Build a front-end alone, from images to the responses of V1.

    Args:
        name: a preset (`list_front_ends`).
        **settings: every field of `VOneBlockConfig`, as in `create_model`.
    """
    preset = find_preset(name)
    v1 = preset.v1_config(**current_names(settings, FIELDS))
    return build_front_end(v1, preset.before_v1)


def list_models(pattern: str = "*") -> list[str]:
    """List registered names that match a shell pattern, the named ones first.

    Args:
        pattern: such as `vonere*` or `*convnext*`.
    """
    return fnmatch.filter([*NAMED_MODELS, *_timm_names()], pattern)


def create_base_model(
    name: str,
    *,
    backbone_weights: str | Path | None = None,
    stem_noise: float = 0.0,
    **settings: Any,
) -> nn.Module:
    """Build what a VOneNet is compared with: the same back-end with its own first stage.

    Args:
        name: the VOneNet's name.
        backbone_weights: start from these weights, as in `create_model`; here the first stage takes
            part.
        stem_noise: standard deviation of Gaussian noise on the outputs of its first stage, in
            training and evaluation; the outputs are rectified again.
        **settings: `num_classes`, `in_chans`, `image_size` (one number of pixels or two).

    Returns:
        The network, with fresh weights unless others are given.

    Raises:
        InputError: a setting that cannot be used, or noise behind a first stage that is not ours.
    """
    backbone = find_entry(name).backbone
    stem_noise = real("stem_noise", stem_noise, 0, 1e6)
    if "image_size" in settings:
        settings["image_size"] = image_size_pair(settings["image_size"])
    base = build_base(backbone, **settings)
    if backbone_weights is not None:
        num_classes = settings.get("num_classes", IMAGENET_CLASSES)
        size = settings.get("image_size", IMAGENET_SIZE)
        fill_base(base, backbone, backbone_weights, num_classes, size)
    if stem_noise:
        end = NATIVE[backbone].stem_end if backbone in NATIVE else None
        if end is None:
            raise InputError(
                f"stem_noise={stem_noise:g} is impossible for {backbone!r}; allowed: 0"
            )
        noise = Noise("gaussian", stem_noise, 0.0)
        base.set_submodule(end, nn.Sequential(base.get_submodule(end), noise))
    return base


def load_base_checkpoint(path: str | Path) -> nn.Module:
    """Load the base network of a file, image size and normalisation in `pretrained_cfg`.

    Raises:
        CheckpointError: the file is damaged, or its weights do not fit.
    """
    path = Path(path)
    header = read_metadata(path)
    description = header_value(header, "base", path)
    with header_errors(path):
        settings, noise = description["settings"], description.get("stem_noise", 0.0)
        mean, std = description["mean"], description["std"]
        if set(settings) != set(BASE_SETTINGS):
            raise InputError(f"its settings must be {', '.join(BASE_SETTINGS)}")
        for name, largest in BASE_SETTINGS.items():
            whole(name, settings[name], 1, largest)
        if not all(math.isfinite(value) for value in (*mean, *std)):
            raise InputError(f"mean and std must be finite, got {mean} and {std}")
        side, channels = settings["image_size"], settings["in_chans"]
        build = partial(create_base_model, description["name"], stem_noise=noise, **settings)
        with torch.device("meta"):
            planned = build()
    classes = stored_classes(header, settings["num_classes"], path)
    weights = read_safetensors(path)
    refusal = f"{path} does not fit the base network of {description['name']}"
    check_fit(planned, weights, refusal)  # before there is memory for what the header asks for
    model: Any = build()
    model.load_state_dict(weights)
    model.pretrained_cfg = {"input_size": (channels, side, side), "mean": mean, "std": std}
    model.class_names = classes
    return model  # type: ignore[no-any-return]


def find_entry(name: str) -> ModelEntry:
    """Look up a name, ours or the original's, or raise InputError with the nearest ones."""
    plain = _SEPARATORS.sub("", name.lower())
    for entry in NAMED_MODELS.values():
        ours = _SEPARATORS.sub("", entry.name)
        if plain in (ours, ours.removeprefix("vone")):
            return entry
    if name.startswith(TIMM_PREFIX):
        timm_name = name.removeprefix(TIMM_PREFIX)
        # A name that timm knows but has no adapter gets its reason from build_backbone.
        return ModelEntry(name, f"timm/{timm_name}")
    known = [*NAMED_MODELS, *_timm_names()]
    near = difflib.get_close_matches(name, known, n=4) or list(NAMED_MODELS)
    raise InputError(f"unknown model {name!r}; nearest: {', '.join(near)}")


def _timm_names() -> list[str]:
    return [TIMM_PREFIX + name for name in timm_backbone_names()]


def register_timm_models() -> None:
    """Make our named models known to `timm.create_model`; done once, however often it is called."""
    for name in NAMED_MODELS:
        if not is_model(name):
            # timm lists what it registers among the public names of its function's module
            globals()[name] = register_model(_timm_entrypoint(name))


def _timm_entrypoint(name: str) -> Callable[..., VOneNet]:
    def build(pretrained: bool = False, **settings: Any) -> VOneNet:
        own = {key: value for key, value in settings.items() if key not in _TIMMS_OWN}
        return create_model(name, pretrained=pretrained, **own)

    build.__name__ = build.__qualname__ = name
    build.__doc__ = f"VOneNet {name}, as `vonenet.create_model` builds it."
    return build
