"""A layer's responses to images, as vectors: what predicts recorded neurons (`predictivity.py`)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import functional

from vonenet.data.decoding import as_channels, as_pixels, decode
from vonenet.data.seeding import device_of, seeded
from vonenet.errors import InputError
from vonenet.physiology.canvas import Canvas
from vonenet.physiology.layers import evaluating, find_layer, output_of, without_noise

GREY = 128  # level of what a stimulus does not fill
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")


def image_files(folder: Path | str, names: Sequence[str] | None = None) -> list[Path]:
    """The stimuli's images in the order of the responses.

    Args:
        folder: With one image file for each stimulus.
        names: Of the stimuli, which are the files' names with or without suffix; None: all images
            of the folder in the order of their names.

    Raises:
        InputError: The folder holds no image, or none of a name.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"images {folder} are no folder; needed: one image file for each stimulus")
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not found:
        raise InputError(f"folder {folder} holds no image; allowed: {', '.join(SUFFIXES)}")
    if names is None:
        return found
    by_name = {path.stem: path for path in found} | {path.name: path for path in found}
    missing = [name for name in names if name not in by_name]
    if missing:
        raise InputError(
            f"{len(missing)} of {len(names)} stimuli have no image in {folder}, the first is "
            f"{missing[0]!r}; its images are {found[0].name}, ..."
        )
    return [by_name[name] for name in names]


def on_canvas(image: Image.Image, canvas: Canvas, degrees: float) -> Tensor:
    """An image as a stimulus of so many degrees in the middle of a grey canvas.

    Args:
        image: A square, else its middle is shown.
        canvas: Of the model.
        degrees: Visual angle of the image's side; what is beyond the canvas is cut off.

    Returns:
        (in_chans, pixels, pixels) in [0, 1].
    """
    side = round(canvas.pixels * degrees / canvas.degrees)
    if side < 1:
        raise InputError(
            f"an image of {degrees} degrees is smaller than a pixel of a canvas of "
            f"{canvas.degrees} degrees"
        )
    square = functional.center_crop(as_channels(image, canvas.in_chans), [min(image.size)] * 2)
    scaled = functional.resize(square, [side, side], antialias=True)
    around = max(0, canvas.pixels - side)
    before = around // 2
    padding = [before, before, around - before, around - before]
    padded = functional.pad(scaled, padding, fill=GREY)
    return as_pixels(functional.center_crop(padded, [canvas.pixels] * 2))


def read_stimuli(paths: Sequence[Path], canvas: Canvas, degrees: float) -> Iterable[Tensor]:
    """Image files as `on_canvas` shows them, one after the other.

    Raises:
        BrokenImageError: One cannot be decoded.
    """
    for path in paths:
        yield on_canvas(decode(path.read_bytes(), str(path)), canvas, degrees)


def layer_features(
    model: nn.Module,
    layer: str,
    images: Iterable[Tensor],
    *,
    trials: int | None = None,
    seed: int = 0,
    batch_size: int = 32,
) -> npt.NDArray[np.float32]:
    """A layer's responses to images, (images, features).

    Args:
        model: Takes pixels in [0, 1].
        layer: Its name; any layer that returns a tensor, spatial or not.
        images: Each (C, H, W) in [0, 1].
        trials: Passes to average over; None: one pass without the noise of V1 blocks.
        seed: Of the noise.
        batch_size: Images at once.

    Raises:
        InputError: No such layer, or one that returns no tensor; trials below 1.
    """
    if trials is not None and trials < 1:
        raise InputError(f"trials must be 1 or more, got {trials}")
    found, device = find_layer(model, layer), device_of(model)
    features: list[Tensor] = []
    quiet = without_noise(model) if trials is None else nullcontext()
    with evaluating(model), torch.no_grad(), seeded(seed, device), quiet:
        for batch in _batches(images, batch_size):
            passes = [_vectors(model, found, layer, batch.to(device)) for _ in range(trials or 1)]
            features.append(torch.stack(passes).mean(dim=0).cpu())
    return torch.cat(features).numpy()


def _vectors(model: nn.Module, layer: nn.Module, name: str, batch: Tensor) -> Tensor:
    output = output_of(model, layer, batch)
    if not isinstance(output, Tensor):
        kind = type(output).__name__
        raise InputError(f"layer {name!r} returns a {kind}; record one that returns a tensor")
    return output.flatten(start_dim=1).float()


def _batches(images: Iterable[Tensor], size: int) -> Iterable[Tensor]:
    batch: list[Tensor] = []
    for image in images:
        batch.append(image)
        if len(batch) == size:
            yield torch.stack(batch)
            batch = []
    if batch:
        yield torch.stack(batch)
