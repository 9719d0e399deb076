"""What is timed of the evaluation: attacks and corruptions, beside other libraries'."""

from __future__ import annotations

import functools
import warnings
from importlib import import_module
from importlib.util import find_spec

import torch
import torchvision
from torch import Tensor, nn

from vonenet.benchmarks.opponents import OPPONENTS, Budget, is_installed
from vonenet.benchmarks.setting import Setting
from vonenet.benchmarks.tasks import OURS, Contestant, Prepared
from vonenet.data import PixelModel
from vonenet.robustness import CORRUPTIONS, corrupt, pgd, ready
from vonenet.zoo.registry import create_model

TORCHATTACKS, FOOLBOX, ART = "torchattacks", "foolbox", "ART"
IMAGECORRUPTIONS = "imagecorruptions-imaug"
SEVERITY = 3
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def attack_on_base(setting: Setting, *, base: str, steps: int) -> Prepared:
    """PGD on torchvision's network, which is deterministic."""
    network = torchvision.models.get_model(base, weights=None)
    return _attack(PixelModel(network, IMAGENET_MEAN, IMAGENET_STD), setting, steps, samples=1)


def attack_on_vonenet(setting: Setting, *, model: str, steps: int, samples: int) -> Prepared:
    """PGD on a VOneNet, every gradient averaged over noise samples."""
    network = create_model(model, image_size=setting.image_px)
    return _attack(PixelModel(network, 0.5, 0.5), setting, steps, samples)


def _attack(model: nn.Module, setting: Setting, steps: int, samples: int) -> Prepared:
    """PGD in L-inf of all libraries that are installed, on the same model and budget."""
    model = setting.place(model.eval())
    images, labels = _pixels(setting), setting.labels()
    budget = Budget("linf", 4 / 255, steps, 1 / 255, samples)

    def ours() -> Tensor:
        with ready(model), setting.precision():
            return pgd(
                model,
                images,
                labels,
                norm=budget.norm,
                epsilon=budget.epsilon,
                steps=steps,
                step_size=budget.step_size,
                gradient_samples=samples,
            )

    contestants = {OURS: Contestant(ours)}
    for library, (run, _) in OPPONENTS["pgd"].items():
        if is_installed(library):
            theirs = functools.partial(run, model, images, labels, budget)
            contestants[library] = Contestant(theirs)
    return Prepared(contestants)


def corruptions(setting: Setting) -> Prepared:
    """All 19 corruptions of every image, at severity 3."""
    images = _pixels(setting)

    def ours() -> list[Tensor]:
        return [corrupt(images, name, SEVERITY) for name in CORRUPTIONS]

    contestants = {OURS: Contestant(ours)}
    if find_spec("imagecorruptions"):
        contestants[IMAGECORRUPTIONS] = Contestant(functools.partial(_their_corruptions, images))
    return Prepared(contestants)


def _their_corruptions(images: Tensor) -> list[object]:
    levels = (255 * images).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numba and others, on import
        library = import_module("imagecorruptions")
        return [library.corrupt(each, SEVERITY, name) for name in CORRUPTIONS for each in levels]


def _pixels(setting: Setting) -> Tensor:
    """Uniformly random pixels in [0, 1], B, 3, H, W."""
    return torch.rand(setting.batch, 3, setting.image_px, setting.image_px, device=setting.device)
