"""Weights files: our safetensors files, of VOneNets and base networks, and the five published.

Our file holds the weights and, as JSON in its header, the whole configuration. A published file is
a pickle that is read without running any of it; its filters and noise settings are taken from it.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from vonenet.errors import CheckpointError, InputError, VOneNetWarning
from vonenet.files import write_whole
from vonenet.frontends.front_end import build_front_end
from vonenet.identity import PACKAGES
from vonenet.model import VOneNet, VOneNetConfig
from vonenet.v1.checks import whole
from vonenet.v1.config import FIELDS, VOneBlockConfig, image_size_pair
from vonenet.v1.gabor import colored, gabor_kernels
from vonenet.v1.old_names import current_names
from vonenet.v1.parameters import GaborParameters, draw_parameters
from vonenet.zoo.weights import (
    is_safetensors,
    plain_names,
    read_safetensors,
    read_torch_file,
)

FORMAT, BASE_FORMAT = "vonenet-1", "vonenet-base-1"
CLASSES, GABORS, DROPPED = "classes", "gabor_parameters", "dropped"
# Of tensors that a compact file lacks: numbers at most, and how far their sums may differ, relative
MOST_DROPPED, SAME_SUM = 1 << 28, 1e-5
Q0, Q1 = "vone_block.simple_conv_q0.weight", "vone_block.simple_conv_q1.weight"
FILTERS = (Q0, Q1, "vone_block.push_pull.pull.weight")
CHANNELS = "vone_block.gabor_bank.color_channel"  # of trainable filters
# Left over in the published resnet50_at file from other code than its model's; and a counter of
# torch.optim.swa_utils.AveragedModel.
STRAY_KEYS = ("vone_block.div_u.weight", "vone_block.div_t.weight", "n_averaged")
# The largest images that a file may be for: some networks keep tables of the size of an image.
LARGEST_IMAGE_PX = 4096
# What a VOneNet may be built with
SETTINGS = ("num_classes", *FIELDS)
# What trained weights leave open; anything else is a property of the weights.
OPEN_SETTINGS = ("noise", "noise_scale", "noise_level", "k_exc", "stride")
# Settings of layers that change no number in evaluation
OF_TRAINING = re.compile(r"(?:inplace|momentum|p)=[^,]*(?:, )?")
# The published networks: their kernels' side in pixels, and what their images show, which their
# files do not say.
PUBLISHED_KERNEL_PX = 25
PUBLISHED_GEOMETRY = {"image_size": 224, "visual_degrees": 8.0}


@dataclass(frozen=True)
class Checkpoint:
    """What a weights file says: how to build the model, and its weights by published key."""

    config: VOneNetConfig
    state_dict: dict[str, Tensor]
    gabor_parameters: GaborParameters | None = None
    class_names: tuple[str, ...] | None = None


def save_checkpoint(
    model: nn.Module,
    path: str | Path,
    *,
    classes: Sequence[str] | None = None,
    compact: bool = False,
) -> None:
    """Write a VOneNet to one safetensors file, with all that is needed to build it again.

    The file appears whole or not at all. What DataParallel and torch.compile put around the model
    or its parts is left out.

    Args:
        model: a VOneNet, also within DataParallel or compiled.
        path: the file.
        classes: names of the logits; `model.class_names` by default.
        compact: write a small file to give away: weights rounded to float16, and without filters
            and whatever else the settings give again.

    Raises:
        InputError: the file would not give this model again: it is no VOneNet, its back-end is not
            the one of its configuration, or there are not as many names as logits.
    """
    tensors, header = packed(model, classes)
    if compact:
        tensors, header = _compact(tensors, header, Path(path))
    write_whole(Path(path), serialize(tensors, header))  # unlike save_file, with usual rights


def packed(
    model: nn.Module, classes: Sequence[str] | None = None
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors and the header of a VOneNet's file; raise as `save_checkpoint`."""
    bare = unwrapped(model)
    if not isinstance(bare, VOneNet):
        raise InputError(
            f"a {type(bare).__name__} is no VOneNet; save_checkpoint needs what create_model gave"
        )
    tensors = _tensors(bare)
    head = tensors.get(f"{bare.head_name}.weight")  # it may have been replaced, for other classes
    num_classes = bare.config.num_classes if head is None else len(head)
    config = dataclasses.replace(bare.config, num_classes=num_classes)
    planned = _planned(config)
    _check_parts(bare, planned, f"a {config.name} of a file")
    check_fit(planned, tensors, "this model cannot be saved, for it could not be loaded again")
    names = bare.class_names if classes is None else tuple(classes)
    if names is not None:
        _check_classes(names, num_classes, "model.class_names or classes=...")
    metadata = {"format": FORMAT, "config": json.dumps(config.to_dict())}
    parameters = bare.vone_block.gabor_parameters
    if parameters is not None and config.v1.filters == "given":
        metadata[GABORS] = json.dumps(parameters.to_dict())
    if names is not None:
        metadata[CLASSES] = json.dumps(list(names))
    return tensors, metadata


