"""`vonenet convert`: a published weights file becomes one of ours."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg


@dataclass(frozen=True)
class Convert:
    """Turn a published weights file (.pth.tar) into one of ours (safetensors).

    Attributes:
        old: the file to read.
        new: the file to write.
    """

    old: Annotated[Positional[Path], arg(metavar="OLD")]
    new: Annotated[Positional[Path], arg(metavar="NEW")]

    def run(self) -> None:
        """Read the old file and write the new one."""
        from vonenet.zoo.checkpoints import load_checkpoint, save_checkpoint

        model = load_checkpoint(self.old)
        save_checkpoint(model, self.new)
        print(f"{self.old} -> {self.new}: {model.config.name}, {model.config.num_classes} classes")
