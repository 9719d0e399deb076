"""`vonenet convert`: a published weights file becomes one of ours."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg


@dataclass(frozen=True)
class Convert:
    """Turn a weights file of the original (.pth.tar) into one of ours (safetensors).

    The options are for settings that a file does not say, as those of forks and bare state dicts.

    Attributes:
        old: the file to read.
        new: the file to write.
        image_size: height = width of the images that it was trained on, pixels.
        visual_degrees: their visual angle.
        stride: distance between V1's positions, pixels.
        k_exc: gain of V1's responses.
        noise: the noise of V1.
        noise_scale: spikes per unit of response; of gaussian noise its standard deviation.
        noise_level: spontaneous spikes.
        simple_channels: number of simple cells, by default half of the cells.
    """

    old: Annotated[Positional[Path], arg(metavar="OLD")]
    new: Annotated[Positional[Path], arg(metavar="NEW")]
    image_size: int | None = None
    visual_degrees: float | None = None
    stride: int | None = None
    k_exc: float | None = None
    noise: Literal["neuronal", "gaussian", "off"] | None = None
    noise_scale: float | None = None
    noise_level: float | None = None
    simple_channels: int | None = None

    def run(self) -> None:
        """Read the old file and write the new one."""
        from vonenet.zoo.checkpoints import load_checkpoint, save_checkpoint

        said = {name: value for name, value in vars(self).items() if value is not None}
        if self.noise == "off":
            said["noise"] = None
        del said["old"], said["new"]
        model = load_checkpoint(self.old, **said)
        save_checkpoint(model, self.new)
        print(f"{self.old} -> {self.new}: {model.config.name}, {model.config.num_classes} classes")
