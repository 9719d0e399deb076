"""Names to VOneNets: `create_model`, `get_model`, `list_models`; and their base networks.

Our named models are in timm's registry too: `timm.create_model("voneresnet50", num_classes=10)`.
"""

from __future__ import annotations

import dataclasses
import difflib
import fnmatch
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from timm.models import is_model, register_model
from torch import nn

from vonenet.backbones import build_base
from vonenet.backbones.timm_stems import timm_backbone_names
from vonenet.errors import CheckpointError, InputError, SettingError
from vonenet.model import VOneNet, VOneNetConfig
from vonenet.v1.config import VOneBlockConfig, image_size_pair
from vonenet.zoo.backbone_weights import fill_backbone, fill_base
from vonenet.zoo.checkpoints import load_checkpoint, load_strictly, read_metadata
from vonenet.zoo.weights import PUBLISHED, fetch

TIMM_PREFIX = "vone_"
IMAGENET_CLASSES = 1000
IMAGENET_SIZE = (224, 224)
# What timm.create_model passes to every model, beside the user's own keywords.
_TIMMS_OWN = ("pretrained_cfg", "pretrained_cfg_overlay", "cache_dir")


@dataclass(frozen=True)
class ModelEntry:
    """A registered VOneNet.

    Attributes:
        name: what users type.
        backbone: the back-end's name.
        summary: a few words.
        weights: key of its published weights, if any.
        noise: noise mode that it was made with.
    """

    name: str
    backbone: str
    summary: str
    weights: str | None = None
    noise: str | None = "neuronal"


NAMED_MODELS = {
    entry.name: entry
    for entry in (
        ModelEntry("voneresnet18", "resnet18", "ResNet-18 behind V1"),
        ModelEntry("voneresnet34", "resnet34", "ResNet-34 behind V1"),
        ModelEntry("voneresnet50", "resnet50", "the paper's VOneResNet-50", "resnet50"),
        ModelEntry(
            "voneresnet50_at", "resnet50", "VOneResNet-50, adversarially trained", "resnet50_at"
        ),
        ModelEntry(
            "voneresnet50_ns", "resnet50", "VOneResNet-50, without noise", "resnet50_ns", noise=None
        ),
        ModelEntry("voneresnet101", "resnet101", "ResNet-101 behind V1"),
        ModelEntry("voneresnet152", "resnet152", "ResNet-152 behind V1"),
        ModelEntry("vonecornet_s", "cornet_s", "the paper's VOneCORnet-S", "cornets"),
        ModelEntry("vonealexnet", "alexnet", "the paper's VOneAlexNet", "alexnet"),
        ModelEntry("voneresnet_small", "resnet_small", "three small residual blocks, for the demo"),
    )
}


def create_model(
    name: str,
    *,
    pretrained: bool = False,
    checkpoint: str | Path | None = None,
    backbone_weights: str | Path | None = None,
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
    check_settings(settings)
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
        return model
    if pretrained:
        if entry.weights is None:
            with_weights = [e.name for e in NAMED_MODELS.values() if e.weights]
            raise InputError(
                f"no weights are published for {name}; there are for {', '.join(with_weights)}"
            )
        return load_checkpoint(fetch(PUBLISHED[entry.weights]), name=entry.name, **settings)
    num_classes = settings.pop("num_classes", None)
    num_classes = IMAGENET_CLASSES if num_classes is None else num_classes
    v1 = VOneBlockConfig(**{"noise": entry.noise, **settings})
    model = VOneNet.from_config(VOneNetConfig(entry.name, entry.backbone, num_classes, v1))
    if backbone_weights is not None:
        fill_backbone(model, backbone_weights)
    return model


def get_model(
    model_arch: str = "resnet50",
    pretrained: bool = True,
    map_location: str = "cpu",
    **settings: Any,
) -> VOneNet:
    """Build a VOneNet by the name that the original package gives it.

    Args:
        model_arch: `resnet50`, `resnet50_at`, `resnet50_ns`, `cornets`, `alexnet`.
        pretrained: load the published weights.
        map_location: device of the model.
        **settings: as `create_model`; every one of them counts, with pretrained weights too.
    """
    names = {entry.weights: entry.name for entry in NAMED_MODELS.values() if entry.weights}
    if model_arch not in names:
        raise InputError(
            f"unknown model_arch {model_arch!r}: must be one of {', '.join(names)}; "
            f"create_model knows more"
        )
    return create_model(names[model_arch], pretrained=pretrained, **settings).to(map_location)


def list_models(pattern: str = "*") -> list[str]:
    """List registered names that match a shell pattern, the named ones first.

    Args:
        pattern: such as `vonere*` or `*convnext*`.
    """
    return fnmatch.filter([*NAMED_MODELS, *_timm_names()], pattern)


def create_base_model(
    name: str, *, backbone_weights: str | Path | None = None, **settings: Any
) -> nn.Module:
    """Build what a VOneNet is compared with: the same back-end with its own first stage.

    Args:
        name: the VOneNet's name.
        backbone_weights: start from these weights, as in `create_model`; here the first stage takes
            part.
        **settings: `num_classes`, `in_chans`, `image_size` (one number of pixels or two).

    Returns:
        The network, with fresh weights unless others are given.
    """
    backbone = find_entry(name).backbone
    if "image_size" in settings:
        settings["image_size"] = image_size_pair(settings["image_size"])
    base = build_base(backbone, **settings)
    if backbone_weights is not None:
        num_classes = settings.get("num_classes", IMAGENET_CLASSES)
        size = settings.get("image_size", IMAGENET_SIZE)
        fill_base(base, backbone, backbone_weights, num_classes, size)
    return base


def load_base_checkpoint(path: str | Path) -> nn.Module:
    """Load the base network of a file, image size and normalisation in `pretrained_cfg`.

    Raises:
        CheckpointError: the file is damaged, or its weights do not fit.
    """
    path = Path(path)
    metadata = read_metadata(path)
    try:
        description = json.loads(metadata["base"])
        name, settings = description["name"], description["settings"]
        mean, std = description["mean"], description["std"]
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} has a description that cannot be read: {error}") from error
    model = create_base_model(name, **settings)
    load_strictly(model, load_file(path), f"{path} does not fit the base network of {name}")
    side, channels = settings["image_size"], settings["in_chans"]
    model.pretrained_cfg = {"input_size": (channels, side, side), "mean": mean, "std": std}  # type: ignore[assignment]
    return model


def find_entry(name: str) -> ModelEntry:
    """Look up a registered name, or raise InputError with the nearest ones."""
    if name in NAMED_MODELS:
        return NAMED_MODELS[name]
    if name.startswith(TIMM_PREFIX):
        timm_name = name.removeprefix(TIMM_PREFIX)
        # A name that timm knows but has no adapter gets its reason from build_backbone.
        return ModelEntry(name, f"timm/{timm_name}", f"timm's {timm_name} behind V1")
    known = [*NAMED_MODELS, *_timm_names()]
    near = difflib.get_close_matches(name, known, n=4) or list(NAMED_MODELS)
    raise InputError(f"unknown model {name!r}; nearest: {', '.join(near)}")


def check_settings(settings: dict[str, Any]) -> None:
    """Raise SettingError for the first setting that does not exist."""
    known = ["num_classes", *(field.name for field in dataclasses.fields(VOneBlockConfig))]
    for key in settings:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.4)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
            raise SettingError(f"unknown setting {key!r} of a VOneNet; {hint}")


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