def _compact(
    tensors: Mapping[str, Tensor], header: Mapping[str, str], path: Path
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Leave out what the settings give again, and round the rest to float16."""
    drawn = _drawn(unpacked(header, {}, path))
    dropped, kept = {}, {}
    for key, value in tensors.items():
        if key in drawn and torch.allclose(value, drawn[key], atol=1e-7):
            dropped[key] = _sum_of(value)
        elif value.is_floating_point() and key not in drawn:
            kept[key] = value.half()
            if not kept[key].isfinite().all():
                raise InputError(f"{key} has values that float16 cannot hold: save it whole")
        else:
            kept[key] = value
    return kept, {**header, DROPPED: json.dumps(dropped)}


def _drawn(stored: Checkpoint) -> dict[str, Tensor]:
    """Return the buffers of the front-end that its settings give."""
    config = stored.config
    front_end = build_front_end(config.v1, config.before_v1, stored.gabor_parameters)
    return {key: value.detach().contiguous() for key, value in front_end.named_buffers()}


def _restored(stored: Checkpoint, dropped: Mapping[str, float], path: Path) -> Checkpoint:
    """Return what a compact file says, with what it lacks.

    Raises:
        CheckpointError: what the settings give here is not what the file was saved with.
    """
    planned = dict(_planned(stored.config).named_buffers())
    numbers = sum(planned[key].numel() for key in dropped)
    if numbers > MOST_DROPPED:
        raise CheckpointError(f"{path} lacks {numbers} numbers; allowed: {MOST_DROPPED}")
    weights = {
        key: v.float() if v.is_floating_point() else v for key, v in stored.state_dict.items()
    }
    drawn = _drawn(stored)
    for key, expected in dropped.items():
        if not math.isclose(_sum_of(drawn[key]), expected, rel_tol=SAME_SUM):
            raise CheckpointError(
                f"{path} was saved without {key}, and its settings give another one here; needed: "
                "a file with it"
            )
        weights[key] = drawn[key]
    return dataclasses.replace(stored, state_dict=weights)


def _sum_of(values: Tensor) -> float:
    """Return a sum of magnitudes that tells other numbers, and the same ones in another order."""
    sizes = values.double().abs().flatten()
    return float(sizes @ torch.linspace(1, 2, len(sizes), dtype=sizes.dtype))


def save_base_checkpoint(
    model: nn.Module,
    path: str | Path,
    *,
    name: str,
    mean: Sequence[float],
    std: Sequence[float],
    classes: Sequence[str],
    in_chans: int,
    image_size: int,
    stem_noise: float = 0.0,
) -> None:
    """Write a base network to one safetensors file. It appears whole or not at all.

    `name` is that of the VOneNet that it is the base of. `mean` and `std` normalise its images,
    `image_size` is their height = width in pixels, and `classes` are names of the logits.
    `stem_noise` is as in `create_base_model`.
    """
    settings = {"num_classes": len(classes), "in_chans": in_chans, "image_size": image_size}
    base: dict[str, Any] = {"name": name, "mean": list(mean), "std": list(std)}
    base |= {"settings": settings, "stem_noise": stem_noise}
    metadata = {"format": BASE_FORMAT, "base": json.dumps(base), CLASSES: json.dumps(list(classes))}
    write_whole(Path(path), serialize(_tensors(unwrapped(model)), metadata))


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the module that DataParallel and torch.compile are around."""
    while True:
        inner = model.module if isinstance(model, DataParallel | DistributedDataParallel) else model
        inner = getattr(inner, "_orig_mod", inner)
        if inner is model:
            return inner
        model = inner


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    state_dict = plain_names(model.state_dict())
    return {key: value.detach().contiguous() for key, value in state_dict.items()}


def _planned(config: VOneNetConfig) -> VOneNet:
    """Build a VOneNet without memory for its tensors."""
    given = dataclasses.replace(config, v1=dataclasses.replace(config.v1, filters="given"))
    with torch.device("meta"):
        return VOneNet.from_config(given)


def _check_parts(
    found: nn.Module | None, planned: nn.Module | None, whose: str, name: str = ""
) -> None:
    """Refuse a part of another kind, or with other settings, than a file gives."""
    found = found and unwrapped(found)
    if _kind(found) != _kind(planned):
        raise InputError(
            f"this model cannot be saved: {name or 'it'} is {_kind(found)}, and {whose} has "
            f"{_kind(planned)} there; save model.state_dict() with torch.save"
        )
    if found is not None and planned is not None:
        ours, theirs = dict(found.named_children()), dict(planned.named_children())
        for child in ours | theirs:
            below = f"{name}.{child}" if name else child
            _check_parts(ours.get(child), theirs.get(child), whose, below)


def _kind(part: nn.Module | None) -> str:
    """Return the class of a part and the settings that it prints, but for those of training."""
    if part is None:
        return "nothing"
    # In a model that is loaded, batches are not shared out
    name = type(part).__name__.replace("SyncBatchNorm", "BatchNorm2d")
    home = type(part).__module__
    name = name if home.partition(".")[0] in PACKAGES else f"{home}.{name}"
    return f"{name}({OF_TRAINING.sub('', part.extra_repr())})"


def stored_classes(header: Mapping[str, str], outputs: int, path: Path) -> tuple[str, ...] | None:
    """Return the names of the outputs that a weights file was saved with, if it has any.

    Raises:
        CheckpointError: they are not names, or not as many as outputs.
    """
    names = header_value(header, CLASSES, path) if CLASSES in header else None
    if names is None:
        return None
    with header_errors(path):
        _check_classes(names, outputs, CLASSES)
        return tuple(names)


def _check_classes(names: Sequence[str], outputs: int, where: str) -> None:
    """Raise InputError unless there is one name for each output."""
    n = len({name for name in names if isinstance(name, str)})
    if not n == len(names) == outputs:
        raise InputError(f"{where} has {n} names for {outputs} outputs; needed: a name for each")


def header_value(header: Mapping[str, str], key: str, path: Path) -> Any:
    """Read a value, stored as JSON, of the header of a safetensors file."""
    try:
        return json.loads(header[key])
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{path} has a {key} that cannot be read: {reason}") from error


def read_metadata(path: Path) -> dict[str, str]:
    """Read the header of a safetensors file; empty for any other file."""
    if not (path.is_file() and is_safetensors(path)):
        return {}
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except SafetensorError as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error


def load_checkpoint(path: str | Path, *, name: str | None = None, **settings: Any) -> VOneNet:
    """Load the VOneNet of a weights file, bit for bit.

    Args:
        path: a file of `save_checkpoint`, or a `.pth.tar` file of the original package.
        name: registered name to give the model; the file's own by default.
        **settings: `num_classes` (another number gives a new head, with a warning), `in_chans=1`
            (colours are summed: a grey image gives what its colour copy gave), `image_size`
            (pixels per degree stay), `noise`, `noise_scale`, `noise_level`, `k_exc`, `stride`; and
            whatever a file of the original package, or of one of its copies, does not say.

    Raises:
        CheckpointError: the file is damaged, its weights do not make a VOneNet, or it does not say
            all that its responses depend on.
        InputError: a setting that contradicts the weights.
    """
    if not isinstance(path, str | Path):
        raise InputError(f"checkpoint={path!r} is no path of a weights file")
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"no weights file {path}")
    settings = current_names(settings, SETTINGS)
    if is_safetensors(path):
        stored = unpacked(read_metadata(path), read_safetensors(path), path)
    else:
        stored = _read_published(path, settings)
    return built(stored, path, name, **settings)


