"""`vonenet predict`: the classes of image files, with their spread over noise samples."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from vonenet.cli.console import say
from vonenet.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from vonenet.data import PixelModel


@dataclass(frozen=True)
class Predict:
    """Classify images: the most probable classes, with their spread over noise samples.

    Attributes:
        model: a name with published weights (see `vonenet models`), a weights file, the folder of a
            training, timm/NAME, or module:function.
        images: image files, and folders of them.
        top: classes to show for each image.
        samples: noise samples to average; a model without noise answers once.
        seed: seed of the noise.
        batch_size: images at a time.
        device: where to compute; auto takes a GPU if there is one.
        json: print a JSON object for each image, one a line.
    """

    model: Annotated[Positional[str], arg(metavar="MODEL")]
    images: Annotated[Positional[tuple[Path, ...]], arg(metavar="IMAGE...")]
    top: int = 5
    samples: int = 16
    seed: int = 0
    batch_size: int = 16
    device: Literal["auto", "cpu", "cuda"] = "auto"
    json: bool = False

    def run(self) -> None:
        """Print each image's classes, or what is wrong with it on stderr.

        Raises:
            SystemExit: Something was wrong with an image.
        """
        failed = False
        for path, answer in predict_images(self):
            found: dict[str, object]
            if isinstance(answer, InputError):
                failed = True
                say(answer)
                found, lines = {"error": str(answer)}, []
            else:
                found = {"classes": [asdict(choice) for choice in answer]}
                lines = [str(path), *(choice.text() for choice in answer)]
            if self.json:
                print(json.dumps({"image": str(path), **found}))
            elif lines:
                print("\n".join(lines))
        if failed:
            raise SystemExit(1)


@dataclass(frozen=True)
class Choice:
    """A class that a model gives an image."""

    output: int  # index of the model's output
    id: str  # what the model calls the class; its index where the model has no names
    name: str  # the same, or for an ImageNet id the first of its names
    probability: float  # mean over noise samples
    spread: float  # standard deviation over noise samples
    first: float  # share of the noise samples in which no class is more probable
    samples: int  # number of noise samples; 0 for a model without noise

    def text(self) -> str:
        """Return the line that is printed."""
        if not self.samples:
            return f"  {100 * self.probability:5.1f} %  {self.name}"
        return (
            f"  {100 * self.probability:5.1f} % ± {100 * self.spread:4.1f}  {self.name:<32} "
            f"first in {100 * self.first:.0f} % of {self.samples} noise samples"
        )


def predict_images(options: Predict) -> Iterator[tuple[Path, list[Choice] | InputError]]:
    """Yield each image's most probable classes, or what is wrong with the image.

    An image's answer does not depend on the images beside it.

    Raises:
        InputError: The model or a number cannot be used, or there is no image.
    """
    import torch

    from vonenet.data.decoding import load_pixels
    from vonenet.data.pixels import chosen_device
    from vonenet.robustness.evaluate import check_outputs
    from vonenet.zoo.loading import load_model

    if not options.images:
        raise InputError("no image was given; give one or more files or folders")
    paths = [path for given in options.images for path in image_files(given)]
    device = chosen_device(options.device)
    loaded = load_model(options.model)
    loaded.model.to(device)
    shape = loaded.in_chans, loaded.image_size, loaded.image_size
    pixels = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))
    outputs, stochastic = check_outputs(loaded.model, pixels, options.seed)
    ids = loaded.model.classes or [str(output) for output in range(outputs)]
    names = readable_names(ids) if loaded.model.classes else [f"class {each}" for each in ids]
    samples = options.samples if stochastic else 0
    for start in range(0, len(paths), options.batch_size):
        found: dict[Path, Tensor] = {}
        errors: dict[Path, InputError] = {}
        batch = paths[start : start + options.batch_size]
        for path in batch:
            try:
                found[path] = load_pixels(path, loaded.image_size, loaded.in_chans)
            except InputError as error:
                errors[path] = error
        drawn = probabilities_of(loaded.model, list(found.values()), samples, options.seed)
        found = dict(zip(found, drawn, strict=True))
        for path in batch:
            if path in errors:
                yield path, errors[path]
            else:
                yield path, _choices(found[path], ids, names, samples, options.top)


def image_files(path: Path) -> list[Path]:
    """Return the image files of a folder in natural order; the path of anything else as it is."""
    from vonenet.data.folders import list_images

    if not path.is_dir():
        return [path]
    (found,), _ = list_images([path], above=path.absolute().parent)
    if not found:
        raise InputError(f"folder {path} holds no image of a kind that is read")
    return [Path(each) for each in found]


def probabilities_of(
    model: PixelModel, images: Sequence[Tensor], samples: int, seed: int
) -> list[Tensor]:
    """Return each image's class probabilities, (samples, classes), under draws of noise.

    Images, (C, H, W) in [0, 1], share a pass up to the noise. The draws are the same for each; with
    0 samples, for a model without noise, one row is returned.
    """
    import torch

    from vonenet.data.seeding import device_of, seeded
    from vonenet.robustness.sampling import two_stages

    if not images:
        return []
    device = device_of(model)
    pixels = torch.stack(list(images)).to(device)
    before_noise, from_noise_on = two_stages(model)
    drawn = []
    with torch.inference_mode():
        if not samples:
            return [logits[None].softmax(dim=1).cpu() for logits in model(pixels)]
        for mean in before_noise(pixels):
            with seeded(seed, device):
                logits = from_noise_on(mean.expand(samples, *mean.shape))
            drawn.append(logits.softmax(dim=1).cpu())
    return drawn


def readable_names(classes: Sequence[str]) -> list[str]:
    """Return names of classes; of ImageNet's ids, such as n01440764, WordNet's first one."""
    from vonenet.data.classes import imagenet_ids, imagenet_names

    if not any(name.startswith("n") and name[1:].isdecimal() for name in classes):
        return list(classes)
    known = dict(zip(imagenet_ids(), imagenet_names(), strict=True))
    return [known[name].partition(",")[0] if name in known else name for name in classes]


def _choices(
    probabilities: Tensor, ids: Sequence[str], names: Sequence[str], samples: int, top: int
) -> list[Choice]:
    """Return the classes of the largest mean probability."""
    import torch

    mean, spread = probabilities.mean(dim=0), probabilities.std(dim=0, correction=0)
    wins = torch.bincount(probabilities.argmax(dim=1), minlength=len(mean)) / len(probabilities)
    return [
        Choice(i, ids[i], names[i], float(mean[i]), float(spread[i]), float(wins[i]), samples)
        for i in mean.argsort(descending=True)[:top].tolist()
    ]
