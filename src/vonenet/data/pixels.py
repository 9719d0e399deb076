"""The one wrapper through which pixels in [0, 1] meet a model, and the device that it runs on."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from vonenet.errors import InputError

# V1 alone, today's and the original's, which rows do not name
UNNAMED_FRONT_ENDS = ("vonenet", "vonenet2020")


class PixelModel(nn.Module):
    """A model that takes pixels in [0, 1] and normalises them inside its forward.

    Training, corruptions, attacks and stimuli all speak pixels, so an epsilon or a contrast means
    the same for every model behind this wrapper.

    Args:
        model: Takes normalised images (B, C, H, W).
        mean: Mean of the normalisation, for each channel or one for all.
        std: Standard deviation, the same way; above 0.
        classes: Names of the model's outputs, in order; None where they are not known.

    Raises:
        InputError: If a standard deviation is not above 0, or the numbers are those of pixels from
            0 to 255.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        model: nn.Module,
        mean: float | Sequence[float],
        std: float | Sequence[float],
        *,
        classes: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.classes = None if classes is None else tuple(classes)
        for name, values in (("mean", mean), ("std", std)):
            try:
                per_channel = torch.as_tensor(values, dtype=torch.float32).reshape(-1, 1, 1)
            except (TypeError, ValueError, RuntimeError):
                needed = "one for all channels or one for each"
                raise InputError(f"{name}={values!r} is no number; needed: {needed}") from None
            # Not persistent: the state dict stays the model's own, under one prefix
            self.register_buffer(name, per_channel, persistent=False)
        if not bool((self.std > 0).all() and self.mean.isfinite().all()):
            raise InputError(
                f"mean={mean}, std={std} cannot normalise; needed: finite numbers, std above 0"
            )
        if bool((self.mean > 1).any() or (self.std > 1).any()):
            scaled = [_numbers(values / 255, ", ") for values in (self.mean, self.std)]
            raise InputError(
                f"mean={mean}, std={std} are of pixels from 0 to 255; here they are from 0 to 1, "
                "for which mean=({}), std=({})".format(*scaled)
            )

    def normalise(self, pixels: Tensor) -> Tensor:
        """Map pixels in [0, 1] to the model's own range."""
        return (pixels - self.mean) / self.std

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the model's logits for pixels (B, C, H, W) in [0, 1]."""
        logits: Tensor = self.model(self.normalise(pixels))
        return logits


def described(model: nn.Module) -> Mapping[str, Any]:
    """Return what `pretrained_cfg` says of a model's images and outputs, if it has one."""
    found = getattr(model, "pretrained_cfg", None)
    return found if isinstance(found, Mapping) else {}


def taking_pixels(model: nn.Module, whose: str) -> PixelModel:
    """Return a `PixelModel` of a model that says how its images are normalised.

    Raises:
        InputError: It does not; the line begins with `whose`.
    """
    known = described(model)
    if "mean" not in known or "std" not in known:
        hint = "for pixels in [0, 1] as they are: 0.0, 1.0"
        if type(model).__module__.startswith("torchvision."):
            hint = "torchvision's are nearly all (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)"
        raise InputError(
            f"{whose} does not say how its images are normalised; needed: vonenet.data.PixelModel("
            f"model, mean, std), or model.pretrained_cfg = {{'mean': mean, 'std': std}} ({hint})"
        )
    return PixelModel(model, known["mean"], known["std"])


def classes_of(model: nn.Module) -> tuple[str, ...] | None:
    """Return the names of a model's outputs; None where they are not known."""
    return model.classes if isinstance(model, PixelModel) else None


def preprocessing_text(model: nn.Module, size: tuple[int, int]) -> str:
    """Return what rows say of how pixels reach a model, at this height and width.

    For example "mean 0.5 0.5 0.5, std 0.5 0.5 0.5, 224 px"; a VOneNet's front-end is named if it is
    another than the usual ones.
    """
    height, width = size
    pixels = f"{height} px" if height == width else f"{height}x{width} px"
    if not isinstance(model, PixelModel):
        return f"pixels in [0, 1], {pixels}"
    name = described(model.model).get("front_end", UNNAMED_FRONT_ENDS[0])
    front_end = "" if name in UNNAMED_FRONT_ENDS else f", front-end {name}"
    return f"mean {_numbers(model.mean)}, std {_numbers(model.std)}, {pixels}{front_end}"


def _numbers(values: Tensor, between: str = " ") -> str:
    return between.join(f"{value:.4g}" for value in values.flatten().tolist())


def inner_model(model: nn.Module) -> nn.Module:
    """Return the module that normalised images go into: hashes and layer names are its."""
    return model.model if isinstance(model, PixelModel) else model


def chosen_device(name: str) -> torch.device:
    """Return the device of that name, or for "auto" a GPU where there is one.

    Raises:
        InputError: On another name, or a GPU that is not there.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise InputError(f"device must be auto, cpu or cuda, got {name!r}")
    present = torch.cuda.is_available()
    if name == "cuda" and not present:
        raise InputError("device cuda was asked for, but torch sees no GPU here; use cpu or auto")
    return torch.device("cuda" if present and name != "cpu" else "cpu")


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Put a model into eval mode inside the block; restore every module's own mode afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
