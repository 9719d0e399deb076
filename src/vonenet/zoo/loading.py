"""Any model by its address: a name of ours, weights, a training, a timm name, Python."""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import torch
from torch import nn

from vonenet.data import PixelModel
from vonenet.data.pixels import described, inner_model, taking_pixels
from vonenet.data.seeding import seeded
from vonenet.errors import InputError, VOneNetError
from vonenet.frontends.front_end import FrontEnd
from vonenet.model import VOneNet
from vonenet.results import BEST, MODEL, RECIPE
from vonenet.zoo.checkpoints import BASE_FORMAT, load_checkpoint, read_metadata
from vonenet.zoo.ensemble import ENSEMBLE_FORMAT, Ensemble
from vonenet.zoo.registry import (
    create_front_end,
    create_model,
    find_entry,
    load_base_checkpoint,
)

TIMM = "timm/"
UNTRAINED = "untrained/"
ENSEMBLE = "ensemble:"
WEIGHTS_SUFFIXES = (".safetensors", ".tar", ".pth", ".pt")
DEFAULT_IMAGE_PX = 224
V1_BLOCK = "vone_block"
# Brain-Score's field of view for models that do not say theirs
DEFAULT_DEGREES = 8.0
LAYERS_SHOWN = 6


@dataclass(frozen=True)
class LoadedModel:
    """A trained model that takes pixels."""

    name: str  # what result rows call it
    model: PixelModel  # takes pixels in [0, 1], in eval mode
    image_size: int  # height = width that it was made for, pixels
    in_chans: int  # 3 for colour images, 1 for grey ones


def load_model(address: str) -> LoadedModel:
    """Load a model by its address.

    Args:
        address: a registered name with published weights (`voneresnet50`); a weights file, also
            of `Ensemble.save`; the folder of a finished training, whose last weights are taken;
            `timm/` and a name of timm with weights (`timm/resnet18.a1_in1k`), which are downloaded;
            `untrained/` and a registered name or `timm/NAME`, with fresh weights, the name also
            with settings of `create_model`
            (`untrained/voneresnet18?front_end=evnet2025&image_size=64`); or `module:function` or
            `file.py:function`, a function without arguments that returns a torch module: a
            `PixelModel`, or one with mean and std in `pretrained_cfg`, and names of its outputs, if
            they are known, in `class_names`; or `ensemble:` and such addresses with `+` between
            them, models whose logits are averaged. Fresh weights, a function's too, are the same
            ones each time, and torch's global generator is left as it was.

    Raises:
        InputError: nothing is there, or what is there is no model, or one that does not say how its
            images are normalised.
    """
    with seeded(0, torch.device("cpu")):
        name, module = _find(address)
    inner = inner_model(module)
    size = described(inner).get("input_size", (3, DEFAULT_IMAGE_PX, DEFAULT_IMAGE_PX))
    channels, height, width = size
    if not isinstance(module, PixelModel):
        module = taking_pixels(module, f"{address} returns a {type(module).__name__} that")
    if module.classes is None:
        names = getattr(inner, "class_names", None)
        module.classes = None if names is None else tuple(names)
    return LoadedModel(name, module.eval(), max(height, width), channels)


def load_front_end(name: str, **settings: Any) -> LoadedModel:
    """Build a front-end alone, as `create_front_end` does, behind pixels in [0, 1]."""
    front_end = create_front_end(name, **settings)
    model = PixelModel(front_end, *front_end.normalization)
    size = front_end.stages[-1].config.image_size
    return LoadedModel(name, model.eval(), max(size), front_end.stages[0].in_channels)


def visual_degrees_of(loaded: LoadedModel) -> float:
    """Return the visual angle of a model's images; 8 for models that do not say theirs."""
    inner: Any = loaded.model.model
    if isinstance(inner, Ensemble):
        inner = inner.members[0].model
    if isinstance(inner, VOneNet | FrontEnd):
        return float(inner.stages[-1].config.resolved_visual_degrees)
    return DEFAULT_DEGREES


def v1_block_of(loaded: LoadedModel) -> str:
    """Return the name of a model's V1 block, the layer that is recorded where none is named.

    Raises:
        InputError: the model has none.
    """
    names = [name for name, _ in loaded.model.model.named_modules() if name]
    if V1_BLOCK not in names:
        raise InputError(
            f"{loaded.name} has no {V1_BLOCK}: say which layer, as --layer NAME; the first ones "
            f"are {', '.join(names[:LAYERS_SHOWN])}"
        )
    return V1_BLOCK


