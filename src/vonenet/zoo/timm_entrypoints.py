"""Our named models in timm's registry: `timm.create_model("voneresnet50", num_classes=10)`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from timm.models import is_model, register_model

from vonenet.zoo.registry import NAMED_MODELS, create_model

# What timm.create_model passes to every model, beside the user's own keywords.
_TIMMS_OWN = ("pretrained_cfg", "pretrained_cfg_overlay", "cache_dir")


def register_timm_models() -> None:
    """Make our named models known to `timm.create_model`; done once, however often it is called."""
    for name in NAMED_MODELS:
        if not is_model(name):
            # timm lists what it registers among the public names of its function's module
            globals()[name] = register_model(_entrypoint(name))


def _entrypoint(name: str) -> Callable[..., Any]:
    def build(pretrained: bool = False, **settings: Any) -> Any:
        for key in _TIMMS_OWN:
            settings.pop(key, None)
        return create_model(name, pretrained=pretrained, **settings)

    build.__name__ = build.__qualname__ = name
    build.__doc__ = f"VOneNet {name}, as `vonenet.create_model` builds it."
    return build
