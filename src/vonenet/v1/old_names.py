"""What the original package, its forks and EVNet call the settings of a V1 block, and what to type.

The tables are read by `create_model`, `get_model`, `load_checkpoint` and `VOneBlock`.
"""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

from vonenet.errors import SettingError, VOneNetWarning

# The same meaning under another name
RENAMED = {
    "ksize": "kernel_size",
    "gabor_seed": "seed",
    "noise_mode": "noise",
    "in_channels": "in_chans",
    "in_channel": "in_chans",
    "input_size": "image_size",
    "vone_ksize": "kernel_size",
    "vone_stride": "stride",
    "vone_k_exc": "k_exc",
    "vone_noise_mode": "noise",
    "vone_noise_scale": "noise_scale",
    "vone_noise_level": "noise_level",
    "vone_fano_factor": "fano_factor",
    "noise_fano": "fano_factor",
}
# A setting of one value for another of ours
REPLACED: dict[str, dict[Any, dict[str, Any]]] = {
    "rand_param": {False: {}, True: {"filters": "legacy_uniform"}},
    "with_voneblock": {True: {}},
    "with_retinablock": {False: {}},
    "with_subcorticalblock": {False: {}},
}
# Notes on what is not quite the same
NOTES = {"gabor_seed": "the original's own filters are filters='legacy'"}
_FILTERS = "filters of your own are VOneBlock(gabor_parameters=GaborParameters(...))"
_DEVICE = "a model is built on the CPU: move it with .to(DEVICE); get_model takes map_location"
_PATH = "weights of a file are checkpoint=PATH, or load_checkpoint(PATH)"
_FRONT = "stages before V1 are of a front-end: create_model(NAME, front_end='evnet2025')"
_PARTS = "front-ends leave parts out: front_end='evnet2025_no_...' (vonenet models --front-ends)"
_OWN = (
    "a subcortical stage of your own is VOneNet.from_config(VOneNetConfig(NAME, BACK_END, "
    "before_v1=(SubcorticalConfig(...),)))"
)
_MAPS = (
    "maps of layers are torchvision.models.feature_extraction.create_feature_extractor(model, "
    "['vone_block', LAYER, ...]), with names of model.named_modules()"
)
# What is said or done otherwise
ADVICE = {
    **dict.fromkeys(("sf", "theta", "phase", "sigx", "sigy", "gabor_color_prob"), _FILTERS),
    **dict.fromkeys(("map_location", "device"), _DEVICE),
    **dict.fromkeys(("model_path", "weightsdir_path", "weights", "ckpt_path"), _PATH),
    **dict.fromkeys(("with_retinablock", "with_subcorticalblock", "before_v1"), _FRONT),
    **dict.fromkeys(("with_light_adapt", "with_contrast_norm", "subcort_noise_mode"), _PARTS),
    **dict.fromkeys(("p_channels", "m_channels", "retinal_noise_mode"), _PARTS),
    **dict.fromkeys(("colors_p_cells", "with_dog", "subcort_fano_factor"), _OWN),
    "front_end": "front-ends are of create_model(NAME, front_end=...) and create_front_end(...)",
    **dict.fromkeys(("features_only", "out_indices"), _MAPS),
    "model_arch": "the name comes first: create_model('voneresnet50') or get_model('resnet50')",
    "with_voneblock": "the network without V1 is create_base_model(NAME)",
    "rand_param": "it is True or False; here filters='legacy_uniform' or 'legacy'",
    "num_stochastic_copies": (
        "k draws for one pass of the filters are "
        "model.forward_from_mean_response(model.mean_response(images).repeat(k, 1, 1, 1))"
    ),
    "vone_outside_sequential": "leave it out: model.vone_block, .bottleneck and .model are parts",
    "bottleneck_connection_channel": "leave it out: the bottleneck fits the back-end",
    "div_norm": "divisive normalisation is normalization=FixedPoolConfig(...)",
}


def current_names(
    settings: Mapping[str, Any], known: Iterable[str], *, quiet: bool = False
) -> dict[str, Any]:
    """Return settings under our names.

    Args:
        settings: by our names or others'.
        known: the names that may be returned.
        quiet: take others' names without a note.

    Raises:
        SettingError: a setting that does not exist, with what to type; or one that is said twice.

    Warns:
        VOneNetWarning: a name of others, with ours.
    """
    known = list(known)
    current: dict[str, Any] = {}
    for name, value in settings.items():
        if name in known:
            ours = {name: value}
        elif name in RENAMED:
            ours = {RENAMED[name]: value}
        elif isinstance(value, bool) and value in REPLACED.get(name, ()):
            ours = REPLACED[name][value]
        else:
            raise SettingError(f"unknown setting {name!r} of a VOneNet; {_advice(name, known)}")
        if said_twice := current.keys() & ours.keys():
            raise SettingError(f"{name}={value!r} says {said_twice.pop()} a second time")
        current |= ours
        if name not in known and not quiet:
            here = ", ".join(f"{key}={new!r}" for key, new in ours.items()) or "the default"
            note = f"; {NOTES[name]}" if name in NOTES else ""
            warnings.warn(f"{name} is {here} here{note}", VOneNetWarning, stacklevel=3)
    return current


def _advice(name: str, known: list[str]) -> str:
    if name in ADVICE:
        return ADVICE[name]
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
