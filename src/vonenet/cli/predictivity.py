"""`vonenet predictivity`: how well layers of a model predict a user's own recorded neurons."""

from __future__ import annotations

import hashlib
import math
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from vonenet.cli.physiology import load_on_canvas

if TYPE_CHECKING:
    from torch import Tensor

    from vonenet.physiology.predictivity import Neurons
    from vonenet.physiology.predictivity import Predictivity as Prediction
    from vonenet.physiology.recording import Array
    from vonenet.physiology.rsa import Similarity
    from vonenet.results import Result, Value

SHOWN_UNITS = 10


@dataclass(frozen=True)
class Predictivity:
    """Predict your own recorded neurons from a model's layers, as Brain-Score does: one page.

    Partial least squares from a layer's responses to the images; Pearson's r on images that were
    held out, the median over neurons, over the ceiling if the responses have repetitions. Beside
    it the representational similarity: whether the same images look alike to both. A
    repetition that was not recorded is NaN. Neurons that cannot be predicted are named.

    Attributes:
        model: as in `vonenet physiology`.
        responses: a .npy or .npz file, (stimuli, units) or (repetitions, stimuli, units), or a .nc
            file of xarray's.
        images: folder with an image for each stimulus, by the names that the file gives them, else
            in the order of their names, where that is certain.
        layers: names of layers; the V1 block if none is given.
        image_degrees: visual angle of the images as the animal saw them; the model's if not given.
        degrees: visual angle of the shorter side of the model's image; what it was made for, or 8,
            if not given.
        trials: passes that a stochastic model's responses are averaged over; if not given, the
            noise of V1 blocks is left out.
        components: of the regression.
        folds: parts that the images are held out in.
        memory: gigabytes for features; images are shown again for those that do not fit.
        out: folder for results.jsonl and report.html.
        seed: seed of the folds and the noise.
        device: where to compute; auto takes a GPU if there is one.
        quiet: show neither bars nor what was left out.
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
    memory: float = 6.0
    out: Path = Path("predictivity")
    seed: int = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    quiet: bool = False

    def run(self) -> None:
        """Predict, write the page and print a table of the layers."""
        from vonenet.report.predictivity import write_predictivity_report
        from vonenet.results import RESULTS

        try:
            found = predict_neurons(self)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f"rows of layers that were finished are in {self.out}; features are not kept, and "
                "the same command begins anew"
            ) from None
        head = f"{'layer':<28}{'median r':>10}{'95 % interval':>18}{'over ceiling':>14}"
        print(f"{head}{'RSA':>8}{'units':>8}")
        for layer, (each, alike) in found.items():
            interval = "{:.3f} to {:.3f}".format(*each.interval)
            ceiled = "-" if each.ceiled is None else f"{each.ceiled:.3f}"
            units = len(each.per_unit) - each.n_undefined
            rsa = "-" if alike is None else f"{alike.spearman:.3f}"
            print(f"{layer:<28}{each.median:>10.3f}{interval:>18}{ceiled:>14}{rsa:>8}{units:>8}")
        write_predictivity_report(self.out / RESULTS, self.out / "report.html")
        print(f"\nreport: {(self.out / 'report.html').resolve()}")


def predict_neurons(options: Predictivity) -> dict[str, tuple[Prediction, Similarity | None]]:
    """Return how each layer of a model predicts and resembles responses, and write rows of it.

    Everything that can be refused is refused before the model sees the first image.

    Raises:
        InputError: A model, file, layer or setting cannot be used, or there are not as many images
            as stimuli.
    """
    from vonenet.bars import progress_bar
    from vonenet.data.pixels import preprocessing_text
    from vonenet.errors import InputError
    from vonenet.physiology.experiments import protocol_digest
    from vonenet.physiology.neural_data import (
        image_files,
        margins_px,
        read_images,
        read_responses,
        shown_side,
    )
    from vonenet.physiology.predictivity import (
        before_noise,
        check_settings,
        expected_cost,
        layer_responses,
        predictivity_of,
        usable_neurons,
    )
    from vonenet.physiology.rsa import seconds_of, similarities_of
    from vonenet.results import RESULTS, append_missing, model_hash
    from vonenet.v1.memory import keep_freed_memory
    from vonenet.zoo.loading import v1_block_of

    def say(text: str) -> None:
        if not options.quiet:
            print(text, file=sys.stderr)

    if not 0 < options.memory < math.inf:
        raise InputError(f"memory must be above 0 gigabytes, got {options.memory}")
    keep_freed_memory()
    recorded, names = read_responses(options.responses)
    paths = image_files(options.images, names)
    if len(paths) != recorded.shape[-2]:
        raise InputError(
            f"{options.images} holds {len(paths)} images, but {options.responses} has "
            f"{recorded.shape[-2]} stimuli; needed: one image for each, in the same order"
        )
    neurons = usable_neurons(recorded, seed=options.seed)
    check_settings(len(neurons.means), options.components, options.folds, options.trials)
    data_hash = _content_digest(recorded, paths)
    loaded, canvas = load_on_canvas(options.model, options.degrees, options.device)
    image_degrees = canvas.degrees if options.image_degrees is None else options.image_degrees
    side = shown_side(canvas, image_degrees)
    layers = tuple(dict.fromkeys(options.layers)) or (v1_block_of(loaded),)
    margin = margins_px(canvas, side)[0]
    with_noise = options.trials is not None
    network = loaded.model if with_noise else before_noise(loaded.model, layers, margin)
    how = {"seed": options.seed, "trials": options.trials or 1}
    if names is None:
        say(
            f"{options.responses} names no stimuli: taken in the order of the images' names, from "
            f"{paths[0].name} to {paths[-1].name}"
        )
    say(about(neurons))
    images = partial(read_images, paths, canvas, image_degrees)
    cost = expected_cost(network, layers, images, len(paths), options.memory, **how)
    seconds = cost.seconds + seconds_of(*neurons.means.shape)
    passes = "one pass" if cost.passes == 1 else f"{cost.passes} passes"
    say(
        f"{len(paths)} images, {len(layers)} layers in {passes}: "
        f"{cost.features:,} features, {cost.gigabytes:.1f} GB of memory beside the network's; "
        f"about {seconds:.0f} s"
    )
    bars = {"shown": not options.quiet, "leave": False}
    bar = progress_bar(total=len(paths) * cost.passes, unit="image", **bars)

    def with_bar() -> Iterator[Tensor]:
        for image in images():
            yield image
            bar.update()

    begin = time.perf_counter()
    with bar:
        responses = layer_responses(
            network, layers, with_bar, neurons.stimuli, passes=cost.passes, **how
        )
    unlike = [responses[layer].dissimilarities for layer in layers]
    alike = similarities_of(
        unlike,
        neurons.means,
        neurons.rsa_ceiling,
        seed=options.seed,
        progress=not options.quiet,
    )
    share = (time.perf_counter() - begin) / len(layers)
    condition = {
        "image_degrees": image_degrees,
        "degrees": canvas.degrees,
        "pixels": canvas.pixels,
        "before_noise": options.trials is None,
        "trials": options.trials or 1,
        "components": options.components,
        "folds": options.folds,
        "protocol": protocol_digest(),
    }
    columns = {
        "model": loaded.name,
        "model_hash": model_hash(loaded.model),
        "data": options.responses.name,
        "data_size": len(paths),
        "seed": options.seed,
        "data_hash": data_hash,
        "preprocessing": preprocessing_text(loaded.model, (canvas.pixels, canvas.pixels)),
    }
    regression = {"components": options.components, "folds": options.folds, "seed": options.seed}
    found = {}
    for layer, similarity in zip(progress_bar(layers, unit="layer", **bars), alike, strict=True):
        begin = time.perf_counter()
        found[layer] = predictivity_of(responses[layer].axes, neurons, **regression), similarity
        seconds = share + time.perf_counter() - begin
        where = {"condition": {"layer": layer, **condition}, "seconds": seconds}
        append_missing(options.out / RESULTS, _rows(*found[layer], columns | where))
    return found


def _rows(found: Prediction, alike: Similarity | None, columns: dict[str, object]) -> list[Result]:
    """Return r and the representational similarity of a layer, and each over its ceiling."""
    from vonenet.results import Result

    neurons, units = found.neurons, len(found.per_unit)
    flags: dict[str, bool | Value] = {
        "repetitions": "{} to {}".format(*neurons.repetitions),
        "missing": neurons.missing,
        "images_used": len(neurons.means),
        "units": units,
        "undefined": found.n_undefined,
        "left_out": "; ".join(left_out(neurons)),
    }
    estimates = {"pearson_r": (found.median, found.interval)}
    if found.ceiled is not None and found.ceiled_interval and neurons.ceiling_interval:
        low, high = neurons.ceiling_interval
        flags |= {"ceiling": found.ceiling or 0.0, "ceiling_low": low, "ceiling_high": high}
        estimates["ceiled_pearson_r"] = found.ceiled, found.ceiled_interval
    if alike is not None:
        flags["pairs"] = alike.pairs
        estimates["rsa_spearman"] = alike.spearman, alike.interval
        if alike.ceiling is not None:
            flags["rsa_ceiling"] = alike.ceiling
            over = [each / alike.ceiling for each in (alike.spearman, *alike.interval)]
            estimates["ceiled_rsa_spearman"] = over[0], (over[1], over[2])
    return [
        Result(
            experiment="predictivity",
            metric=metric,
            value=value,
            ci_low=low,
            ci_high=high,
            n=units - found.n_undefined,
            flags=flags,
            **columns,  # type: ignore[arg-type]
        )
        for metric, (value, (low, high)) in estimates.items()
    ]


def about(neurons: Neurons) -> str:
    """Say what there is of a recording and what is missing, in one line."""
    unused = len(neurons.stimuli) - len(neurons.means)
    parts = [
        f"{neurons.units.sum()} of {len(neurons.units)} units",
        "{} to {} repetitions of an image".format(*neurons.repetitions),
        f"{neurons.missing:.1%} of the responses missing",
        f"{unused} images without any response left out" if unused else "",
        *(f"left out: {text}" for text in left_out(neurons)),
    ]
    return "; ".join(filter(None, parts))


def left_out(neurons: Neurons) -> list[str]:
    """Return why which units cannot be predicted, such as `no response to some images: 3, 17`."""
    texts = []
    for reason, units in neurons.left_out.items():
        more = f" and {len(units) - SHOWN_UNITS} more" if len(units) > SHOWN_UNITS else ""
        texts.append(f"{reason}: {', '.join(map(str, units[:SHOWN_UNITS]))}{more}")
    return texts


def _content_digest(recorded: Array, paths: Sequence[Path]) -> str:
    """Return a digest of responses and images, each of which is checked to be one.

    Raises:
        InputError: A file is no image.
    """
    from vonenet.data.decoding import read_image
    from vonenet.results import HASH_LENGTH

    digest = hashlib.sha256(f"{recorded.shape}\n".encode())
    digest.update(recorded.tobytes())
    for path in paths:
        digest.update(hashlib.sha256(read_image(path)[0]).digest())
    return digest.hexdigest()[:HASH_LENGTH]
