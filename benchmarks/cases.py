"""What is measured: cases, their sizes, their lower bounds and their goals."""

from __future__ import annotations

import copy
import io
import tempfile
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
import torch
import torchvision
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.attacks import Budget, attacks
from benchmarks.measure import Call
from benchmarks.published import (
    PublishedBlock,
    PublishedFrontEnd,
    PublishedNet,
    PublishedSubcortical,
)
from vonenet import VOneBlock, create_front_end, create_model
from vonenet.data import ImageArrays, PixelModel, open_dataset, photograph
from vonenet.frontends.front_end import FrontEnd
from vonenet.frontends.presets import PRESETS
from vonenet.model import VOneNet
from vonenet.robustness import CORRUPTIONS, averaged_gradient, corrupt, frozen_weights
from vonenet.training import TrainingRecipe, train
from vonenet.training.augment import TrainingImages
from vonenet.training.config import AugmentationRecipe, OptimizationRecipe
from vonenet.training.distributed import ProcessGroup, micro_batch_sampler

OURS, PUBLISHED, NO_SUBNORMALS = "ours", "published", "published, no subnormals"
TORCHVISION, CHANNELS_LAST = "torchvision", "torchvision, channels last"
FASTER_TORCHVISION, LOWER_BOUND = "faster of torchvision's layouts", "lower bound"
EVNET, VONENET, V1_ALONE = "evnet2025", "vonenet", "V1 alone"
BARE_STEPS, BARE_DECODING, IMAUG = "bare steps", "bare decoding", "imagecorruptions-imaug"
LEAST_WEIGHTS = {PUBLISHED: 0.0, NO_SUBNORMALS: 1e-30}
LOOP_STEPS, JPEG_PX, SEVERITY, CLASSES = 12, (500, 375), 3, 1000
RATE, MOMENTUM = 1e-4, 0.9  # too slow to drive weights to infinity on random labels

KINDS = "simple_channels", "complex_channels"
CELLS = {
    name: [getattr(each.v1_config(), kind) for kind in KINDS] for name, each in PRESETS.items()
}

T = TypeVar("T", bound=nn.Module | Tensor)
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Size:
    """How much work a case is, and where it is done."""

    image_px: int = 224  # height and width
    batch: int = 8
    cells: int = 512  # V1 cells at each position, half of them simple, half complex
    samples: int = 1  # noise samples
    device: torch.device = CPU

    @property
    def geometry(self) -> dict[str, Any]:
        """Settings of a V1 block."""
        half = self.cells // 2
        return {"image_size": self.image_px, "simple_channels": half, "complex_channels": half}

    def pixels(self) -> Tensor:
        """Draw images (B, 3, H, W), uniform in 0 to 1."""
        return self.place(torch.rand(self.batch, 3, self.image_px, self.image_px))

    def labels(self) -> Tensor:
        """Draw labels (B,)."""
        return torch.randint(CLASSES, (self.batch,), device=self.device)

    def place(self, thing: T) -> T:
        """Move a module or images to the device; there channels last, if it is a GPU."""
        gpu, moved = self.device.type == "cuda", thing.to(self.device)
        return cast("T", moved.to(memory_format=torch.channels_last) if gpu else moved)


@dataclass(frozen=True)
class Work:
    """One case at one size, ready to be timed."""

    calls: Mapping[str, Call]  # by implementation
    counted: Mapping[str, int] = field(default_factory=dict)  # how often a call counts, if not once
    operations: float = 0  # multiplications and additions that are needed at least; 0: not known
    moved_bytes: float = 0  # bytes that are read or written at least


def filter_operations(block: VOneBlock, size: Size) -> float:
    """Count the operations of the filters as direct convolutions, each once, on its one colour.

    Simple cells need one filter, complex cells two; 2 operations per weight and position.
    """
    c = block.config
    assert c.kernel_size is not None
    filters = c.simple_channels + 2 * c.complex_channels
    return 2.0 * filters * c.kernel_size**2 * size.batch * _side(block, size) ** 2


