"""Weights of base networks on disk: one safetensors file that says how to build the network."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from safetensors.torch import load_file
from torch import nn

from vonenet.errors import CheckpointError
from vonenet.zoo.checkpoints import CLASSES, load_strictly, read_metadata, write_tensors
from vonenet.zoo.registry import create_base_model
from vonenet.zoo.weights import is_safetensors

FORMAT = "vonenet-base-1"


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
) -> None:
    """Write a base network to one safetensors file. It appears whole or not at all.

    Args:
        model: a network of `create_base_model`.
        path: the file.
        name: the VOneNet's name that it is the base of.
        mean: of the normalisation that its images need, a number for each channel.
        std: of the normalisation.
        classes: names of the logits.
        in_chans: channels of its images.
        image_size: their height = width, pixels.
    """
    settings = {"num_classes": len(classes), "in_chans": in_chans, "image_size": image_size}
    description = {"name": name, "mean": list(mean), "std": list(std), "settings": settings}
    metadata = {"format": FORMAT, "base": json.dumps(description)}
    metadata[CLASSES] = json.dumps(list(classes))
    write_tensors(model.state_dict(), metadata, Path(path))


def is_base_checkpoint(path: str | Path) -> bool:
    """Tell whether a file is one of `save_base_checkpoint`."""
    path = Path(path)
    return path.is_file() and is_safetensors(path) and read_metadata(path).get("format") == FORMAT


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
