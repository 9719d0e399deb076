"""Back-ends: networks without their first stage, to stand behind V1, and the whole networks."""

from vonenet.backbones.backbone import Backbone
from vonenet.backbones.build import (
    backbone_names,
    backbone_weights,
    build_backbone,
    build_base,
    timm_backbone_names,
)

__all__ = [
    "Backbone",
    "backbone_names",
    "backbone_weights",
    "build_backbone",
    "build_base",
    "timm_backbone_names",
]