def back_end_operations(model: VOneNet, size: Size, gradient: str = "") -> float:
    """Count the operations of bottleneck and back-end, from V1 responses to logits.

    Args:
        model: the network, in eval mode, on the CPU.
        size: how many images there are.
        gradient: `weights` or `responses` to count a backward pass to these as well.
    """
    side, at_responses = _side(model.vone_block, size), gradient == "responses"
    response = torch.zeros(1, size.cells, side, side, requires_grad=at_responses)
    with FlopCounterMode(display=False) as counter:
        logits = model.model(model.bottleneck(response))
        if gradient:
            inputs = [response] if at_responses else _trained(model)
            torch.autograd.backward(logits.sum(), inputs=inputs)
    model.zero_grad()
    return float(size.batch * counter.get_total_flops())


def _side(block: VOneBlock, size: Size) -> int:
    assert block.config.stride is not None
    return -(-size.image_px // block.config.stride)


def _trained(model: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def _bytes(*tensors: Tensor) -> int:
    return sum(tensor.nbytes for tensor in tensors)


@torch.no_grad()
def _forward(module: nn.Module, images: Tensor) -> Any:
    return module(images)


def _input_gradient(weights: Tensor, module: nn.Module, images: Tensor) -> object:
    return torch.autograd.grad(module(images), images, weights)


def _loss_gradient(model: nn.Module, images: Tensor, labels: Tensor) -> object:
    images = images.detach().requires_grad_()
    return torch.autograd.grad(cross_entropy(model(images), labels, reduction="sum"), images)


def _training_step(network: nn.Module, images: Tensor, labels: Tensor) -> Call:
    optimizer = torch.optim.SGD(_trained(network.train()), lr=RATE, momentum=MOMENTUM)

    def call() -> None:
        cross_entropy(network(images), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)  # so that every step begins with the same memory

    return call


def block(size: Size, *, noise: str | None = "neuronal", gradient: bool = False) -> Work:
    """Prepare the V1 block; ours filters once for all noise samples."""
    mine, images = size.place(VOneBlock(**size.geometry, noise=noise)), 2 * size.pixels() - 1
    responses, step, passes = _forward(mine, images), _forward, 1
    if gradient:
        step, passes = partial(_input_gradient, torch.randn_like(responses)), 2
        images.requires_grad_()

    @torch.no_grad()
    def draws() -> None:
        mean = mine.mean_response(images)
        for _ in range(size.samples):
            mine.respond(mean)

    calls: dict[str, Call] = {}
    for name, least in LEAST_WEIGHTS.items():
        calls[name] = partial(step, size.place(PublishedBlock(mine, least)), images)
    counted = dict.fromkeys(calls, size.samples)
    calls[OURS] = draws if size.samples > 1 else partial(step, mine, images)
    moved_bytes = passes * (images.nbytes + size.samples * responses.nbytes)
    return Work(calls, counted, passes * filter_operations(mine, size), moved_bytes)


def front_end(size: Size, name: str) -> Work:
    """Prepare a front-end, `vonenet`, its V1 without parts, and the published form of 2025's."""
    fewer, pixels = sum(CELLS[name]) // size.cells, size.pixels()  # 1, and more where it is quick

    def build(preset: str) -> tuple[FrontEnd, Tensor]:
        cells = dict(zip(KINDS, (n // fewer for n in CELLS[preset]), strict=True))
        built = size.place(create_front_end(preset, image_size=size.image_px, **cells))
        mean, std = built.normalization
        return built, (pixels - mean) / std

    mine, images = build(name)
    *before, v1 = mine.stages
    calls: dict[str, Call] = {}
    if name == EVNET:
        for published, least in LEAST_WEIGHTS.items():
            plain = size.place(PublishedFrontEnd(mine, least))
            calls[published] = partial(_forward, plain, images)
    calls[OURS] = partial(_forward, mine, images)
    if before or v1.config.normalization or v1.config.push_pull:
        alone = size.place(VOneBlock(v1.config, normalization=None, push_pull=None))
        calls[V1_ALONE] = partial(_forward, alone, _forward(nn.Sequential(*before), images))
    if name != VONENET:
        calls[VONENET] = partial(_forward, *build(VONENET))
    return Work(calls)


def stage(size: Size, name: str) -> Work:
    """Prepare what a front-end has before V1 alone, and the published form of 2025's."""
    (mine, _), pixels = create_front_end(name, **size.geometry).stages, size.pixels()
    stages = {OURS: mine}
    if name == EVNET:
        stages[PUBLISHED] = PublishedSubcortical(mine)
    return Work({key: partial(_forward, size.place(each), pixels) for key, each in stages.items()})


def network(size: Size, *, training: bool = False) -> Work:
    """Prepare inference or a training step of VOneResNet-50 and of torchvision's ResNet-50."""
    mine, base = create_model("voneresnet50", **size.geometry), torchvision.models.resnet50()
    operations = back_end_operations(mine.eval(), size, "weights" if training else "")
    operations += filter_operations(mine.vone_block, size)
    networks: dict[str, nn.Module] = {}
    networks |= {name: PublishedNet(mine, least) for name, least in LEAST_WEIGHTS.items()}
    networks |= {OURS: mine, TORCHVISION: base, CHANNELS_LAST: copy.deepcopy(base)}
    calls, images, labels = dict[str, Call](), 2 * size.pixels() - 1, size.labels()
    for name, each in networks.items():
        model, x = size.place(each.eval()), images
        if name == CHANNELS_LAST:
            model = model.to(memory_format=torch.channels_last)
            x = x.contiguous(memory_format=torch.channels_last)
        step = _training_step(model, x, labels) if training else partial(_forward, model, x)
        calls[name] = step
    # In training weights and momentum are read and written.
    moved_bytes = images.nbytes + (4 if training else 1) * _bytes(*_trained(mine))
    return Work(calls, {}, operations, moved_bytes)


def sampled_gradient(size: Size) -> Work:
    """Prepare VOneResNet-50's gradient to the images, averaged over noise samples."""
    mine = create_model("voneresnet50", **size.geometry).eval()
    operations = 2 * filter_operations(mine.vone_block, size)
    operations += size.samples * back_end_operations(mine, size, "responses")
    calls, images, labels = dict[str, Call](), 2 * size.pixels() - 1, size.labels()
    for name, least in LEAST_WEIGHTS.items():
        model = size.place(PublishedNet(mine, least).eval())
        calls[name] = partial(_loss_gradient, model, images, labels)
    counted = dict.fromkeys(calls, size.samples)
    calls[OURS] = partial(averaged_gradient, size.place(mine), images, labels, size.samples)
    return Work(calls, counted, operations, _bytes(images, images, *_trained(mine)))


def attack(size: Size, *, steps: int) -> Work:
    """Prepare PGD in L-inf: on VOneResNet-50 for several noise samples, else on ResNet-18."""
    create = partial(create_model, "voneresnet50", **size.geometry)
    inner: nn.Module = create() if size.samples > 1 else torchvision.models.resnet18()
    model = size.place(PixelModel(inner, 0.5, 0.5).eval())
    budget = Budget("linf", 4 / 255, steps, 1 / 255, size.samples)
    arguments = model, size.pixels(), size.labels(), budget
    calls = {name: partial(run, *arguments) for name, run in attacks("pgd", budget.norm).items()}
    return Work({**calls, OURS: frozen_weights(model)(calls[OURS])})


def corruptions(size: Size) -> Work:
    """Prepare all corruptions of all images."""
    pixels = size.pixels()
    levels = (255 * pixels).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    # The library also brings the textures of frost.
    names = list(CORRUPTIONS)
    if not find_spec("imagecorruptions"):
        names[names.index("frost")] = "frost_procedural"

    def theirs() -> object:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numba and others, on import
            library = import_module("imagecorruptions")
            return [library.corrupt(x, SEVERITY, name) for name in names for x in levels]

    calls: dict[str, Call] = {OURS: lambda: [corrupt(pixels, each, SEVERITY) for each in names]}
    return Work({**calls, IMAUG: theirs} if find_spec("imagecorruptions") else calls)


def training_loop(size: Size) -> Work:
    """Prepare `vonenet.training.train`, and its steps on one batch that is ready."""
    model = size.place(PixelModel(create_model("voneresnet18", **size.geometry), 0.5, 0.5))
    shape = (LOOP_STEPS * size.batch, 3, size.image_px, size.image_px)
    labels, names = torch.randint(CLASSES, shape[:1]), [str(number) for number in range(CLASSES)]
    data = ImageArrays(torch.randint(256, shape, dtype=torch.uint8), labels, names, "random")
    settings: dict[str, Any] = {"epochs": 1, "batch_size": size.batch, "learning_rate": RATE}
    settings["precision"] = "bfloat16" if size.device.type == "cuda" else "float32"
    recipe = TrainingRecipe(
        optimization=OptimizationRecipe(**settings), augmentation=AugmentationRecipe(crop="shift")
    )

    def bare() -> None:
        step = _training_step(model, size.pixels(), size.labels())
        for _ in range(LOOP_STEPS):
            step()

    loop = partial(train, model, data, recipe, progress=False, device=size.device.type)
    return Work({OURS: loop, BARE_STEPS: bare})


def decoding(size: Size) -> Work:
    """Prepare random resized crops of JPEG files in batches, and the decoding alone."""
    folder = tempfile.TemporaryDirectory()  # it lives as long as `decode`
    levels = (255 * photograph("coffee")).byte().permute(1, 2, 0).numpy()
    paths = [Path(folder.name, "train", "one", f"{number:03}.jpg") for number in range(size.batch)]
    paths[0].parent.mkdir(parents=True)
    for number, path in enumerate(paths):
        image = Image.fromarray(np.roll(levels, 7 * number, axis=1)).resize(JPEG_PX)
        image.save(path, quality=90)
    data = open_dataset(folder.name, "train", image_size=size.image_px)
    images = TrainingImages(data, AugmentationRecipe(), size.image_px, seed=0)
    recipe = OptimizationRecipe(epochs=1, batch_size=size.batch)
    batches = micro_batch_sampler(size.batch, recipe, ProcessGroup(torch.device("cpu")))

    def decode() -> object:
        assert folder
        files = [io.BytesIO(path.read_bytes()) for path in paths]
        return [np.asarray(Image.open(file).convert("RGB")) for file in files]

    load: Call = lambda: list(DataLoader(images, batch_sampler=batches))  # noqa: E731
    return Work({OURS: load, BARE_DECODING: decode})


class Case(NamedTuple):
    """A kind of work, at one or more sizes."""

    title: str
    prepare: Callable[[Size], Work]
    sizes: tuple[Size, ...] = (Size(),)
    varied: str = ""  # the field of `Size` that a curve is drawn against


IMAGES_PX = (32, 64, 96, 128, 160, 224, 320, 512)
BY_IMAGE = tuple(Size(px, 8 if px < 320 else 2) for px in IMAGES_PX)
BY_BATCH = tuple(Size(batch=2**n) for n in range(7))
BY_CELLS = tuple(Size(cells=2**n) for n in range(6, 11))
BY_SAMPLES = tuple(Size(samples=2**n) for n in range(6))
TEN, GRADIENT, PGD = "10 noise samples", "VOneResNet-50 gradient", "VOneResNet-50 PGD, 1 step"
CASES = {
    "block-noise": Case("V1 block with noise", block),
    "block-mean": Case("V1 block without noise", partial(block, noise=None)),
    "block-gradient": Case("V1 block and image gradient", partial(block, gradient=True)),
    "subcortical": Case("Subcortical stage alone", partial(stage, name=EVNET)),
    "foveation": Case("Foveation alone", partial(stage, name="vonenet_foveated")),
    **{
        f"front-end-{name}".removesuffix(f"-{EVNET}"): Case(
            f"Front-end {name}", partial(front_end, name=name), (Size(cells=sum(CELLS[name])),)
        )
        for name in PRESETS
    },
    "inference": Case("VOneResNet-50 inference", network),
    "training": Case("VOneResNet-50 training step", partial(network, training=True)),
    "samples": Case(f"{GRADIENT}, {TEN}", sampled_gradient, (Size(samples=10),)),
    "attack-base": Case("ResNet-18 PGD, 5 steps", partial(attack, steps=5)),
    "attack-vone": Case(f"{PGD}, {TEN}", partial(attack, steps=1), (Size(batch=4, samples=10),)),
    "corruptions": Case(f"19 corruptions, severity {SEVERITY}", corruptions, (Size(batch=4),)),
    "loop": Case(f"VOneResNet-18 training, {LOOP_STEPS} steps", training_loop, (Size(64, 32),)),
    "decoding": Case("Loading of JPEG files", decoding, (Size(batch=64),)),
    "by-image-size": Case("V1 block with noise by image size", block, BY_IMAGE, "image_px"),
    "by-batch": Case("V1 block with noise by batch size", block, BY_BATCH, "batch"),
    "by-cells": Case("V1 block with noise by number of cells", block, BY_CELLS, "cells"),
    "by-samples": Case("V1 block by number of noise samples", block, BY_SAMPLES, "samples"),
}


def sizes_of(case: Case, device: torch.device, *, quick: bool) -> list[Size]:
    """List the sizes to measure: more images for a GPU, and two tiny ones if it is quick."""
    scale = 16 if device.type == "cuda" and not case.varied else 1
    sizes = [replace(each, device=device, batch=scale * each.batch) for each in case.sizes]
    if not quick:
        return sizes
    tiny = [(min(each.image_px, 64), min(each.batch, 2), each.cells // 16) for each in sizes[:2]]
    return [Size(*three, each.samples, device) for three, each in zip(tiny, sizes, strict=False)]


class Goal(NamedTuple):
    """A ratio of two times: the one aimed at, and the one to be reached at least."""

    case: str
    above: str
    below: str
    aim: float
    at_least: float

    def verdict(self, ratio: float) -> str:
        """Judge a ratio; more is better where the aim is the larger one of the two."""
        sign = 1 if self.aim > self.at_least else -1
        if sign * ratio >= sign * self.aim:
            return "reached"
        return "at least" if sign * ratio >= sign * self.at_least else "missed"


GOALS = (
    Goal("block-noise", PUBLISHED, OURS, 8, 5),
    Goal("block-mean", PUBLISHED, OURS, 10, 6),
    Goal("block-mean", OURS, LOWER_BOUND, 1, 1.5),
    Goal("block-gradient", PUBLISHED, OURS, 8, 5),
    Goal("front-end", PUBLISHED, OURS, 4, 2),
    Goal("front-end", OURS, V1_ALONE, 1.5, 1.5),
    Goal("inference", OURS, FASTER_TORCHVISION, 1.15, 1.3),
    Goal("training", OURS, FASTER_TORCHVISION, 1.1, 1.25),
    Goal("samples", PUBLISHED, OURS, 4, 3),
    *(Goal("attack-base", name, OURS, 1.3, 1) for name in ("torchattacks", "foolbox", "ART")),
    *(Goal("attack-vone", name, OURS, 2.5, 1.8) for name in ("torchattacks", "ART")),
    Goal("corruptions", IMAUG, OURS, 4, 2),
    Goal("loop", BARE_STEPS, OURS, 0.97, 0.92),
)
