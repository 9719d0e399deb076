"""The original package's module of this name: `from vonenet.vonenet import VOneNet`."""

from __future__ import annotations

from typing import Any

from vonenet.v1.block import VOneBlock
from vonenet.zoo.registry import get_model

__all__ = ["VOneBlock", "VOneNet", "get_model"]


def VOneNet(*, model_arch: str | None = "resnet50", **settings: Any) -> Any:  # noqa: N802
    """Build what the original's function of this name builds: `get_model` without weights."""
    return get_model(model_arch, pretrained=False, **settings)
