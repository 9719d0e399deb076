"""`vonenet predictivity`: how well layers of a model predict recorded neurons."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg


@dataclass(frozen=True)
class Predictivity:
    """Predict your own recorded neurons from a model's layers, as Brain-Score does.

    Partial least squares from a layer's responses to the images; Pearson's r on images that were
    held out, the median over neurons, over the ceiling if the responses have repetitions.

    Attributes:
        model: as in `vonenet physiology`.
        responses: a .npy or .npz file, (stimuli, units) or (repetitions, stimuli, units), or a .nc
            file of xarray's.
        images: folder with an image for each stimulus, by the names that the file gives them, else
            in the order of their names.
        layers: names of layers; the V1 block if none is given.
        image_degrees: visual angle of the images as the animal saw them; the model's if not given.
        degrees: visual angle of the model's image; what it was made for, or 8, if not given.
        trials: passes that a stochastic model's responses are averaged over; if not given, the
            noise of V1 blocks is left out.
        components: of the regression.
        folds: parts that the images are held out in.
        out: folder for results.jsonl.
        seed: seed of the folds and the noise.
        device: where to compute; auto takes a GPU if there is one.
    """

    model: Annotated[Positional[str], arg(metavar="MODEL")]
    responses: Path
    images: Path
    layers: tuple[str, ...] = ()
    image_degrees: float | None = None
    degrees: float | None = None
    trials: int | None = None
    components: int = 25
    folds: int = 10
    out: Path = Path("predictivity")
    seed: int = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"

    def run(self) -> None:
        """Predict, and print the table."""
        from vonenet.cli.neural_prediction import predict_neurons, predictivity_table

        print(predictivity_table(predict_neurons(self)))
        print(f"\nrows: {(self.out / 'results.jsonl').resolve()}")
