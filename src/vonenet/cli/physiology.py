"""`vonenet physiology`: record from models as a physiologist would, and compare them with V1."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

if TYPE_CHECKING:
    from vonenet.physiology import Canvas, Recording, Subject
    from vonenet.physiology.recording import GroundTruth
    from vonenet.zoo.loading import LoadedModel

# Of a model whose noise cannot be left out
DEFAULT_TRIALS = 20


@dataclass(frozen=True)
class Physiology:
    """Record from a layer as a physiologist would and compare it with V1: one page.

    Gratings, patches and plaids in degrees of visual angle; receptive fields, orientation, spatial
    frequency, size, contrast, phase, masking and noise of every unit at the image's centre; their
    distributions beside published ones. What was recorded before is read from its file.

    Attributes:
        model: a name with published weights, a weights file, timm/NAME, untrained/NAME,
            module:function or file.py:function; with @LAYER, that layer of it.
        layer: the layer, by its name, in every model and front-end that has no @LAYER of its own;
            the V1 block if not given.
        compare: further models to record and show beside it, each as MODEL or MODEL@LAYER.
        front_end: front-ends to record without any network behind them, each by the name of its
            preset, such as evnet2025; the model may be left out.
        image_size: of the front-ends, pixels; 224 if not given.
        filter_seed: seed of the front-ends' filters; 0 if not given.
        out: folder for results.jsonl, the recordings and report.html.
        degrees: visual angle of the shorter side of the model's image; what it was made for, or 8,
            if not given. A model of rectangular images is shown squares of that side; front-ends
            are built for these degrees.
        trials: noise draws to average each response over; if not given, responses are taken
            before noise, where it can be left out, or over 20 draws.
        seed: seed of the noise and of the resampled units.
        device: where to compute; auto takes a GPU if there is one.
        quiet: show no bars.
    """

    model: Annotated[Positional[str | None], arg(metavar="MODEL")] = None
    layer: str | None = None
    compare: tuple[str, ...] = ()
    front_end: tuple[str, ...] = ()
    image_size: int | None = None
    filter_seed: int | None = None
    out: Path = Path("physiology")
    degrees: float | None = None
    trials: int | None = None
    seed: int = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    quiet: bool = False

    def run(self) -> None:
        """Record, write the page and print its table."""
        from vonenet.report.physiology import write_physiology_report
        from vonenet.results import RESULTS

        try:
            recordings = record_models(self)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f"recordings that were finished are in {self.out}, and the same command goes on "
                "with the others"
            ) from None
        print(write_physiology_report(recordings, self.out / RESULTS, self.out / "report.html"))
        print(f"\nreport: {(self.out / 'report.html').resolve()}")


def record_models(options: Physiology) -> list[Recording]:
    """Record models, each on disk before the next begins; return different ones, as given.

    What was recorded before in the same way is read from its file.

    Raises:
        InputError: A model, layer or setting cannot be used.
    """
    from vonenet.errors import InputError
    from vonenet.physiology import Subject, record
    from vonenet.physiology.recording import read_recording, save_recording
    from vonenet.physiology.scores import recording_rows
    from vonenet.results import RESULTS, append_missing, model_hash
    from vonenet.zoo.loading import v1_block_of

    recordings = {}
    for loaded, canvas, layer in _models_on_canvas(options):
        layer = v1_block_of(loaded) if layer is None else layer
        try:
            subject = Subject(
                loaded.model,
                layer,
                canvas,
                trials=DEFAULT_TRIALS if options.trials is None else options.trials,
                mean_response=options.trials is None,
                seed=options.seed,
            )
        except InputError as error:
            raise InputError(f"{loaded.name}: {error}") from error
        weights = model_hash(loaded.model)
        path = options.out / _file_name(loaded.name, weights, subject)
        if not path.is_file():
            recording = record(
                subject,
                loaded.name,
                weights=weights,
                ground_truth=_ground_truth(subject),
                progress=not options.quiet,
            )
            save_recording(recording, path)
        # Read back also what was just recorded: the rows are the same in both cases
        recordings[path] = read_recording(path)
        append_missing(options.out / RESULTS, recording_rows(recordings[path]))
    return list(recordings.values())


def _models_on_canvas(options: Physiology) -> Iterator[tuple[LoadedModel, Canvas, str | None]]:
    """Load each model and front-end that is asked for, with its canvas and the name of its layer.

    Raises:
        InputError: None is asked for, or there are settings of front-ends without one.
    """
    from vonenet.errors import InputError
    from vonenet.zoo.loading import load_front_end

    own = {"image_size": options.image_size, "seed": options.filter_seed}
    given = {name: value for name, value in own.items() if value is not None}
    if given and not options.front_end:
        raise InputError("--image-size and --filter-seed are of front-ends: needed: --front-end")
    addresses = [each for each in (options.model, *options.compare) if each is not None]
    if not addresses and not options.front_end:
        raise InputError("nothing to record; needed: MODEL or --front-end NAME")
    for address in addresses:
        before_at, at, after_at = address.rpartition("@")
        loaded, canvas = load_on_canvas(
            before_at if at else address, options.degrees, options.device
        )
        yield loaded, canvas, after_at if at else options.layer
    for name in options.front_end:
        loaded = load_front_end(name, visual_degrees=options.degrees, **given)
        yield *put_on_canvas(loaded, None, options.device), options.layer


def load_on_canvas(address: str, degrees: float | None, device: str) -> tuple[LoadedModel, Canvas]:
    """Load a model by its address, as `put_on_canvas` returns it."""
    from vonenet.zoo.loading import load_model

    return put_on_canvas(load_model(address), degrees, device)


def put_on_canvas(
    loaded: LoadedModel, degrees: float | None, device: str
) -> tuple[LoadedModel, Canvas]:
    """Put a model on a device; return it with the canvas that its images are.

    Degrees are those of an image's shorter side, and so are the canvas's pixels: a rectangular
    model is shown squares, whose pixels are as large as those it was made for.
    """
    from vonenet.data.pixels import chosen_device, described
    from vonenet.physiology import Canvas
    from vonenet.zoo.loading import visual_degrees_of

    loaded.model.to(chosen_device(device))
    degrees = visual_degrees_of(loaded) if degrees is None else degrees
    _, *sides = described(loaded.model.model).get("input_size", (0, loaded.image_size))
    return loaded, Canvas(degrees, min(sides), loaded.in_chans)


def _ground_truth(subject: Subject) -> GroundTruth | None:
    """Return what the units of a V1 block were built with; None where that is not known.

    Nor is it of a block behind other stages: what they do to its images is not in its parameters.
    """
    from vonenet.data.pixels import inner_model
    from vonenet.physiology.recording import GroundTruth
    from vonenet.v1.block import VOneBlock
    from vonenet.v1.gabor import cut_by_window

    block = subject.layer
    first, *_ = getattr(inner_model(subject.model), "stages", [block])
    if not isinstance(block, VOneBlock) or first is not block or block.gabor_parameters is None:
        return None
    parameters, noise = block.gabor_parameters, block.noise
    cells = subject.units[:, 0]
    kernel_px = block.filter_weights()[0].shape[-1]
    cut = cut_by_window(parameters, block.config.pixels_per_degree, kernel_px)
    slope, offset = math.nan, math.nan
    if noise.mode == "neuronal" and noise.rectified:
        slope = noise.fano / noise.scale
        offset = (noise.fano * noise.level + noise.floor) / noise.scale**2
    elif noise.mode == "gaussian" and noise.rectified:
        slope, offset = 0.0, noise.scale**2
    return GroundTruth(
        orientation_deg=parameters.orientation_deg[cells],
        frequency_cpd=parameters.frequency_cpd[cells],
        whole=~cut[cells],
        is_complex=cells >= block.config.simple_channels,
        noise_slope=slope,
        noise_offset=offset,
    )


def _file_name(name: str, weights: str, subject: Subject) -> str:
    """Return a name such as `voneresnet50_vone_block_1f3a90c2.npz`.

    Its digest is of all that a recording depends on: each way to record has a file of its own.
    """
    from vonenet.physiology.experiments import settings_of

    model = {"model": name, "model_hash": weights}
    identity = {**model, "layer": subject.layer_name, **settings_of(subject)}
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    words = re.sub(r"[^A-Za-z0-9.-]+", "_", f"{name} {subject.layer_name}")
    return f"{words}_{digest[:8]}.npz"
