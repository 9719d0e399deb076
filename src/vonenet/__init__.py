"""VOneNets: neural networks with a fixed model of primary visual cortex as their first stage.

Everything below is imported when it is first used, so that `import vonenet` costs nothing and the
command's help appears at once. `timm.create_model` knows our models if timm was imported before
vonenet, or once a name of `vonenet.zoo` was used, or after `vonenet.register_timm_models()`.
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vonenet.errors import (
        CheckpointError,
        DownloadError,
        InputError,
        VOneNetError,
        VOneNetWarning,
    )
    from vonenet.model import VOneNet, VOneNetConfig
    from vonenet.v1.block import VOneBlock
    from vonenet.v1.config import VOneBlockConfig
    from vonenet.v1.memory import keep_freed_memory
    from vonenet.v1.noise import fixed_noise, no_noise, noise_generator
    from vonenet.v1.parameters import GaborParameters, draw_parameters
    from vonenet.zoo.checkpoints import load_checkpoint, save_checkpoint
    from vonenet.zoo.registry import (
        create_base_model,
        create_model,
        get_model,
        list_models,
        register_timm_models,
    )

__version__ = "0.1.0"

_HOME = {
    "vonenet.errors": [
        "CheckpointError",
        "DownloadError",
        "InputError",
        "VOneNetError",
        "VOneNetWarning",
    ],
    "vonenet.v1.memory": ["keep_freed_memory"],
    "vonenet.model": ["VOneNet", "VOneNetConfig"],
    "vonenet.v1.block": ["VOneBlock"],
    "vonenet.v1.config": ["VOneBlockConfig"],
    "vonenet.v1.noise": ["fixed_noise", "no_noise", "noise_generator"],
    "vonenet.v1.parameters": ["GaborParameters", "draw_parameters"],
    "vonenet.zoo.checkpoints": ["load_checkpoint", "save_checkpoint"],
    "vonenet.zoo.registry": [
        "create_base_model",
        "create_model",
        "get_model",
        "list_models",
        "register_timm_models",
    ],
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "CheckpointError",
    "DownloadError",
    "GaborParameters",
    "InputError",
    "VOneBlock",
    "VOneBlockConfig",
    "VOneNet",
    "VOneNetConfig",
    "VOneNetError",
    "VOneNetWarning",
    "create_base_model",
    "create_model",
    "draw_parameters",
    "fixed_noise",
    "get_model",
    "keep_freed_memory",
    "list_models",
    "load_checkpoint",
    "no_noise",
    "noise_generator",
    "register_timm_models",
    "save_checkpoint",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'vonenet' has no attribute {name!r}")
    value = getattr(import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


if "timm" in sys.modules:
    import_module("vonenet.zoo")
