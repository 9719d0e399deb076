"""What is timed: each task as calls that do the same work, and the floor under them.

Every task is a function of a setting. It builds networks with fresh weights, random images, and one
call for each contestant.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torchvision
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from vonenet.benchmarks.floors import (
    Floor,
    block_forward_floor,
    block_gradient_floor,
    inference_floor,
    sampled_gradient_floor,
    trained,
    training_floor,
)
from vonenet.benchmarks.measure import Call
from vonenet.benchmarks.published import PublishedBlock, PublishedNet
from vonenet.benchmarks.setting import Setting, channels_last
from vonenet.model import VOneNet
from vonenet.robustness.sampling import averaged_gradient
from vonenet.v1.block import VOneBlock
from vonenet.zoo.registry import create_base_model, create_model

PUBLISHED, OURS, BASE = "published", "ours", "torchvision"
BASE_CHANNELS_LAST = "torchvision, channels last"

# Too small to lead anywhere: random labels must not drive the weights to infinity.
LEARNING_RATE, MOMENTUM = 1e-4, 0.9
# Below this side our networks work at stride 2 (v1/config.py); torchvision's own stay at 4.
SAME_WORK_FROM_PX = 128


@dataclass(frozen=True)
class Contestant:
    """A call, and how many of it the task takes: its time counts so often."""

    call: Call
    times: int = 1


@dataclass(frozen=True)
class Prepared:
    """A task that is ready to be timed; with what cannot be done without, where that is known."""

    contestants: Mapping[str, Contestant]
    floor: Floor | None = None


Task = Callable[[Setting], Prepared]
Step = Callable[[nn.Module, Tensor, Setting], Contestant]


def block_forward(setting: Setting, *, noise: str | None) -> Prepared:
    """Images to V1 responses."""
    block = VOneBlock(image_size=setting.image_px, noise=noise)
    floor = block_forward_floor(block.config, setting)
    return Prepared(_blocks(block, setting, _forward), floor)


def block_gradient(setting: Setting) -> Prepared:
    """Images to noisy V1 responses, and a gradient from the responses back to the images."""
    block = VOneBlock(image_size=setting.image_px)
    floor = block_gradient_floor(block.config, setting)
    return Prepared(_blocks(block, setting, _block_gradient), floor)


def inference(setting: Setting, *, model: str, base: str) -> Prepared:
    """Images to logits, in eval mode."""
    ours = create_model(model, image_size=setting.image_px).eval()
    floor = inference_floor(ours, setting)
    return Prepared(_networks(ours, _base(model, base, setting).eval(), setting, _forward), floor)


def training_step(
    setting: Setting, *, model: str, base: str, adversarial: bool = False
) -> Prepared:
    """Forward, cross-entropy, backward, and a step of SGD with momentum on what is trained.

    An adversarial step takes the gradient to the images as well, as adversarial training does.
    """
    ours = create_model(model, image_size=setting.image_px).eval()
    floor = training_floor(ours, setting, adversarial=adversarial)  # of one image: in eval mode
    step = functools.partial(_training_step, adversarial=adversarial)
    networks = _networks(ours.train(), _base(model, base, setting), setting, step)
    return Prepared(networks, floor)


def sampled_gradient(setting: Setting, *, model: str, samples: int) -> Prepared:
    """Gradient of the loss to the images, averaged over noise samples.

    The published formula takes as many whole passes, of which one is timed. Ours shares the filters
    among the samples, and so does the floor.
    """
    ours = create_model(model, image_size=setting.image_px).eval()
    floor = sampled_gradient_floor(ours, setting, samples)
    images, labels = setting.images(), setting.labels()
    published = setting.place(PublishedNet(ours).eval())
    setting.place(ours)

    def one_pass() -> Tensor:
        pixels = images.detach().requires_grad_()
        with setting.precision():
            loss = cross_entropy(published(pixels), labels, reduction="sum")
        return torch.autograd.grad(loss, pixels)[0]

    def all_samples() -> Tensor:
        with setting.precision():
            return averaged_gradient(ours, images, labels, samples)

    return Prepared(
        {PUBLISHED: Contestant(one_pass, samples), OURS: Contestant(all_samples)}, floor
    )


def _blocks(block: VOneBlock, setting: Setting, step: Step) -> dict[str, Contestant]:
    images = setting.images()
    return {
        PUBLISHED: step(setting.place(PublishedBlock(block)), images, setting),
        OURS: step(setting.place(block), images, setting),
    }


def _networks(
    ours: VOneNet, base: nn.Module, setting: Setting, step: Step
) -> dict[str, Contestant]:
    """The three networks and, in float32, the base in the layout that CPUs are faster in."""
    images = setting.images()
    contestants = {
        PUBLISHED: step(setting.place(PublishedNet(ours).train(ours.training)), images, setting),
        OURS: step(setting.place(ours), images, setting),
        BASE: step(setting.place(base), images, setting),
    }
    if not setting.mixed:
        laid_out = images.contiguous(memory_format=torch.channels_last)
        network = setting.place(channels_last(copy.deepcopy(base)))
        contestants[BASE_CHANNELS_LAST] = step(network, laid_out, setting)
    return contestants


def _base(model: str, base: str, setting: Setting) -> nn.Module:
    """The network of torchvision, or for small images the same with its first stage at stride 2."""
    if setting.image_px < SAME_WORK_FROM_PX:
        return create_base_model(model, image_size=(setting.image_px, setting.image_px))
    network: nn.Module = torchvision.models.get_model(base, weights=None)
    return network


def _forward(module: nn.Module, images: Tensor, setting: Setting) -> Contestant:
    def call() -> object:
        with torch.no_grad(), setting.precision():
            return module(images)

    return Contestant(call)


def _block_gradient(module: nn.Module, images: Tensor, setting: Setting) -> Contestant:
    images = images.detach().requires_grad_()
    with torch.no_grad(), setting.precision():
        response_gradient = torch.randn_like(module(images))

    def call() -> object:
        with setting.precision():
            responses = module(images)
        return torch.autograd.grad(responses, images, response_gradient)

    return Contestant(call)


def _training_step(
    network: nn.Module, images: Tensor, setting: Setting, *, adversarial: bool
) -> Contestant:
    labels = setting.labels()
    optimizer = torch.optim.SGD(trained(network), lr=LEARNING_RATE, momentum=MOMENTUM)

    def call() -> None:
        pixels = images.detach().requires_grad_(adversarial)
        with setting.precision():
            loss = cross_entropy(network(pixels), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        # At the end, so that every step begins and ends with the same memory in use.
        optimizer.zero_grad(set_to_none=True)

    return Contestant(call)