def built(stored: Checkpoint, path: Path, name: str | None = None, **settings: Any) -> VOneNet:
    """Build what a file says, with settings as those of `load_checkpoint`; raise as it does."""
    config = _with_settings(stored.config, settings)
    config = dataclasses.replace(config, name=name or config.name)
    # Before there is memory for what the file asks for
    refusal = f"{path} does not fit {config.name}"
    with header_errors(path):
        planned = _planned(stored.config)
    check_fit(planned, stored.state_dict, refusal)
    if config.v1.in_chans != stored.config.v1.in_chans:
        stored = _grey(stored)
    model = VOneNet.from_config(config, stored.gabor_parameters)
    weights = dict(stored.state_dict)
    if config.num_classes == stored.config.num_classes:
        model.class_names = stored.class_names
    else:
        head = f"{model.head_name}."
        weights.update({k: value for k, value in model.state_dict().items() if k.startswith(head)})
        warnings.warn(
            f"{path.name} was trained for {stored.config.num_classes} classes: the head for "
            f"{config.num_classes} is new and untrained",
            VOneNetWarning,
            stacklevel=3,
        )
    load_strictly(model, weights, refusal)
    return model


def unpacked(header: Mapping[str, str], weights: dict[str, Tensor], path: Path) -> Checkpoint:
    """Read the tensors and the header that `packed` gave.

    Raises:
        CheckpointError: the header is of another format, or says what cannot be used.
    """
    if (found := header.get("format")) != FORMAT:
        raise CheckpointError(
            f"{path} is not a vonenet checkpoint: its format is {found!r}, not {FORMAT!r}"
        )
    described = header_value(header, "config", path)
    gabors = header_value(header, GABORS, path) if GABORS in header else None
    with header_errors(path):
        config = VOneNetConfig.from_dict(described)
        for side in image_size_pair(config.v1.image_size):
            whole("image_size", side, 1, LARGEST_IMAGE_PX)
        config.v1.resolved()
        parameters = GaborParameters.from_dict(gabors) if gabors else None
    classes = stored_classes(header, config.num_classes, path)
    stored = Checkpoint(config, weights, parameters, classes)
    if DROPPED not in header:
        return stored
    dropped = header_value(header, DROPPED, path)
    with header_errors(path):
        return _restored(stored, dropped, path)


