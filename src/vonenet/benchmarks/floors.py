"""The physical floor of each task: the operations that it needs, and the bytes that must move."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from vonenet.benchmarks.setting import Setting
from vonenet.model import VOneNet
from vonenet.v1.config import VOneBlockConfig


@dataclass(frozen=True)
class Floor:
    """What a task cannot do without.

    Attributes:
        operations: multiplications and additions of filters, convolutions and matrix products.
        moved_bytes: bytes that enter or leave, each counted once.
    """

    operations: float
    moved_bytes: float


def block_forward_floor(config: VOneBlockConfig, setting: Setting) -> Floor:
    """The images enter and the responses leave."""
    moved = image_bytes(setting) + response_bytes(config, setting)
    return Floor(filter_operations(config, setting), moved)


def block_gradient_floor(config: VOneBlockConfig, setting: Setting) -> Floor:
    """The filters are applied forward and back; images, responses and gradients of both move."""
    forward = block_forward_floor(config, setting)
    return Floor(2 * forward.operations, 2 * forward.moved_bytes)


def inference_floor(model: VOneNet, setting: Setting) -> Floor:
    """Images and weights are read."""
    back_end = counted_operations(lambda: model.logits_from_v1(_one_response(model, setting)))
    return Floor(
        filter_operations(model.vone_block.config, setting) + setting.batch * back_end,
        image_bytes(setting) + trained_bytes(model),
    )


def training_floor(model: VOneNet, setting: Setting, *, adversarial: bool) -> Floor:
    """Weights and their momentum are read and written; `adversarial` goes back to the images."""
    back_end = counted_operations(lambda: _back_to_weights(model, setting, adversarial))
    passes = 2 if adversarial else 1
    return Floor(
        passes * filter_operations(model.vone_block.config, setting) + setting.batch * back_end,
        passes * image_bytes(setting) + 4 * trained_bytes(model),
    )


def sampled_gradient_floor(model: VOneNet, setting: Setting, samples: int) -> Floor:
    """All samples share the filters, forward and back; images and gradients move."""
    back_end = counted_operations(lambda: _back_to_response(model, setting))
    return Floor(
        2 * filter_operations(model.vone_block.config, setting)
        + samples * setting.batch * back_end,
        2 * image_bytes(setting) + trained_bytes(model),
    )


def filter_operations(config: VOneBlockConfig, setting: Setting) -> float:
    """Operations of the filters as convolutions: one phase of simple cells, two of complex cells.

    Each filter reads the one colour in which it is not zero: a quarter of the operations of two
    dense convolutions, if there are as many simple as complex cells.
    """
    assert config.kernel_size is not None
    filters = config.simple_channels + 2 * config.complex_channels
    return 2.0 * filters * config.kernel_size**2 * setting.batch * _side(config, setting) ** 2


def counted_operations(call: Callable[[], object]) -> int:
    """Operations of the matrix products and convolutions in a call, as PyTorch counts them."""
    with FlopCounterMode(display=False) as counter:
        call()
    return int(counter.get_total_flops())


def image_bytes(setting: Setting) -> int:
    """Bytes of the images, float32."""
    return 4 * setting.batch * 3 * setting.image_px**2


def response_bytes(config: VOneBlockConfig, setting: Setting) -> int:
    """Bytes of the V1 responses."""
    size = 2 if setting.mixed else 4
    return size * setting.batch * config.out_channels * _side(config, setting) ** 2


def trained_bytes(model: nn.Module) -> int:
    """Bytes of all that is trained."""
    return sum(parameter.nbytes for parameter in trained(model))


def trained(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that an optimiser moves."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def _back_to_weights(model: VOneNet, setting: Setting, to_response: bool) -> None:
    """Back-propagation through all that is trained, for one image, and to V1 if asked for."""
    response = _one_response(model, setting).requires_grad_(to_response)
    model.logits_from_v1(response).sum().backward()  # type: ignore[no-untyped-call]
    model.zero_grad()


def _back_to_response(model: VOneNet, setting: Setting) -> None:
    """Back-propagation to the V1 response of one image, past the weights."""
    response = _one_response(model, setting).requires_grad_()
    torch.autograd.backward(model.logits_from_v1(response).sum(), inputs=[response])


def _one_response(model: VOneNet, setting: Setting) -> Tensor:
    config = model.vone_block.config
    side = _side(config, setting)
    return torch.zeros(1, config.out_channels, side, side)


def _side(config: VOneBlockConfig, setting: Setting) -> int:
    """Positions of V1 cells along the image's side."""
    assert config.stride is not None
    return -(-setting.image_px // config.stride)
