"""The V1 block on the CPU, a few images at a time: block.py's numbers in few passes over memory.

A batch's responses are far larger than a processor's cache (51 MB for 8 images of 224 px), and each
whole-tensor step would write and read all of them. Here a chunk of the batch goes through all steps
while it is in the cache, and big results are written once. Gradients are written out for the same
reason. `block.py` is the definition, used wherever this file does not apply (`applies`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules import module as torch_module

from vonenet.memory import advise_huge_pages
from vonenet.v1.eager import is_plain_on_cpu
from vonenet.v1.filterbank import FilterBank, Segment
from vonenet.v1.noise import Noise, fresh, neuronal_deviation, neuronal_slope
from vonenet.v1.random import fill_normal
from vonenet.v1.strategies import image_gradient

# Numbers of a chunk: with its inputs and results it stays in the last-level cache.
CHUNK = 2**21
# Numbers of one elementwise step.
STEP = 2**18


def applies(tensor: Tensor, children: Sequence[nn.Module]) -> bool:
    """Whether this file may stand in for the children of a block.

    It may not where somebody watches the children (hooks), or records operations (`torch.compile`,
    `torch.export`, `torch.func`), and it is for CPU tensors only.
    """
    if not is_plain_on_cpu(tensor):
        return False
    watched = torch_module._has_any_global_hook()  # type: ignore[no-untyped-call]
    return not watched and not any(map(_is_hooked, children))


def _is_hooked(module: nn.Module) -> bool:
    return bool(
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
    )


class MeanResponse(torch.autograd.Function):
    """Mean responses of a batch of images, and the gradient with respect to the images."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, bank: FilterBank, gain: float, definition: Any) -> Tensor:
        """Mean responses (B, cells, H', W').

        Args:
            ctx: autograd's.
            images: B, in_chans, H, W.
            bank: the filters, one colour each.
            gain: of the responses.
            definition: the same function in PyTorch's own operations, for second derivatives.
        """
        ctx.bank, ctx.definition = bank, definition
        ctx.kernels = _scaled_kernels(bank, gain, images.dtype)
        kept: list[Tensor] | None = [] if ctx.needs_input_grad[0] else None
        responses = _new_responses(images, bank)
        for part in _chunks(responses):
            _write_mean(images[part], bank, ctx.kernels, responses[part], kept)
        if kept is not None:
            ctx.save_for_backward(images, *kept)
        return responses

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Gradient with respect to the images; 0 where a cell is silent."""
        images, *kept = ctx.saved_tensors
        if torch.is_grad_enabled():  # somebody wants the second derivative
            mean = ctx.definition(images)
            (result,) = torch.autograd.grad(mean, images, gradient, create_graph=True)
        else:
            result = _image_gradients(images, ctx.bank, ctx.kernels, kept, gradient)
        return result, None, None, None


def noisy_response(images: Tensor, bank: FilterBank, gain: float, noise: Noise) -> Tensor:
    """relu(noise(mean response)) of images that need no gradient: (B, cells, H', W').

    Nothing as large as the responses is made but the responses.
    """
    kernels = _scaled_kernels(bank, gain, images.dtype)
    responses = _new_responses(images, bank)
    draw = draw_into(responses, noise)
    for part in _chunks(responses):
        if draw is None:
            _write_mean(images[part], bank, kernels, responses[part])
            continue
        mean = torch.empty_like(responses[part])
        _write_mean(images[part], bank, kernels, mean)
        write_noisy(mean, draw[part], noise, responses[part])
    return responses


def _new_responses(images: Tensor, bank: FilterBank) -> Tensor:
    size = [-(-side // bank.stride) for side in images.shape[-2:]]
    return advise_huge_pages(images.new_empty(len(images), len(bank.cell_order), *size))


def _scaled_kernels(bank: FilterBank, gain: float, dtype: torch.dtype) -> list[Tensor]:
    """The kernels of each colour, times the gain and, for complex cells, the 1 / sqrt(2)."""
    by_channel = list(torch.split(bank.kernels, bank.rows_by_channel))
    scaled = [(gain * math.sqrt(0.5)) * rows for rows in by_channel]
    for segment in bank.segments:
        if segment.channel_q1 is None:
            rows = slice(segment.row_q0, segment.row_q0 + segment.n)
            channel = segment.channel_q0
            scaled[channel][rows] = gain * by_channel[channel][rows]
    return [rows.to(dtype) for rows in scaled]


def _write_mean(
    images: Tensor,
    bank: FilterBank,
    kernels: list[Tensor],
    out: Tensor,
    kept: list[Tensor] | None = None,
) -> None:
    """Write a chunk's mean responses; append its linear responses, colour by colour, to `kept`."""
    images = images.contiguous()
    rows = [
        F.conv2d(images[:, c : c + 1], k[:, None], stride=bank.stride, padding=k.shape[-1] // 2)
        for c, k in enumerate(kernels)
    ]
    in_bank_order = torch.empty_like(out)
    for segment in bank.segments:
        q0, q1 = _phases(rows, segment)
        cells = in_bank_order[:, segment.cell : segment.cell + segment.n]
        torch.clamp_min(q0, 0, out=cells) if q1 is None else torch.hypot(q0, q1, out=cells)
    torch.index_select(in_bank_order, 1, bank.cell_order, out=out)
    if kept is not None:
        kept.extend(rows)


def _image_gradients(
    images: Tensor, bank: FilterBank, kernels: list[Tensor], kept: list[Tensor], gradient: Tensor
) -> Tensor:
    backwards = [image_gradient(rows, bank.stride) for rows in kernels]
    bank_order = torch.argsort(bank.cell_order)
    result = torch.empty_like(images, memory_format=torch.contiguous_format)
    for number, part in enumerate(_chunks(gradient)):
        rows = kept[number * len(kernels) : (number + 1) * len(kernels)]
        of_cells = gradient[part].index_select(1, bank_order)
        of_rows = [torch.empty_like(responses) for responses in rows]
        for segment in bank.segments:
            of_segment = of_cells[:, segment.cell : segment.cell + segment.n]
            _cell_gradient(of_segment, _phases(rows, segment), _phases(of_rows, segment))
        for channel, (of_channel, backward) in enumerate(zip(of_rows, backwards, strict=True)):
            result[part, channel : channel + 1] = backward(of_channel, images.shape[-2:])
    return result


def _phases(rows: list[Tensor], segment: Segment) -> tuple[Tensor, Tensor | None]:
    """A segment's rows of the first phase, and of the second where its cells have one."""
    q0 = rows[segment.channel_q0][:, segment.row_q0 : segment.row_q0 + segment.n]
    if segment.channel_q1 is None:
        return q0, None
    return q0, rows[segment.channel_q1][:, segment.row_q1 : segment.row_q1 + segment.n]


def _cell_gradient(
    of_cells: Tensor, phases: tuple[Tensor, Tensor | None], out: tuple[Tensor, Tensor | None]
) -> None:
    """Write the gradient with respect to a segment's rows."""
    q0, q1 = phases
    if q1 is None or out[1] is None:
        torch.mul(of_cells, q0 > 0, out=out[0])
        return
    length = torch.hypot(q0, q1)
    length.masked_fill_(length == 0, torch.inf)  # no direction, no gradient
    for phase, result in zip((q0, q1), out, strict=True):
        torch.div(phase, length, out=result).mul_(of_cells)


class RectifiedNoise(torch.autograd.Function):
    """relu(noise(mean response)), and the gradient with respect to the mean response."""

    @staticmethod
    def forward(ctx: Any, mean: Tensor, noise: Noise, standard_normal: Tensor | None) -> Tensor:
        """Noisy responses of the shape of `mean`."""
        ctx.mode, ctx.scale, ctx.level = noise.mode, noise.scale, noise.level
        out = advise_huge_pages(torch.empty_like(mean, memory_format=torch.contiguous_format))
        draw = draw_into(out, noise) if standard_normal is None else standard_normal
        write_noisy(mean, draw, noise, out)
        ctx.save_for_backward(mean, out)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        """The gradient with respect to the mean response.

        The draw need not be kept: where the response is above 0 it follows from mean and response,
        elsewhere the gradient is 0.
        """
        mean, noisy = ctx.saved_tensors
        if ctx.mode != "neuronal":
            return gradient * (noisy > 0), None, None
        if torch.is_grad_enabled():  # somebody wants the second derivative, the draw being given
            deviation = neuronal_deviation(mean, ctx.scale, ctx.level)
            standard_normal = ((noisy - mean) / deviation).detach()
            slope = neuronal_slope(mean, standard_normal * deviation, ctx.scale, ctx.level)
            return gradient * slope * (noisy > 0), None, None
        result = torch.empty_like(gradient, memory_format=torch.contiguous_format)
        for g, m, n, r in _steps(gradient, mean, noisy, result):
            slope = neuronal_slope(m, n - m, ctx.scale, ctx.level)
            torch.mul(slope.mul_(n > 0), g, out=r)
        return result, None, None


def draw_into(out: Tensor, noise: Noise) -> Tensor | None:
    """A draw for every element of `out`: in `out` itself if it can be; None without noise."""
    if noise.mode is None:
        return None
    if noise.draw is not fresh:
        return noise.draw(out).expand_as(out)
    is_wide = out.dtype in (torch.float32, torch.float64)
    return fill_normal(out if is_wide else torch.empty_like(out, dtype=torch.float32))


def write_noisy(mean: Tensor, standard_normal: Tensor | None, noise: Noise, out: Tensor) -> None:
    """Write relu(noise(mean)) to `out`, in single precision or better.

    Args:
        mean: any shape.
        standard_normal: the draw, broadcast to `mean`; None: no noise.
        noise: its mode and strength.
        out: of the shape of `mean`; may be `mean` or `standard_normal`.
    """
    if noise.mode is None or standard_normal is None:
        torch.clamp_min(mean, 0, out=out)
        return
    for m, z, o in _steps(mean, standard_normal.expand_as(mean), out):
        wide = m.to(torch.promote_types(m.dtype, torch.float32))
        if noise.mode == "gaussian":
            noisy = torch.add(wide, z, alpha=noise.scale)
        else:
            deviation = neuronal_deviation(wide, noise.scale, noise.level)
            noisy = torch.addcmul(wide, z, deviation, out=deviation)
        torch.clamp_min(noisy, 0, out=o) if o.dtype == noisy.dtype else o.copy_(noisy.clamp_min_(0))


def _steps(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Small parts of tensors of one shape, the same of each."""
    if all(tensor.is_contiguous() for tensor in tensors):
        yield from zip(*(torch.split(tensor.view(-1), STEP) for tensor in tensors), strict=True)
    else:
        yield from zip(*tensors, strict=True)


def _chunks(responses: Tensor) -> Iterator[slice]:
    """Slices of the batch, as many images in each as stay in the cache."""
    images = max(1, CHUNK // max(1, responses[:1].numel()))
    for start in range(0, len(responses), images):
        yield slice(start, start + images)
