"""What `vonenet models` and `vonenet predict` do, as functions that return text."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torchvision.transforms import v2

from vonenet.backbones import build_backbone
from vonenet.errors import InputError
from vonenet.loading import load_model
from vonenet.model import VOneNet
from vonenet.training.run_folder import MODEL
from vonenet.v1.config import VOneBlockConfig
from vonenet.v1.noise import noise_generator
from vonenet.zoo.checkpoints import stored_classes
from vonenet.zoo.registry import NAMED_MODELS, ModelEntry, create_model, find_entry, list_models

NAMED = "named"


def model_table(pattern: str = NAMED) -> str:
    """Name, trained parameters, front-end and weights of every model that matches a pattern.

    Raises:
        InputError: no model matches.
    """
    names = list(NAMED_MODELS) if pattern == NAMED else list_models(pattern)
    if not names:
        raise InputError(f"no model matches {pattern!r}; try 'vone*resnet*', or '*' for all")
    rows = [("name", "trained", "front-end", "weights")]
    rows += [_model_row(find_entry(name)) for name in names]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in rows]
    timm_models = len(list_models("vone_*"))
    more = f"\n\nand {timm_models} with a timm back-end: vonenet models 'vone_*'"
    return "\n".join(line.rstrip() for line in lines) + (more if pattern == NAMED else "")


def _model_row(entry: ModelEntry) -> tuple[str, str, str, str]:
    with torch.device("meta"):
        backbone = build_backbone(entry.backbone)
    v1 = VOneBlockConfig(noise=entry.noise, stride=backbone.stride).resolved()
    trained = sum(parameter.numel() for parameter in backbone.module.parameters())
    trained += v1.out_channels * backbone.in_channels
    front = (
        f"{v1.simple_channels} simple + {v1.complex_channels} complex, "
        f"stride {v1.stride}, noise {v1.noise or 'off'}"
    )
    return entry.name, f"{trained / 1e6:.2f} M", front, "published" if entry.weights else "-"


def predict_images(
    model: str, paths: Sequence[Path], *, top: int, samples: int, seed: int
) -> Iterator[tuple[Path, str | InputError]]:
    """Each image's most probable classes as text, or what is wrong with the image.

    Args:
        model: a registered name with published weights, or a weights file.
        paths: image files.
        top: classes for each image.
        samples: noise samples.
        seed: seed of the noise.

    Raises:
        InputError: the model or a number cannot be used, or there is no image.
    """
    if not paths:
        raise InputError("no image was given; give one or more files")
    for name, value in {"top": top, "samples": samples}.items():
        if value < 1:
            raise InputError(f"--{name} must be 1 or more, got {value}")
    network = _trained(model).eval()
    transform = preprocessing(network)
    names = trained_class_names(model) or class_names(network.config.num_classes)
    for path in paths:
        try:
            image = transform(_opened(path, network.vone_block.config.in_chans))
        except InputError as error:
            yield path, error
            continue
        probabilities = sample_probabilities(network, image, samples, seed)
        yield path, _top_classes(probabilities, names, top)


def sample_probabilities(model: VOneNet, image: Tensor, samples: int, seed: int) -> Tensor:
    """Class probabilities under `samples` draws of noise, (samples, classes), for one image."""
    generator = torch.Generator().manual_seed(seed)
    with torch.inference_mode(), noise_generator(model, generator):
        mean = model.mean_response(image[None])
        logits = model.forward_from_mean_response(mean.expand(samples, -1, -1, -1))
    return logits.softmax(dim=1)


def preprocessing(model: VOneNet) -> v2.Transform:
    """Resize, centre crop and normalisation that belong to the model."""
    config = model.pretrained_cfg
    height, width = config["input_size"][1:]
    return v2.Compose(
        [
            v2.Resize(round(max(height, width) / config["crop_pct"])),
            v2.CenterCrop((height, width)),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(config["mean"], config["std"]),
        ]
    )


def class_names(num_classes: int) -> list[str]:
    """ImageNet's names for 1000 classes, else numbers."""
    if num_classes != 1000:
        return [f"class {index}" for index in range(num_classes)]
    from timm.data.imagenet_info import ImageNetInfo

    info = ImageNetInfo("imagenet-1k")
    return [info.index_to_description(index) for index in range(num_classes)]


def trained_class_names(address: str) -> list[str] | None:
    """The class names that a weights file or the folder of a training holds; None without."""
    path = Path(address, MODEL) if Path(address).is_dir() else Path(address)
    return stored_classes(path)


def _trained(model: str) -> VOneNet:
    if Path(model).exists():
        network = load_model(model).model.model
        if not isinstance(network, VOneNet):
            raise InputError(f"{model} holds a base network; vonenet predict takes VOneNets")
        return network
    looks_like_a_path = "/" in model or model.endswith((".safetensors", ".tar", ".pth", ".pt"))
    if looks_like_a_path:
        raise InputError(f"no weights file {model}")
    return create_model(model, pretrained=True)


def _opened(path: Path, in_chans: int) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                return image.convert("RGB" if in_chans == 3 else "L")
    except UnidentifiedImageError as error:
        raise InputError(f"{path} is not an image that can be read") from error
    except (OSError, SyntaxError, Image.DecompressionBombWarning) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{path} cannot be read: {reason}") from error


def _top_classes(probabilities: Tensor, names: Sequence[str], top: int) -> str:
    """The classes of the largest mean probability, with spread and share of the decisions."""
    samples = len(probabilities)
    mean, spread = probabilities.mean(dim=0), probabilities.std(dim=0, correction=0)
    wins = torch.bincount(probabilities.argmax(dim=1), minlength=len(mean)) / samples
    lines = []
    for index in mean.argsort(descending=True)[:top].tolist():
        name = names[index].split(",")[0]
        lines.append(
            f"  {100 * mean[index]:5.1f} % ± {100 * spread[index]:4.1f}  {name:<32} "
            f"first in {100 * wins[index]:.0f} % of {samples} noise samples"
        )
    return "\n".join(lines)