def _find(address: str) -> tuple[str, nn.Module]:
    path = Path(address)
    if address.startswith(ENSEMBLE):
        members = list(map(_find, address.removeprefix(ENSEMBLE).split("+")))
        return "+".join(name for name, _ in members), Ensemble([model for _, model in members])
    if (path / RECIPE).is_file():
        if not (path / MODEL).is_file():
            raise InputError(
                f"the training in {path} is not finished; let it go on, or give one of its "
                f"weights files, such as {path / BEST}"
            )
        return path.resolve().name, _of_file(path / MODEL)
    if path.is_file():
        return path.stem, _of_file(path)
    if address.startswith(TIMM):
        name = address.removeprefix(TIMM)
        return name, _timm_model(name, pretrained=True)
    if address.startswith(UNTRAINED + TIMM):
        return address, _timm_model(address.removeprefix(UNTRAINED + TIMM), pretrained=False)
    if address.startswith(UNTRAINED):
        return address, _untrained(address.removeprefix(UNTRAINED))
    if ":" in address:
        return address.rsplit(":", 1)[1], _called(address)
    if "/" in address or address.endswith(WEIGHTS_SUFFIXES):
        raise InputError(f"no weights file {address}")
    try:
        find_entry(address)
    except InputError as error:
        raise InputError(
            f"{error}; or a weights file, the folder of a training, timm/NAME, untrained/NAME, "
            "module:function, file.py:function"
        ) from None
    return address, create_model(address, pretrained=True)


def _untrained(address: str) -> VOneNet:
    """Build a model of an address such as `voneresnet18?front_end=evnet2025&noise=null`."""
    name, _, query = address.partition("?")
    settings: dict[str, Any] = {}
    for key, value in parse_qsl(query, keep_blank_values=True):
        try:
            settings[key] = json.loads(value)
        except ValueError:  # a text without quotes
            settings[key] = value
    return create_model(name, **settings)


def _of_file(path: Path) -> nn.Module:
    others = {BASE_FORMAT: load_base_checkpoint, ENSEMBLE_FORMAT: Ensemble.load}
    load = others.get(read_metadata(path).get("format", ""), load_checkpoint)
    return load(path)


def _timm_model(name: str, *, pretrained: bool) -> nn.Module:
    import timm

    try:
        model: Any = timm.create_model(name, pretrained=pretrained)
    except (RuntimeError, ValueError, OSError) as error:
        kind, reason = "trained model" if pretrained else "model", str(error).splitlines()[0]
        raise InputError(f"timm has no {kind} {name!r} to give: {reason}") from error
    if pretrained:
        model.class_names = _timm_classes(model)
    return model  # type: ignore[no-any-return]


def _timm_classes(model: Any) -> tuple[str, ...] | None:
    """Return what timm knows of the classes that a network was trained for."""
    from timm.data import imagenet_info

    subset = imagenet_info.infer_imagenet_subset(model)
    names: Any = described(model).get("label_names")
    if names is None and subset is not None:
        names = imagenet_info.ImageNetInfo(subset).label_names()  # type: ignore[no-untyped-call]
    outputs = getattr(model, "num_classes", None)
    return tuple(names) if names and len(names) == outputs else None


def _called(address: str) -> nn.Module:
    source, name = address.rsplit(":", 1)
    try:
        module = _imported_file(Path(source)) if source.endswith(".py") else _imported(source)
        function: Callable[[], Any] | None = getattr(module, name, None)
        if not callable(function):
            raise InputError(f"{source} has no function {name!r}")
        result = function()
    except VOneNetError:
        raise
    except Exception as error:  # the user's code can raise anything
        where = traceback.extract_tb(error.__traceback__)[-1]
        said = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(f"{address} fails at {where.filename}:{where.lineno}: {said}") from error
    if not isinstance(result, nn.Module):
        raise InputError(f"{address} returns a {type(result).__name__}; needed: a torch module")
    return result


def _imported(name: str) -> Any:
    sys.path.insert(0, "")  # a module in the working folder, as `python -m` finds it
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(f"module {name!r} cannot be imported: {error}") from error
    finally:
        sys.path.remove("")


def _imported_file(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise InputError(f"no Python file {path}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
