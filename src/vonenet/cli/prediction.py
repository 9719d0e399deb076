"""The work of `vonenet predict`: images through a network, as text."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torchvision.transforms import v2

from vonenet.cli.predict import Predict
from vonenet.errors import InputError
from vonenet.model import VOneNet
from vonenet.results import MODEL
from vonenet.v1.noise import noise_generator
from vonenet.zoo.checkpoints import stored_classes
from vonenet.zoo.loading import load_model
from vonenet.zoo.registry import create_model


def predict_images(options: Predict) -> Iterator[tuple[Path, str | InputError]]:
    """Yield each image's most probable classes as text, or what is wrong with the image.

    Raises:
        InputError: The model or a number cannot be used, or there is no image.
    """
    if not options.images:
        raise InputError("no image was given; give one or more files")
    for name in ("top", "samples"):
        if (value := getattr(options, name)) < 1:
            raise InputError(f"--{name} must be 1 or more, got {value}")
    network = _trained(options.model).eval()
    transform = preprocessing(network)
    names = trained_class_names(options.model) or class_names(network.config.num_classes)
    for path in options.images:
        try:
            image = transform(_opened(path, network.vone_block.config.in_chans))
        except InputError as error:
            yield path, error
            continue
        probabilities = sample_probabilities(network, image, options.samples, options.seed)
        yield path, _top_classes(probabilities, names, options.top)


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
    """Return the class names that a weights file or a training's folder holds, if any."""
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
    """List the classes of the largest mean probability, with spread and share of decisions."""
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
