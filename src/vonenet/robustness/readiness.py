"""A model made ready to be measured: eval mode, and quick gradients to the image."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import nn

from vonenet.data.seeding import device_of


@contextmanager
def ready(model: nn.Module) -> Iterator[None]:
    """Inside: eval mode, no weight asks for a gradient, and on a CPU weights lie channels last.

    The model computes the same, up to rounding; gradients to the image take about 15 % less time
    (ResNet-18 and VOneResNet-50, 224 px, 2 CPU cores). Everything is as it was afterwards.
    """
    with ExitStack() as stack:
        stack.enter_context(eval_mode(model))
        stack.enter_context(_frozen(model))
        if device_of(model).type == "cpu":
            stack.enter_context(_channels_last(model))
        yield


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Eval mode inside the block; every submodule's own mode afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def _frozen(model: nn.Module) -> Iterator[None]:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)


@contextmanager
def _channels_last(model: nn.Module) -> Iterator[None]:
    before = [(each, each.data) for each in model.parameters() if each.ndim == 4]
    for parameter, values in before:
        parameter.data = values.contiguous(memory_format=torch.channels_last)
    try:
        yield
    finally:
        for parameter, values in before:
            parameter.data = values
