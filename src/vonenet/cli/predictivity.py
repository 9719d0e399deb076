"""`vonenet predictivity`: how well layers of a model predict a user's own recorded neurons."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from vonenet.cli.physiology import load_on_canvas

if TYPE_CHECKING:
    from vonenet.physiology.predictivity import Predictivity as Prediction


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
        """Predict, and print a table of the layers."""
        found = predict_neurons(self)
        print(f"{'layer':<28}{'median r':>10}{'95 % interval':>18}{'over ceiling':>14}{'units':>8}")
        for layer, each in found.items():
            interval = "{:.3f} to {:.3f}".format(*each.interval)
            ceiled = "-" if each.ceiled is None else f"{each.ceiled:.3f}"
            units = len(each.per_unit) - each.n_undefined
            print(f"{layer:<28}{each.median:>10.3f}{interval:>18}{ceiled:>14}{units:>8}")
        print(f"\nrows: {(self.out / 'results.jsonl').resolve()}")


def predict_neurons(options: Predictivity, *, progress: bool = True) -> dict[str, Prediction]:
    """Return how each layer of a model predicts responses; rows are written as they come.

    Raises:
        InputError: A model, file, layer or setting cannot be used, or there are not as many images
            as stimuli.
    """
    from tqdm import tqdm

    from vonenet.errors import InputError
    from vonenet.physiology.neural_data import image_files, read_images, read_responses
    from vonenet.physiology.predictivity import layer_features, predictivity
    from vonenet.results import HASH_LENGTH, RESULTS, Result, Value, append_missing, model_hash
    from vonenet.zoo.loading import v1_block_of

    recorded, names = read_responses(options.responses)
    stimuli = recorded.shape[-2]
    paths = image_files(options.images, names)
    if len(paths) != stimuli:
        raise InputError(
            f"{options.images} holds {len(paths)} images, but {options.responses} has "
            f"{stimuli} stimuli; needed: one image for each, in the same order"
        )
    data_hash = hashlib.sha256(f"{recorded.shape}\n".encode())
    for content in (recorded.tobytes(), *(path.read_bytes() for path in paths)):
        data_hash.update(content)
    loaded, canvas = load_on_canvas(options.model, options.degrees, options.device)
    image_degrees = canvas.degrees if options.image_degrees is None else options.image_degrees
    settings: dict[str, Value] = {
        "data_hash": data_hash.hexdigest()[:HASH_LENGTH],
        "image_degrees": image_degrees,
        "degrees": canvas.degrees,
        "pixels": canvas.pixels,
        "before_noise": options.trials is None,
        "trials": options.trials or 1,
        "components": options.components,
        "folds": options.folds,
    }
    predictions, weights = {}, model_hash(loaded.model.model)
    layers = options.layers or (v1_block_of(loaded),)
    for layer in (bar := tqdm(layers, unit="layer", leave=False, disable=not progress)):
        bar.set_description(layer)
        start = time.perf_counter()
        images = read_images(paths, canvas, image_degrees)
        features = layer_features(
            loaded.model, layer, images, trials=options.trials, seed=options.seed
        )
        how = {"components": options.components, "folds": options.folds, "seed": options.seed}
        predictions[layer] = found = predictivity(features, recorded, **how)
        low, high = found.ceiled_interval or found.interval
        ceiling = {} if found.ceiling is None else {"ceiling": found.ceiling}
        row = Result(
            experiment="predictivity",
            model=loaded.name,
            model_hash=weights,
            data=options.responses.name,
            data_size=stimuli,
            condition={"layer": layer, **settings},
            metric="pearson_r" if found.ceiled is None else "ceiled_pearson_r",
            value=found.median if found.ceiled is None else found.ceiled,
            ci_low=low,
            ci_high=high,
            n=len(found.per_unit) - found.n_undefined,
            seed=options.seed,
            flags={"pearson_r": found.median, "undefined": found.n_undefined} | ceiling,
            seconds=time.perf_counter() - start,
        )
        append_missing(options.out / RESULTS, [row])
    return predictions
