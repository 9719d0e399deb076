"""The work of `vonenet physiology`: models by address, one layer of each recorded."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path

from vonenet.cli.physiology import Physiology
from vonenet.data.pixels import chosen_device
from vonenet.physiology import Canvas, Subject
from vonenet.physiology.examination import examine, identity_of
from vonenet.physiology.recording import GroundTruth, Recording, read_recording, save_recording
from vonenet.physiology.rows import recording_rows
from vonenet.results import RESULTS, Value, append_missing
from vonenet.v1.block import VOneBlock
from vonenet.v1.gabor import cut_by_window
from vonenet.v1.noise import VARIANCE_FLOOR
from vonenet.zoo.loading import LoadedModel, load_model, v1_block_of, visual_degrees_of

# Of a model whose noise cannot be left out
DEFAULT_TRIALS = 20


def record_models(options: Physiology, *, progress: bool = True) -> list[Recording]:
    """Record models; each one's recording and rows are on disk before the next begins.

    What was recorded before in the same way is read from its file.

    Args:
        options: Which models, and how they are recorded.
        progress: Show progress bars.

    Returns:
        Different recordings, in the order given.

    Raises:
        InputError: A model, layer or setting cannot be used.
    """
    found = {}
    for address in (options.model, *options.compare):
        path, recording = _recorded(address, options, progress)
        found[path] = recording
        append_missing(options.out / RESULTS, recording_rows(recording))
    return list(found.values())


def _recorded(address: str, options: Physiology, progress: bool) -> tuple[Path, Recording]:
    """A model's recording and its file, made or found."""
    address, layer = _split(address, options.layer)
    loaded = load_model(address)
    loaded.model.to(chosen_device(options.device))
    subject = _subject(loaded, layer, options)
    path = options.out / _file_name(identity_of(subject, loaded.name))
    if not path.is_file():
        recording = examine(subject, loaded.name, drawn=_drawn(subject), progress=progress)
        save_recording(recording, path)
    # Read back, too: rows are the same whether a recording was made or found
    return path, read_recording(path)


def _split(address: str, layer: str | None) -> tuple[str, str | None]:
    """Address and layer of ADDRESS@LAYER."""
    model, at, named = address.rpartition("@")
    return (model, named) if at else (address, layer)


def _subject(loaded: LoadedModel, layer: str | None, options: Physiology) -> Subject:
    degrees = visual_degrees_of(loaded) if options.degrees is None else options.degrees
    return Subject(
        loaded.model,
        v1_block_of(loaded) if layer is None else layer,
        Canvas(degrees, loaded.image_size, loaded.in_chans),
        trials=DEFAULT_TRIALS if options.trials is None else options.trials,
        mean_response=options.trials is None,
        seed=options.seed,
    )


def _drawn(subject: Subject) -> GroundTruth | None:
    """What the units of a V1 block were built with; None where that is not known."""
    block = subject.layer
    if not isinstance(block, VOneBlock) or block.gabor_parameters is None:
        return None
    parameters, noise = block.gabor_parameters, block.noise
    cells = subject.units[:, 0]
    kernel_px = block.simple_conv_q0.weight.shape[-1]
    cut = cut_by_window(parameters, block.config.pixels_per_degree, kernel_px)
    slope, offset = math.nan, math.nan
    if noise.mode == "neuronal":
        slope, offset = 1 / noise.scale, (noise.level + VARIANCE_FLOOR) / noise.scale**2
    elif noise.mode == "gaussian":
        slope, offset = 0.0, noise.scale**2
    return GroundTruth(
        orientation_deg=parameters.orientation_deg[cells],
        frequency_cpd=parameters.frequency_cpd[cells],
        whole=~cut[cells],
        is_complex=cells >= block.config.simple_channels,
        noise_slope=slope,
        noise_offset=offset,
    )


def _file_name(identity: Mapping[str, Value]) -> str:
    """Such as `voneresnet50_vone_block_1f3a90c2.npz`: one for each way to record a layer."""
    words = re.sub(r"[^A-Za-z0-9.-]+", "_", f"{identity['model']} {identity['layer']}")
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    return f"{words}_{digest[:8]}.npz"