@contextmanager
def header_errors(path: Path) -> Iterator[None]:
    """Turn whatever comes of wrong values in a file's header into one line.

    Raises:
        CheckpointError: a value is missing, or cannot be used.
    """
    try:
        yield
    except CheckpointError:
        raise
    except Exception as error:  # timm's networks raise anything for numbers that do not fit
        reason = (
            f"it lacks {error}" if isinstance(error, KeyError) else " ".join(str(error).split())
        )
        raise CheckpointError(
            f"{path} has a configuration that cannot be used: {reason}"
        ) from error


def _read_published(path: Path, given: Mapping[str, Any]) -> Checkpoint:
    content = read_torch_file(path)
    flags = content.get("flags")
    flags = vars(flags) if hasattr(flags, "__dict__") else flags
    flags = dict(flags) if isinstance(flags, dict) else {}
    try:
        weights = plain_names(content["state_dict"])
    except CheckpointError as error:
        raise CheckpointError(f"cannot read {path}: {error}") from error
    weights = {key: value for key, value in weights.items() if key not in STRAY_KEYS}
    if Q0 not in weights or Q1 not in weights or weights[Q0].dim() != 4:
        raise CheckpointError(f"{path} holds no VOneNet: it has no filters {Q0} and {Q1}")
    n_cells, in_chans, kernel_size, _ = weights[Q0].shape
    said = _said(flags, given, kernel_size, path)
    n_simple = int(flags.get("simple_channels", given.get("simple_channels", n_cells // 2)))
    v1 = VOneBlockConfig(
        simple_channels=n_simple,
        complex_channels=n_cells - n_simple,
        in_chans=in_chans,
        image_size=said["image_size"],
        visual_degrees=float(said["visual_degrees"]),
        kernel_size=kernel_size,
        stride=int(said["stride"]),
        sf_min=float(flags.get("sf_min", 0.0)),
        sf_max=float(flags.get("sf_max", 9.0)),
        k_exc=float(said["k_exc"]),
        noise=said["noise"] or None,
        noise_scale=float(said.get("noise_scale", 0.35)),
        noise_level=float(said.get("noise_level", 0.07)),
        filters="given",
        seed=int(flags.get("gabor_seed", 0)),
    )
    backbone = _backbone_of(weights, path)
    config = VOneNetConfig(
        name={"cornet_s": "vonecornet_s"}.get(backbone, f"vone{backbone}"),
        backbone=backbone,
        num_classes=[len(value) for value in weights.values() if value.dim() == 2][-1],
        v1=v1,
        front_end="vonenet2020",
    )
    parameters = _recovered_parameters(weights[Q0], weights[Q1], v1)
    if parameters is None and "assumed" in said:
        geometry = ", ".join(f"{key}={value}" for key, value in PUBLISHED_GEOMETRY.items())
        warnings.warn(
            f"{path.name} does not say what its filters were made for: {geometry} is assumed, as "
            f"in the published networks; if it is not so, give both",
            VOneNetWarning,
            stacklevel=3,
        )
    return Checkpoint(config, weights, parameters)


def _said(
    flags: Mapping[str, Any], given: Mapping[str, Any], kernel_size: int, path: Path
) -> dict[str, Any]:
    """Collect the settings that responses depend on, from the flags or else from the user.

    Raises:
        CheckpointError: a setting that neither says.
    """
    flag_of = {key: key for key in (*OPEN_SETTINGS, *PUBLISHED_GEOMETRY)} | {"noise": "noise_mode"}
    said = {key: given[key] for key in flag_of if key in given}
    said |= {key: flags[flag] for key, flag in flag_of.items() if flag in flags}
    needed = ["stride", "k_exc", "noise", *PUBLISHED_GEOMETRY]
    if said.get("noise"):
        needed += ["noise_scale"] + ["noise_level"] * (said["noise"] == "neuronal")
    unsaid = not flags.keys() & PUBLISHED_GEOMETRY.keys()
    chosen = given.keys() >= PUBLISHED_GEOMETRY.keys()
    if flags and unsaid and not chosen and kernel_size == PUBLISHED_KERNEL_PX:
        said |= {**PUBLISHED_GEOMETRY, "assumed": True}
    missing = [key for key in needed if key not in said]
    if missing:
        raise CheckpointError(
            f"{path} does not say {', '.join(missing)}, which its responses depend on: give "
            f"load_checkpoint {'=..., '.join(missing)}=..., or vonenet convert --"
            + " ... --".join(missing).replace("_", "-")
        )
    return said


def _backbone_of(weights: dict[str, Tensor], path: Path) -> str:
    """Find the back-end that these keys belong to; flags name it differently by file."""
    if any(key.startswith("model.V2.") for key in weights):
        return "cornet_s"
    if any(key.startswith("model.features.") for key in weights):
        return "alexnet"
    blocks = {m[0] for key in weights if (m := re.match(r"model\.layer\d\.\d+\.", key))}
    depths = {(8, False): 18, (16, False): 34, (16, True): 50, (33, True): 101, (50, True): 152}
    counted = len(blocks), "model.layer1.0.conv3.weight" in weights  # bottlenecks have a third
    if counted not in depths:
        raise CheckpointError(
            f"{path} has a back-end that is not known: ResNets, AlexNet and CORnet-S are"
        )
    return f"resnet{depths[counted]}"


def _recovered_parameters(
    weight_q0: Tensor, weight_q1: Tensor, v1: VOneBlockConfig
) -> GaborParameters | None:
    """Find the parameters of published filters, if the original's sampler gives them.

    Files do not hold them. They are drawn anew for the seed, and kept only if every kernel agrees.
    """
    reads = [weight.flatten(2).ne(0).any(2) for weight in (weight_q0, weight_q1)]
    if not all(bool((colors.sum(1) == 1).all()) for colors in reads):
        return None
    color_q0, color_q1 = (colors.long().argmax(1).numpy() for colors in reads)
    for sf_max in (v1.sf_max, 9.0, 6.0):
        assert sf_max is not None
        drawn = draw_parameters(
            v1.out_channels, filters="legacy", seed=v1.seed, sf_min=v1.sf_min, sf_max=sf_max
        )
        drawn = dataclasses.replace(drawn, color_channel=color_q0, color_channel_q1=color_q1)
        kernels = gabor_kernels(drawn, v1.pixels_per_degree, weight_q0.shape[-1])
        expected = colored(kernels, drawn.color_channel, weight_q0.shape[1]).float()
        if torch.allclose(expected, weight_q0.float(), atol=1e-5):
            return drawn
    return None


def _with_settings(config: VOneNetConfig, settings: dict[str, Any]) -> VOneNetConfig:
    """Change the stored configuration as asked, or raise if the weights forbid it."""
    asked = dict(settings)
    asked_classes = asked.pop("num_classes", None)
    num_classes = config.num_classes if asked_classes is None else asked_classes
    v1 = config.v1
    changes = {key: asked.pop(key) for key in OPEN_SETTINGS if key in asked}
    if "image_size" in asked:
        moved = dataclasses.replace(v1, image_size=asked.pop("image_size"), visual_degrees=1.0)
        degrees = moved.pixels_per_degree / v1.pixels_per_degree
        v1 = dataclasses.replace(moved, visual_degrees=degrees)
    if asked.get("in_chans") == 1:
        changes |= {"in_chans": asked.pop("in_chans"), "filters": "given"}
    for key, value in asked.items():
        if value is not None and value != getattr(v1, key):
            raise InputError(
                f"{key}={value!r} contradicts the trained weights, which have {key}="
                f"{getattr(v1, key)!r}; leave it out, or build the model without weights"
            )
    return dataclasses.replace(
        config, num_classes=num_classes, v1=dataclasses.replace(v1, **changes)
    )


def _grey(stored: Checkpoint) -> Checkpoint:
    """Sum the filters over colours: they give what a grey picture's colour copy gives."""
    filters = stored.state_dict.keys() & FILTERS
    grey = {key: stored.state_dict[key].sum(dim=1, keepdim=True) for key in filters}
    read = (key for key in stored.state_dict if key.startswith(CHANNELS))
    grey |= {key: torch.zeros_like(stored.state_dict[key]) for key in read}
    parameters = stored.gabor_parameters
    if parameters is not None:
        only = np.zeros_like(parameters.color_channel)
        parameters = dataclasses.replace(parameters, color_channel=only, color_channel_q1=only)
    return Checkpoint(stored.config, stored.state_dict | grey, parameters)


def load_strictly(model: nn.Module, weights: Mapping[str, Tensor], refusal: str) -> None:
    """Load weights that fit in every name and shape; raise as `check_fit`."""
    check_fit(model, weights, refusal)
    model.load_state_dict(weights)


def check_fit(model: nn.Module, weights: Mapping[str, Tensor], refusal: str) -> None:
    """Compare names and shapes of weights with those of a model.

    Raises:
        CheckpointError: `refusal`, and the first tensors that do not fit.
    """
    expected = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    found = {key: tuple(value.shape) for key, value in weights.items()}
    if expected == found:
        return
    wrong = [f"{key} is missing" for key in sorted(expected.keys() - found.keys())]
    wrong += [f"{key} is unknown" for key in sorted(found.keys() - expected.keys())]
    wrong += [
        f"{key} has shape {found[key]} instead of {shape}"
        for key, shape in sorted(expected.items())
        if found.get(key, shape) != shape
    ]
    more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
    raise CheckpointError(f"{refusal}: {'; '.join(wrong[:3])}{more}")
