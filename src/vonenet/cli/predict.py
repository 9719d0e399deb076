"""`vonenet predict`: the classes of image files, with their spread over noise samples."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from vonenet.errors import VOneNetError


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
        from vonenet.cli.prediction import predict_images

        failures = 0
        for path, answer in predict_images(self):
            if isinstance(answer, VOneNetError):
                failures += 1
                print(f"vonenet: {answer}", file=sys.stderr)
            else:
                print(f"{path}\n{answer}")
        if failures:
            raise SystemExit(1)
