"""VOneNets as Brain-Score's brain models: weights, preprocessing, degrees and committed layers."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence

import torch
from brainscore_vision.model_helpers.activations.pytorch import load_preprocess_images
from brainscore_vision.model_helpers.brain_transformation import (
    STANDARD_REGION_BENCHMARKS,
    ModelCommitment,
    RegionLayerMap,
)
from brainscore_vision.model_helpers.brain_transformation.neural import (
    LayerMappedModel,
    LayerSelection,
)

from vonenet import InputError, VOneNet, create_model
from vonenet.data.seeding import seeded
from vonenet.results import model_hash
from vonenet.zoo.registry import find_entry

from . import layers as known
from .time_steps import StepAligned
from .wrapper import BATCH_SIZE, VOneNetWrapper

PREFIX = "vonenet-"
# A weights file, or FRESH: what registered models are built from instead of published weights.
WEIGHTS_VARIABLE = "VONENET_BRAINSCORE_WEIGHTS"
FRESH = "fresh"
FRESH_SEED = 0


def brain_model(identifier: str) -> ModelCommitment:
    """Build a registered model, to be scored.

    Raises:
        InputError: No such model, or no weights for it.
        DownloadError: Its published weights cannot be fetched.
    """
    return commit(_network(identifier), identifier)


def commit(
    model: VOneNet,
    identifier: str,
    *,
    layers: Sequence[str] | None = None,
    region_layer_map: known.RegionLayerMap | None = None,
    batch_size: int = BATCH_SIZE,
) -> ModelCommitment:
    """Any VOneNet as a brain model: one that you trained, of another size, without noise.

    Args:
        model: The network; it takes square colour images and spans the degrees of its
            configuration.
        identifier: What scores call it. One that is registered has its committed layers.
        layers: Layers that Brain-Score may choose among, the last one for behaviour; None: a short
            list, for ResNets, AlexNet and CORnet-S.
        region_layer_map: Region -> layer; None: as registered, or else V1 is the V1 block and
            Brain-Score chooses the others, by its public benchmarks, when first asked.
        batch_size: Images shown at once; the last batch is filled up to it.

    Raises:
        InputError: A model of rectangular or grey images, or of a back-end whose layers are not
            known.
    """
    committed = region_layer_map or known.committed_layers(identifier)
    offered = list(layers or known.offered_layers(model, committed))
    recorder = wrap(model, identifier, batch_size=batch_size)
    degrees = _visual_degrees(model)
    if committed is None:
        selection = LayerSelection(identifier, recorder, offered, degrees)
        committed = RegionLayerMap(selection, STANDARD_REGION_BENCHMARKS)
        committed["V1"] = known.V1_LAYER
    brain = ModelCommitment(
        identifier, recorder, offered, region_layer_map=committed, visual_degrees=degrees
    )
    if model.config.backbone == "cornet_s":
        mapped = LayerMappedModel(identifier, recorder, committed)
        brain.layer_model = StepAligned(mapped, known.CORNET_S_STARTS_MS)
    return brain


def wrap(model: VOneNet, identifier: str, *, batch_size: int = BATCH_SIZE) -> VOneNetWrapper:
    """Build the recorder of a VOneNet, with its own preprocessing.

    Stored responses are named after the weights and the noise, too, so that those of another model
    are never taken for this one's.
    """
    described = model.pretrained_cfg
    channels, height, width = described["input_size"]
    if channels != 3 or height != width:
        raise InputError(
            f"Brain-Score shows square colour images; {identifier} takes {channels} channels of "
            f"{height}x{width}"
        )
    preprocessing = functools.partial(
        load_preprocess_images,
        image_size=height,
        normalize_mean=described["mean"],
        normalize_std=described["std"],
    )
    stored_as = f"{identifier}-{model_hash(model)}"
    recorder = VOneNetWrapper(model, preprocessing, stored_as, batch_size=batch_size)
    recorder.image_size = height
    return recorder


def get_model(identifier: str) -> VOneNetWrapper:
    """Build the recorder of a registered model."""
    return wrap(_network(identifier), identifier)


def get_layers(identifier: str) -> list[str]:
    """List the layers of a registered model that Brain-Score is offered."""
    name = _vonenet_name(identifier)
    return known.offered_layers(_fresh(name), known.committed_layers(identifier))


def get_bibtex(model_identifier: str) -> str:
    """Return what to cite."""
    return """@inproceedings{dapello2020simulating,
  title     = {Simulating a Primary Visual Cortex at the Front of {CNNs} Improves Robustness to
               Image Perturbations},
  author    = {Dapello, Joel and Marques, Tiago and Schrimpf, Martin and Geiger, Franziska and
               Cox, David D. and DiCarlo, James J.},
  booktitle = {Advances in Neural Information Processing Systems},
  volume    = {33},
  year      = {2020}
}"""


def _network(identifier: str) -> VOneNet:
    """With the weights that the environment names, or the published ones."""
    name, weights = _vonenet_name(identifier), os.environ.get(WEIGHTS_VARIABLE)
    if weights == FRESH:
        return _fresh(name)
    if weights:
        return create_model(name, checkpoint=weights)
    if find_entry(name).weights is None:
        raise InputError(
            f"no weights are published for {name}; set {WEIGHTS_VARIABLE} to a weights file of it"
        )
    return create_model(name, pretrained=True)


def _fresh(name: str) -> VOneNet:
    with seeded(FRESH_SEED, torch.device("cpu")):
        return create_model(name)


def _vonenet_name(identifier: str) -> str:
    if not identifier.startswith(PREFIX):
        raise InputError(f"identifiers here begin with {PREFIX!r}, got {identifier!r}")
    return identifier.removeprefix(PREFIX)


def _visual_degrees(model: VOneNet) -> float:
    """Of the image's side; a whole number is an int, as Brain-Score writes it."""
    degrees = model.visual_degrees
    return int(degrees) if degrees == int(degrees) else degrees
