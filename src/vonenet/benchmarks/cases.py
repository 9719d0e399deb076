"""Every case that is measured: a task, its batch and image size, and the goals set for it."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from vonenet.benchmarks.record import MEMORY, TIME, Goal
from vonenet.benchmarks.robustness_tasks import (
    ART,
    FOOLBOX,
    IMAGECORRUPTIONS,
    TORCHATTACKS,
    attack_on_base,
    attack_on_vonenet,
    corruptions,
)
from vonenet.benchmarks.tasks import (
    BASE,
    OURS,
    PUBLISHED,
    Task,
    block_forward,
    block_gradient,
    inference,
    sampled_gradient,
    training_step,
)
from vonenet.benchmarks.training_tasks import BARE_STEPS, STEPS, loading, training_loop

GRADIENT_SAMPLES = 10
ATTACK_STEPS = 5
RESNET, ALEXNET = "voneresnet50", "vonealexnet"


@dataclass(frozen=True)
class Case:
    """A task at one batch and image size.

    Attributes:
        task: name of the task, a key of `TASKS`.
        batch: number of images.
        image_px: their height and width.
        goals: ratios aimed at.
        timed: False to measure only memory.
    """

    task: str
    batch: int
    image_px: int
    goals: tuple[Goal, ...] = ()
    timed: bool = True


@dataclass(frozen=True)
class NamedTask:
    """A task, and what it is in a sentence."""

    run: Task
    explanation: str


BLOCK_NOISE = "V1 block with noise"
BLOCK_MEAN = "V1 block without noise"
BLOCK_GRADIENT = "V1 block and image gradient"
RESNET_INFERENCE = "VOneResNet-50 inference"
ALEXNET_INFERENCE = "VOneAlexNet inference"
RESNET_TRAINING = "VOneResNet-50 training step"
RESNET_ADVERSARIAL = "VOneResNet-50 adversarial training step"
RESNET_SAMPLES = f"VOneResNet-50 gradient, {GRADIENT_SAMPLES} noise samples"
BASE_ATTACK = f"ResNet-18 PGD, {ATTACK_STEPS} steps"
RESNET_ATTACK = f"VOneResNet-50 PGD, 1 step, {GRADIENT_SAMPLES} noise samples"
ALL_CORRUPTIONS = "19 corruptions"
TRAINING_LOOP = "VOneResNet-18 training loop"
LOADING = "loading of JPEG files"

TASKS = {
    BLOCK_NOISE: NamedTask(
        functools.partial(block_forward, noise="neuronal"),
        "Images to noisy V1 responses, no gradient recorded.",
    ),
    BLOCK_MEAN: NamedTask(
        functools.partial(block_forward, noise=None),
        "Images to V1's mean responses, no gradient recorded.",
    ),
    BLOCK_GRADIENT: NamedTask(
        block_gradient,
        "Images to noisy V1 responses, and a gradient from there back to the images.",
    ),
    RESNET_INFERENCE: NamedTask(
        functools.partial(inference, model=RESNET, base="resnet50"),
        "Images to logits in eval mode, with noise, no gradient recorded.",
    ),
    ALEXNET_INFERENCE: NamedTask(
        functools.partial(inference, model=ALEXNET, base="alexnet"),
        "Images to logits in eval mode, with noise, no gradient recorded.",
    ),
    RESNET_TRAINING: NamedTask(
        functools.partial(training_step, model=RESNET, base="resnet50"),
        "Forward, cross-entropy, backward, and a step of SGD with momentum on the trained weights.",
    ),
    RESNET_ADVERSARIAL: NamedTask(
        functools.partial(training_step, model=RESNET, base="resnet50", adversarial=True),
        "A training step that takes the gradient to the images as well.",
    ),
    RESNET_SAMPLES: NamedTask(
        functools.partial(sampled_gradient, model=RESNET, samples=GRADIENT_SAMPLES),
        f"Gradient of the loss to the images, averaged over {GRADIENT_SAMPLES} noise samples; with "
        f"the published formula {GRADIENT_SAMPLES} passes forward and back (one is timed, and "
        f"counted {GRADIENT_SAMPLES} times).",
    ),
    BASE_ATTACK: NamedTask(
        functools.partial(attack_on_base, base="resnet18", steps=ATTACK_STEPS),
        "PGD in L-inf on torchvision's network, the same steps in every library, none stopping "
        "early.",
    ),
    RESNET_ATTACK: NamedTask(
        functools.partial(attack_on_vonenet, model=RESNET, steps=1, samples=GRADIENT_SAMPLES),
        "A step of PGD on our network; torchattacks averages gradients itself, foolbox and ART are "
        "given a network that averages its logits.",
    ),
    TRAINING_LOOP: NamedTask(
        functools.partial(training_loop, model="voneresnet18"),
        f"{STEPS} steps by `vonenet.training.train`, its start, loading and augmentation included, "
        "and as many forward, backward and optimizer steps on one batch that lies ready.",
    ),
    LOADING: NamedTask(
        loading,
        "JPEG files of 500 x 375 px, decoded, cut at random, resized and stacked in one process, "
        "and decoded alone.",
    ),
    ALL_CORRUPTIONS: NamedTask(
        corruptions, "Every corruption of every image at severity 3, as batches and one by one."
    ),
}


def faster_than_published(goal: float, at_least: float) -> Goal:
    """Published time over ours."""
    return Goal(TIME, PUBLISHED, OURS, goal, at_least, more_is_better=True)


def slower_than_base(goal: float, at_least: float) -> Goal:
    """Our time over torchvision's."""
    return Goal(TIME, OURS, BASE, goal, at_least, more_is_better=False)


