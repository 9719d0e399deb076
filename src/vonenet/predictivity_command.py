"""`vonenet predictivity`: how well a model's layers predict a user's own recorded neurons."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from vonenet.data.devices import chosen_device
from vonenet.errors import InputError
from vonenet.loading import LoadedModel, load_model, v1_block_of, visual_degrees_of
from vonenet.physiology import Canvas
from vonenet.physiology.features import image_files, layer_features, read_stimuli
from vonenet.physiology.neural_data import read_responses, read_stimulus_names
from vonenet.physiology.predictivity import COMPONENTS, FOLDS, Predictivity, predictivity
from vonenet.results import HASH_LENGTH, Result, append_missing, model_hash

RESULTS = "results.jsonl"
EXPERIMENT = "predictivity"


@dataclass(frozen=True)
class PredictivityConfig:
    """How responses are predicted.

    Attributes:
        degrees: visual angle of the model's whole image; None: what it was made for, or 8.
        image_degrees: visual angle of the stimuli, as the neurons' animal saw them; None: as large
            as the model's image.
        trials: passes that features are averaged over; None: one, before the noise of a V1 block.
        components: of the regression.
        folds: of the cross-validation.
        seed: of folds and noise.
        device: `auto`, `cpu` or `cuda`.
    """

    degrees: float | None = None
    image_degrees: float | None = None
    trials: int | None = None
    components: int = COMPONENTS
    folds: int = FOLDS
    seed: int = 0
    device: str = "auto"


def run_predictivity(
    address: str,
    responses: Path,
    images: Path,
    layers: Sequence[str],
    config: PredictivityConfig,
    out: Path,
    *,
    progress: bool = True,
) -> dict[str, Predictivity]:
    """Predict recorded responses from each layer of a model; rows go to `out` as they come.

    Args:
        address: of the model, as `vonenet.loading.load_model` takes it.
        responses: file of recorded responses, as `neural_data.read_responses` takes it.
        images: folder of the stimuli; a file that names its stimuli has them by name, else the
            images are taken in the order of their names.
        layers: names of layers; none: the V1 block.
        config: how they are predicted.
        out: folder for results.jsonl.
        progress: show a progress bar.

    Raises:
        InputError: a model, file, layer or setting that cannot be used, or as many images as there
            are no stimuli.
    """
    recorded = read_responses(responses)
    paths = image_files(images, read_stimulus_names(responses))
    if len(paths) != recorded.shape[-2]:
        raise InputError(
            f"{images} holds {len(paths)} images, but {responses} has {recorded.shape[-2]} "
            "stimuli; needed: one image for each, in the same order"
        )
    loaded = load_model(address)
    loaded.model.to(chosen_device(config.device))
    degrees = visual_degrees_of(loaded) if config.degrees is None else config.degrees
    image_degrees = degrees if config.image_degrees is None else config.image_degrees
    canvas = Canvas(degrees, loaded.image_size, loaded.in_chans)
    data = Data(responses.name, recorded.shape[-2], _digest(recorded, paths), image_degrees)
    found = {}
    bar = tqdm(layers or [v1_block_of(loaded)], unit="layer", leave=False, disable=not progress)
    for layer in bar:
        bar.set_description(layer)
        begun = time.perf_counter()
        stimuli = read_stimuli(paths, canvas, image_degrees)
        features = layer_features(
            loaded.model, layer, stimuli, trials=config.trials, seed=config.seed
        )
        found[layer] = predictivity(
            features, recorded, components=config.components, folds=config.folds, seed=config.seed
        )
        seconds = time.perf_counter() - begun
        row = _row(found[layer], loaded, layer, canvas, data, config, seconds)
        append_missing(out / RESULTS, [row])
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
    config: PredictivityConfig,
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
            "before_noise": config.trials is None,
            "trials": config.trials or 1,
            "components": config.components,
            "folds": config.folds,
        },
        metric="pearson_r" if found.ceiled is None else "ceiled_pearson_r",
        value=found.median if found.ceiled is None else found.ceiled,
        ci_low=low,
        ci_high=high,
        n=len(found.per_unit) - found.n_undefined,
        seed=config.seed,
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
