"""`vonenet predict`: the classes of image files, with their spread over noise samples."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from vonenet.errors import InputError

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor
    from torchvision.transforms import v2

    from vonenet.model import VOneNet


@dataclass(frozen=True)
class Predict:
    """Classify images: the most probable classes, with their spread over noise samples.

    Attributes:
        model: a name with published weights (see `vonenet models`), or a weights file.
        images: image files.
        top: classes to show for each image.
        samples: noise samples to average.
        seed: seed of the noise.
    """

    model: Annotated[Positional[str], arg(metavar="MODEL")]
    images: Annotated[Positional[tuple[Path, ...]], arg(metavar="IMAGE...")]
    top: int = 5
    samples: int = 16
    seed: int = 0

    def run(self) -> None:
        """Print each image's classes, or what is wrong with it on stderr.

        Raises:
            SystemExit: Something was wrong with an image.
        """
        failed = False
        for path, answer in predict_images(self):
            if isinstance(answer, InputError):
                failed = True
                print(f"vonenet: {answer}", file=sys.stderr)
            else:
                print(f"{path}\n{answer}")
        if failed:
            raise SystemExit(1)


def predict_images(options: Predict) -> Iterator[tuple[Path, str | InputError]]:
    """Yield each image's most probable classes as text, or what is wrong with the image.

    Raises:
        InputError: The model or a number cannot be used, or there is no image.
    """
    from vonenet.model import VOneNet
    from vonenet.results import MODEL
    from vonenet.zoo.checkpoints import stored_classes
    from vonenet.zoo.loading import load_model

    if not options.images:
        raise InputError("no image was given; give one or more files")
    for name in ("top", "samples"):
        if (value := getattr(options, name)) < 1:
            raise InputError(f"--{name} must be 1 or more, got {value}")
    network = load_model(options.model).model.model
    if not isinstance(network, VOneNet):
        raise InputError(f"{options.model} is no VOneNet; vonenet predict takes VOneNets")
    address = Path(options.model)
    names = stored_classes(address / MODEL if address.is_dir() else address)
    names = names or _class_names(network.config.num_classes)
    transform = preprocessing(network)
    for path in options.images:
        try:
            image = transform(_opened(path, network.vone_block.config.in_chans))
        except InputError as error:
            yield path, error
            continue
        probabilities = sample_probabilities(network, image, options.samples, options.seed)
        yield path, _top_classes(probabilities, names, options.top)


def sample_probabilities(model: VOneNet, image: Tensor, samples: int, seed: int) -> Tensor:
    """Compute an image's class probabilities under draws of noise, (samples, classes)."""
    import torch

    from vonenet.v1.noise import noise_generator

    generator = torch.Generator().manual_seed(seed)
    with torch.inference_mode(), noise_generator(model, generator):
        mean = model.mean_response(image[None])
        logits = model.forward_from_mean_response(mean.expand(samples, -1, -1, -1))
    return logits.softmax(dim=1)


def preprocessing(model: VOneNet) -> v2.Transform:
    """Build the resize, centre crop and normalisation that belong to the model."""
    import torch
    from torchvision.transforms import v2

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


def _class_names(num_classes: int) -> list[str]:
    """Return ImageNet's names for 1000 classes, else numbers."""
    if num_classes != 1000:
        return [f"class {index}" for index in range(num_classes)]
    from timm.data.imagenet_info import ImageNetInfo

    info = ImageNetInfo("imagenet-1k")
    return [info.index_to_description(index) for index in range(num_classes)]


def _opened(path: Path, in_chans: int) -> Image.Image:
    from PIL import Image, UnidentifiedImageError

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
    import torch

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
