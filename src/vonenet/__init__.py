"""VOneNets: neural networks with a fixed model of primary visual cortex as their first stage.

Everything below is imported when it is first used, so that `import vonenet` costs nothing and the
command's help appears at once. `timm.create_model` knows our models if timm was imported before
vonenet, or once a name of `vonenet.zoo` was used, or after `vonenet.register_timm_models()`.
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vonenet.errors import CheckpointError as CheckpointError
    from vonenet.errors import DownloadError as DownloadError
    from vonenet.errors import InputError as InputError
    from vonenet.errors import VOneNetError as VOneNetError
    from vonenet.errors import VOneNetWarning as VOneNetWarning
    from vonenet.frontends.presets import list_front_ends as list_front_ends
    from vonenet.model import VOneNet as VOneNet
    from vonenet.model import VOneNetConfig as VOneNetConfig
    from vonenet.v1.block import VOneBlock as VOneBlock
    from vonenet.v1.config import VOneBlockConfig as VOneBlockConfig
    from vonenet.v1.memory import keep_freed_memory as keep_freed_memory
    from vonenet.v1.noise import fixed_noise as fixed_noise
    from vonenet.v1.noise import no_noise as no_noise
    from vonenet.v1.noise import noise_generator as noise_generator
    from vonenet.v1.parameters import GaborParameters as GaborParameters
    from vonenet.v1.parameters import draw_parameters as draw_parameters
    from vonenet.zoo.checkpoints import load_checkpoint as load_checkpoint
    from vonenet.zoo.checkpoints import save_checkpoint as save_checkpoint
    from vonenet.zoo.ensemble import Ensemble as Ensemble
    from vonenet.zoo.registry import create_base_model as create_base_model
    from vonenet.zoo.registry import create_front_end as create_front_end
    from vonenet.zoo.registry import create_model as create_model
    from vonenet.zoo.registry import get_model as get_model
    from vonenet.zoo.registry import list_models as list_models
    from vonenet.zoo.registry import register_timm_models as register_timm_models

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
    "vonenet.frontends.presets": ["list_front_ends"],
    "vonenet.model": ["VOneNet", "VOneNetConfig"],
    "vonenet.v1.block": ["VOneBlock"],
    "vonenet.v1.config": ["VOneBlockConfig"],
    "vonenet.v1.noise": ["fixed_noise", "no_noise", "noise_generator"],
    "vonenet.v1.parameters": ["GaborParameters", "draw_parameters"],
    "vonenet.zoo.checkpoints": ["load_checkpoint", "save_checkpoint"],
    "vonenet.zoo.ensemble": ["Ensemble"],
    "vonenet.zoo.registry": [
        "create_base_model",
        "create_front_end",
        "create_model",
        "get_model",
        "list_models",
        "register_timm_models",
    ],
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}
__all__ = sorted(_MODULE_OF)


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