def throughput_of_base(goal: float) -> Goal:
    """Images per second, ours over torchvision's."""
    return Goal(TIME, BASE, OURS, goal, None, more_is_better=True)


def memory_of_published(goal: float, at_least: float) -> Goal:
    """Our peak memory over the published formula's."""
    return Goal(MEMORY, OURS, PUBLISHED, goal, at_least, more_is_better=False)


def faster_than(library: str, goal: float, at_least: float) -> Goal:
    """A library's time over ours."""
    return Goal(TIME, library, OURS, goal, at_least, more_is_better=True)


# The goals are those of the project's issues 3 to 5, for 2 cores and float32.
CPU_GOALS = (
    Case(BLOCK_NOISE, 8, 224, (faster_than_published(8, 5),)),
    Case(BLOCK_MEAN, 8, 224, (faster_than_published(10, 6),)),
    Case(BLOCK_GRADIENT, 8, 224, (faster_than_published(6, 4),)),
    Case(RESNET_INFERENCE, 8, 224, (slower_than_base(1.2, 1.4),)),
    Case(RESNET_TRAINING, 8, 224, (slower_than_base(1.2, 1.4), memory_of_published(0.5, 0.75))),
    Case(RESNET_SAMPLES, 8, 224, (faster_than_published(3, 2.3),)),
)
CPU_CASES = (
    *CPU_GOALS,
    Case(ALEXNET_INFERENCE, 8, 224),
    Case(RESNET_ADVERSARIAL, 8, 224, timed=False),
    *(
        Case(task, batch, image_px)
        for task in (BLOCK_NOISE, BLOCK_MEAN, BLOCK_GRADIENT)
        for image_px, batches in {32: (1, 8, 32), 64: (1, 8, 32), 224: (1, 32), 448: (1,)}.items()
        for batch in batches
    ),
    Case(RESNET_INFERENCE, 1, 224),
    Case(RESNET_INFERENCE, 32, 64),
    Case(RESNET_TRAINING, 8, 64),
    Case(ALEXNET_INFERENCE, 1, 224),
    Case(
        BASE_ATTACK,
        8,
        224,
        tuple(faster_than(each, 1.3, 1.0) for each in (TORCHATTACKS, FOOLBOX, ART)),
    ),
    Case(RESNET_ATTACK, 4, 224, tuple(faster_than(each, 2.5, 1.8) for each in (TORCHATTACKS, ART))),
    Case(ALL_CORRUPTIONS, 4, 224, (faster_than(IMAGECORRUPTIONS, 4, 2),)),
    Case(TRAINING_LOOP, 32, 64, (faster_than(BARE_STEPS, 0.97, 0.92),)),
    Case(LOADING, 64, 224),
)
# With bfloat16 autocast and channels last.
CUDA_CASES = (
    *(Case(task, 128, 224) for task in (BLOCK_NOISE, BLOCK_MEAN, BLOCK_GRADIENT)),
    Case(RESNET_INFERENCE, 128, 224),
    Case(RESNET_TRAINING, 128, 224, (throughput_of_base(0.9),)),
    Case(RESNET_SAMPLES, 128, 224),
    Case(ALEXNET_INFERENCE, 128, 224),
    Case(RESNET_ADVERSARIAL, 128, 224),
    *(
        Case(task, batch, image_px)
        for task in (BLOCK_NOISE, BLOCK_MEAN, BLOCK_GRADIENT)
        for image_px, batch in ((32, 128), (64, 128), (224, 1), (224, 8), (224, 32), (448, 32))
    ),
)

CASES = {"cpu": CPU_CASES, "cuda": CUDA_CASES}
QUICK_CASES = {
    "cpu": (
        *CPU_GOALS[:3],
        *(
            Case(task, 8, 32)
            for task in TASKS
            if task not in (ALEXNET_INFERENCE, RESNET_ADVERSARIAL, RESNET_ATTACK)
        ),
    ),
    "cuda": CUDA_CASES[:5],
}
