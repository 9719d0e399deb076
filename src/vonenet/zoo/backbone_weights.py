"""Weights of an ordinary network -> the back-end of a VOneNet, or its base network.

A source is "timm", "torchvision", one of them with a colon and what it calls one of several weights
("timm:a1_in1k", "torchvision:IMAGENET1K_V1"), or a file: a state dict of the base network, also as
timm or torchvision name it, or of a VOneNet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from vonenet.backbones import backbone_weights, build_base
from vonenet.errors import DownloadError, InputError
from vonenet.model import VOneNet
from vonenet.v1.config import image_size_pair
from vonenet.zoo.checkpoints import Q0, load_strictly
from vonenet.zoo.weights import read_state_dict

TIMM = "timm/"
COUNTER = ".num_batches_tracked"  # missing in old files


def fill_backbone(model: VOneNet, source: str | Path) -> None:
    """Give a VOneNet's back-end published weights; V1 and the bottleneck stay as they are.

    Raises:
        InputError: nobody publishes such weights.
        DownloadError: they could not be fetched.
        CheckpointError: they are not of this network.
    """
    config = model.config
    size = image_size_pair(config.v1.image_size)
    weights = find_weights(source, config.backbone, config.num_classes, size)
    heads = (model.head_name.removeprefix("model."),)
    refusal = f"backbone_weights={str(source)!r} do not fit the back-end of {config.name}"
    if Q0 in weights:
        own = {k.removeprefix("model."): v for k, v in weights.items() if k.startswith("model.")}
        _fill(model.model, own, heads, refusal)
        return
    base = build_base(config.backbone, num_classes=config.num_classes, image_size=size)
    _fill(base, weights, heads, refusal)
    of_back_end = backbone_weights(config.backbone, base.state_dict())
    own = dict(model.model.state_dict())
    own.update({key: value for key, value in of_back_end.items() if key in own})
    load_strictly(model.model, own, refusal)


def fill_base(
    base: nn.Module, backbone: str, source: str | Path, num_classes: int, size: tuple[int, int]
) -> None:
    """Give what `build_base` made of `backbone` published weights; raise as `fill_backbone`."""
    weights = find_weights(source, backbone, num_classes, size)
    refusal = f"backbone_weights={str(source)!r} do not fit {backbone}"
    _fill(base, weights, _heads_of(base), refusal)


def find_weights(
    source: str | Path, backbone: str, num_classes: int, image_size: tuple[int, int]
) -> dict[str, Tensor]:
    """Fetch or read the tensors of a source, by the names that it gives them."""
    publisher, _, which = str(source).partition(":")
    name = backbone.removeprefix(TIMM)
    fetch: Callable[[], dict[str, Tensor]]
    if publisher == "timm":
        from vonenet.backbones import timm_stems

        known, tagged = timm_stems.timm_tags(name), f"{name}.{which}" if which else name
        fetch = partial(
            timm_stems.timm_weights, tagged, num_classes=num_classes, image_size=image_size
        )
    elif publisher == "torchvision":
        from torchvision.models import get_model_weights, list_models

        published: Any = get_model_weights(name) if name in list_models() else ()
        known = [each.name for each in published]

        def fetch() -> dict[str, Tensor]:
            chosen = published[which] if which else published.DEFAULT
            weights: dict[str, Tensor] = chosen.get_state_dict()
            return weights
    elif isinstance(source, str | Path) and Path(source).is_file():
        return read_state_dict(Path(source))
    else:
        raise InputError(
            f"backbone_weights={str(source)!r} is no file; allowed: 'timm', 'torchvision', "
            "or the path of a weights file"
        )
    if not known:
        raise InputError(
            f"backbone_weights={publisher!r}: {publisher} publishes no weights of {name}; "
            "allowed: a weights file"
        )
    if which and which not in known:
        raise InputError(
            f"backbone_weights='{publisher}:{which}': {publisher}'s weights of {name} are "
            f"{', '.join(known)}"
        )
    try:
        return fetch()
    except OSError as error:
        reason = str(error).splitlines()[0]
        raise DownloadError(
            f"{publisher}'s weights of {name} could not be fetched: {reason}"
        ) from error


def _fill(
    network: nn.Module, weights: Mapping[str, Tensor], heads: tuple[str, ...], refusal: str
) -> None:
    """Load weights; a classifier of another number of classes stays as it is."""
    own = network.state_dict()
    wanted = {key: value for key, value in own.items() if key.endswith(COUNTER)} | dict(weights)
    for head in heads:
        classifier = f"{head}.weight"
        if classifier in weights and len(weights[classifier]) != len(own[classifier]):
            wanted |= {key: value for key, value in own.items() if key.startswith(f"{head}.")}
    for key, value in wanted.items():
        if key in own and value.ndim == 4:  # a grey image gives what its colour copy gave
            channels = (value.shape[1], own[key].shape[1])
            if channels == (3, 1):
                wanted[key] = value.sum(dim=1, keepdim=True)
            elif channels == (1, 3):
                wanted[key] = (value / 3).expand(-1, 3, -1, -1)
    load_strictly(network, wanted, refusal)


def _heads_of(base: nn.Module) -> tuple[str, ...]:
    """Return dotted names of a base network's classifiers: nearly always one."""
    described = getattr(base, "pretrained_cfg", None)
    if described is None:
        linear = [name for name, module in base.named_modules() if isinstance(module, nn.Linear)]
        return (linear[-1],)
    names = described["classifier"]
    return (names,) if isinstance(names, str) else tuple(names or ())
