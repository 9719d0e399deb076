"""Which layers of a VOneNet Brain-Score is offered, and which it takes for V1, V2, V4 and IT."""

from __future__ import annotations

import json
import re
from pathlib import Path

from vonenet import InputError, VOneNet

MAPS = Path(__file__).parent / "region_layer_map"
V1_LAYER = "vone_block"
# A layer that runs several times per image is recorded as NAME-t0, NAME-t1, ...
STEP = "-t"

_AFTER_RESNET = ("model.layer1", "model.layer2", "model.layer3", "model.layer4", "model.avgpool")
_AFTER_ALEXNET = (
    "bottleneck",
    *(f"model.features.{i}" for i in (2, 4, 6, 8)),
    "model.avgpool",
    "model.classifier.2",
    "model.classifier.5",
)
_CORNET_S_STEPS = {"V2": 2, "V4": 4, "IT": 2}
_AFTER_CORNET_S = (
    *(f"model.{area}.output{STEP}{i}" for area, n in _CORNET_S_STEPS.items() for i in range(n)),
    "model.decoder.avgpool",
)
# When each step begins, ms after the stimulus: the times that Brain-Score gives CORnet-S.
CORNET_S_STARTS_MS = {"V1": (50,), "V2": (70, 170), "V4": (90, 140, 190, 240), "IT": (100, 200)}

# Region -> a layer, or the layers of its time steps
RegionLayerMap = dict[str, str | list[str]]


def committed_layers(identifier: str) -> RegionLayerMap | None:
    """Return the region-to-layer map of a registered model; None where none was measured."""
    path = MAPS / f"{identifier}.json"
    return json.loads(path.read_text()) if path.is_file() else None


def offered_layers(model: VOneNet, committed: RegionLayerMap | None = None) -> list[str]:
    """List V1, the output of each stage and the committed layers; the last reads out.

    Brain-Score keeps all units of all offered layers in memory while it chooses among them.

    Args:
        model: A VOneNet of a ResNet, AlexNet or CORnet-S.
        committed: Layers to have among them.

    Raises:
        InputError: Another back-end.
    """
    backbone = model.config.backbone
    if backbone == "cornet_s":
        return [V1_LAYER, *_AFTER_CORNET_S]
    if backbone != "alexnet" and not re.fullmatch(r"resnet\d+", backbone):
        raise InputError(
            f"no list of layers for the back-end {backbone!r}; name some of "
            f"model.named_modules() as layers=[...], the last one for behaviour"
        )
    wanted = {V1_LAYER, *(_AFTER_ALEXNET if backbone == "alexnet" else _AFTER_RESNET)}
    for layers in (committed or {}).values():
        wanted.update([layers] if isinstance(layers, str) else layers)
    return [name for name, _ in model.named_modules() if name in wanted]


def split_step(layer_name: str) -> tuple[str, int | None]:
    """`model.V4.output-t2` -> `model.V4.output`, 2; a layer without a step has None."""
    name, separator, step = layer_name.rpartition(STEP)
    return (name, int(step)) if separator and step.isdigit() else (layer_name, None)
