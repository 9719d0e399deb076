"""The work of `vonenet predictivity`: layers of a model against a user's own recordings."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from vonenet.cli.predictivity import Predictivity as PredictivityOptions
from vonenet.data.pixels import chosen_device
from vonenet.errors import InputError
from vonenet.physiology import Canvas
from vonenet.physiology.features import image_files, layer_features, read_stimuli
from vonenet.physiology.neural_data import read_responses, read_stimulus_names
from vonenet.physiology.predictivity import Predictivity, predictivity
from vonenet.results import HASH_LENGTH, RESULTS, Result, append_missing, model_hash
from vonenet.zoo.loading import LoadedModel, load_model, v1_block_of, visual_degrees_of

EXPERIMENT = "predictivity"


def predict_neurons(
    options: PredictivityOptions, *, progress: bool = True
) -> dict[str, Predictivity]:
    """Predict recorded responses from each layer of a model; rows are written as they come.

    Args:
        options: Which model, layers, responses and images, and how.
        progress: Show a progress bar.

    Returns:
        The predictivity of each layer.

    Raises:
        InputError: A model, file, layer or setting cannot be used, or there are not as many images
            as stimuli.
    """
    recorded = read_responses(options.responses)
    paths = image_files(options.images, read_stimulus_names(options.responses))
    if len(paths) != recorded.shape[-2]:
        raise InputError(
            f"{options.images} holds {len(paths)} images, but {options.responses} has "
            f"{recorded.shape[-2]} stimuli; needed: one image for each, in the same order"
        )
    loaded = load_model(options.model)
    loaded.model.to(chosen_device(options.device))
    degrees = visual_degrees_of(loaded) if options.degrees is None else options.degrees
    image_degrees = degrees if options.image_degrees is None else options.image_degrees
    canvas = Canvas(degrees, loaded.image_size, loaded.in_chans)
    data = Data(options.responses.name, recorded.shape[-2], _digest(recorded, paths), image_degrees)
    found = {}
    bar = tqdm(
        options.layers or [v1_block_of(loaded)], unit="layer", leave=False, disable=not progress
    )
    for layer in bar:
        bar.set_description(layer)
        begun = time.perf_counter()
        stimuli = read_stimuli(paths, canvas, image_degrees)
        features = layer_features(
            loaded.model, layer, stimuli, trials=options.trials, seed=options.seed
        )
        found[layer] = predictivity(
            features,
            recorded,
            components=options.components,
            folds=options.folds,
            seed=options.seed,
        )
        seconds = time.perf_counter() - begun
        row = _row(found[layer], loaded, layer, canvas, data, options, seconds)
        append_missing(options.out / RESULTS, [row])
    return found


@dataclass(frozen=True)
class Data:
    """Responses and stimuli, as rows tell them apart.

    Attributes:
        name: of the file of responses.
        stimuli: how many.
        digest: of responses and images.
        image_degrees: visual angle of the images.
    """

    name: str
    stimuli: int
    digest: str
    image_degrees: float


def _digest(recorded: npt.NDArray[np.float64], paths: Sequence[Path]) -> str:
    """A short hash of responses and images, so that others of the same name have other rows."""
    digest = hashlib.sha256(f"{recorded.shape}\n".encode())
    digest.update(recorded.tobytes())
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:HASH_LENGTH]


def _row(
    found: Predictivity,
    loaded: LoadedModel,
    layer: str,
    canvas: Canvas,
    data: Data,
    options: PredictivityOptions,
    seconds: float,
) -> Result:
    """Over the ceiling where the responses have repetitions, else the correlation itself."""
    low, high = found.ceiled_interval or found.interval
    return Result(
        experiment=EXPERIMENT,
        model=loaded.name,
        model_hash=model_hash(loaded.model.model),
        data=data.name,
        data_size=data.stimuli,
        condition={
            "layer": layer,
            "data_hash": data.digest,
            "image_degrees": data.image_degrees,
            "degrees": canvas.degrees,
            "pixels": canvas.pixels,
            "before_noise": options.trials is None,
            "trials": options.trials or 1,
            "components": options.components,
            "folds": options.folds,
        },
        metric="pearson_r" if found.ceiled is None else "ceiled_pearson_r",
        value=found.median if found.ceiled is None else found.ceiled,
        ci_low=low,
        ci_high=high,
        n=len(found.per_unit) - found.n_undefined,
        seed=options.seed,
        flags={"pearson_r": found.median, "undefined": found.n_undefined}
        | ({} if found.ceiling is None else {"ceiling": found.ceiling}),
        seconds=seconds,
    )


def predictivity_table(found: dict[str, Predictivity]) -> str:
    """Layers and their predictivity, for the terminal."""
    lines = [f"{'layer':<28}{'median r':>10}{'95 % interval':>18}{'over ceiling':>14}{'units':>8}"]
    for layer, each in found.items():
        low, high = each.interval
        ceiled = "-" if each.ceiled is None else f"{each.ceiled:.3f}"
        units = len(each.per_unit) - each.n_undefined
        interval = f"{low:.3f} to {high:.3f}"
        lines.append(f"{layer:<28}{each.median:>10.3f}{interval:>18}{ceiled:>14}{units:>8}")
    return "\n".join(lines)
