"""Find a layer of any torch model by name and record its output; the model is left as it was."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from threading import get_ident
from typing import Any, Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn

from vonenet.data import inner_model
from vonenet.errors import InputError

# Tokens beside those of the image: none, a class token, with a distillation token, or with four
# registers (timm's vision transformers)
EXTRA_TOKENS = (0, 1, 2, 5)
NEAR_NAMES = 5
# Two ways to sum the same numbers differ by less, as a share of the largest response
SAME = 1e-5
# Noise images that are tried
PROBES = 16
# Steps of a layer's map beyond an image that are tried as where the image's last effect is
REACHES = (1, 2, 3, 4, 6, 8, 12)


@runtime_checkable
class NoisyLayer(Protocol):
    """A layer whose noise is a step of its own, such as a V1 block.

    Its deterministic part is computed once for any number of trials, and its noise can be left out.
    """

    def mean_response(self, images: Tensor, /) -> Tensor:
        """Return responses before noise, (B, C, H, W), to what the layer's forward takes."""

    def respond(self, mean_response: Tensor, /) -> Tensor:
        """Add fresh noise to every element of a mean response of any size."""


@runtime_checkable
class SpikingLayer(Protocol):
    """A layer whose responses stand for numbers of spikes, such as a V1 block."""

    def spikes(self, responses: Tensor, /) -> Tensor | None:
        """Return the spikes that responses of any shape stand for; None if it has no such noise."""


def noisy_layers(model: nn.Module) -> list[nn.Module]:
    """Return the layers that draw noise; not what is made of such layers, as a front-end is."""
    own = [each for child in model.children() for each in noisy_layers(child)]
    return own or ([model] if isinstance(model, NoisyLayer) else [])


def without_noise(
    model: nn.Module,
    mean_of: Callable[[NoisyLayer], Callable[[Tensor], Tensor]] = lambda layer: layer.mean_response,
) -> nn.Module:
    """Return a model of which every `NoisyLayer` gives its mean response; it may be the model.

    One that is made of others, as a front-end is of its stages, is their sequence without noise.

    The model is not changed, so other threads keep its noise: only the noisy layers and what
    contains them are copied, and all copies share their tensors and other layers with the model.
    Noise of any other kind stays, and so does that of a compiled or traced model, whose code does
    not ask its layers.

    Args:
        model: Any model.
        mean_of: What a noisy layer, a copy, does instead of its forward.
    """
    changed = {
        name: silent
        for name, child in model._modules.items()
        if child is not None and (silent := without_noise(child, mean_of)) is not child
    }
    is_noisy = isinstance(model, NoisyLayer) and not changed
    if not changed and not is_noisy:
        return model
    silent = copy(model)
    vars(silent)["_modules"] = dict(model._modules) | changed
    if is_noisy:
        vars(silent)["forward"] = mean_of(cast("NoisyLayer", silent))
    return silent


def probes_of(shape: Sequence[int], n: int = PROBES) -> Tensor:
    """Draw white noise in [-1, 1], (n, *shape), always the same.

    A rectified unit is silent to half of it, and one that is inhibited by what lies around it to
    more. Noise of coarser grains shows half as often that a crop is too small for such a unit.
    """
    return 2 * torch.rand((n, *shape), generator=torch.Generator().manual_seed(0)) - 1


class OnFlatMargin:
    """A layer's responses to images in a flat margin: only those that vary are computed.

    Those to the margin alone are computed once. How far the images reach is found by trying: to
    noise of the images' contrast the responses must be those to whole images, as in `subject`. What
    is not in such a margin is computed whole.

    Args:
        whole: The layer: images (B, C, H, W) to maps.
        margin_px: Pixels around the images that show one colour, always the same.
    """

    def __init__(self, whole: Callable[[Tensor], Tensor], margin_px: int) -> None:
        self._whole, self._margin = whole, margin_px
        self._flat: Tensor | None = None  # an image of the margin alone
        self._contrast = 0.0  # the largest difference from the margin that was tried
        self._found: tuple[int, ...] | None = None

    def __call__(self, images: Tensor) -> Tensor:
        """Return the layer's responses to a batch of images."""
        if self._flat is None:
            self._flat = images[:1, :, :1, :1].expand(1, *images.shape[1:]).clone()
            self._blank = self._whole(self._flat)
        if not self._is_flat(images):
            return self._whole(images)
        contrast = float((images - self._flat).abs().max())
        if contrast > self._contrast:  # a cell may see further at it
            self._contrast = contrast
            self._found = self._find()
        return self._whole(images) if self._found is None else self._of_middle(images, *self._found)

    def _find(self) -> tuple[int, ...] | None:
        """Find the smallest crop of which the responses that vary are those of whole images."""
        assert self._flat is not None
        side, map_side = self._flat.shape[-1], self._blank.shape[-1]
        stride = side // map_side
        is_square = self._flat.shape[-2] == side and self._blank.shape[-2] == map_side
        if not is_square or stride * map_side != side or not 0 < 2 * self._margin < side:
            return None
        probes = self._flat + self._contrast * probes_of(self._flat.shape[1:]).to(self._flat)
        for edge in self._edges(probes):
            edge.copy_(self._flat[:, :, :1, :1].expand_as(edge))
        expected = self._whole(probes)
        for reach in REACHES:
            first = self._margin // stride - reach
            last = -((self._margin - side) // stride) + reach
            if first <= reach or last + reach >= map_side:
                return None
            found = self._of_middle(probes, stride, first, last, reach)
            if (found - expected).abs().max() < SAME * expected.abs().max():
                return stride, first, last, reach
        return None

    def _of_middle(self, images: Tensor, stride: int, first: int, last: int, reach: int) -> Tensor:
        """Return the responses, those from row and column `first` to `last` of a crop's."""
        begin, end = stride * (first - reach), stride * (last + reach)
        cropped = self._whole(images[:, :, begin:end, begin:end])
        responses = self._blank.expand(len(images), -1, -1, -1).clone()
        inner = slice(reach, reach + last - first)
        responses[:, :, first:last, first:last] = cropped[:, :, inner, inner]
        return responses

    def _is_flat(self, images: Tensor) -> bool:
        assert self._flat is not None
        return images.shape[1:] == self._flat.shape[1:] and all(
            bool((edge == self._flat[:, :, :1, :1]).all()) for edge in self._edges(images)
        )

    def _edges(self, images: Tensor) -> Iterator[Tensor]:
        margin = self._margin
        yield from (images[:, :, :margin], images[:, :, -margin:])
        yield from (images[..., :margin], images[..., -margin:])


def find_layer(model: nn.Module, name: str) -> nn.Module:
    """Find a layer by its dotted name.

    Args:
        model: A torch module. The names of a `PixelModel` are those of the model inside; they may
            also begin with its own `model.`.
        name: Such as `vone_block`, `layer1.0`, `features.3`.

    Raises:
        InputError: No such layer, with near names.
    """
    inner = dict(inner_model(model).named_modules())
    layers: dict[str, nn.Module] = inner if name in inner else dict(model.named_modules())
    if not name or name not in layers:
        known = [layer for layer in inner if layer]
        near = difflib.get_close_matches(name, known, NEAR_NAMES, cutoff=0.3) or known[:NEAR_NAMES]
        raise InputError(f"the model has no layer {name!r}; near names: {', '.join(near)}")
    return layers[name]


class _Stop(Exception):  # noqa: N818  # not an error
    """Ends a forward pass at the layer of interest; the rest need not be computed."""


def outputs_of(model: nn.Module, layers: Sequence[str], images: Tensor) -> dict[str, Tensor]:
    """Return each layer's output the first time that the model's forward pass calls it.

    The pass ends when the last one is known.

    Raises:
        InputError: No such layer, one that returns no tensor or is never called, or a model that
            does not take the images.
    """
    outputs: dict[str, Any] = {}
    thread = get_ident()

    def keep(name: str, output: Any) -> None:
        if get_ident() != thread:  # of another pass through the same model
            return
        # A copy: what comes after may overwrite it, as an activation in place does
        is_last = len(outputs.keys() | {name}) == len(layers)
        outputs.setdefault(
            name, output.clone() if isinstance(output, Tensor) and not is_last else output
        )
        if is_last:
            raise _Stop

    hooks = [
        layer.register_forward_hook(lambda _, __, output, name=name: keep(name, output))
        for name, layer in [(name, find_layer(model, name)) for name in layers]
    ]
    try:
        model(images)
    except _Stop:
        pass
    except (RuntimeError, ValueError, TypeError, AssertionError, IndexError) as error:
        size = "x".join(map(str, images.shape[1:]))
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(f"the model does not take images of {size}: {reason[0]}") from error
    finally:
        for hook in hooks:
            hook.remove()
    for name in layers:
        if name not in outputs:
            raise InputError(f"layer {name!r} is never called in the model's forward pass")
        if not isinstance(outputs[name], Tensor):
            kind = type(outputs[name]).__name__
            raise InputError(f"layer {name!r} returns a {kind}; record one that returns a tensor")
    return {name: outputs[name] for name in layers}


def as_map(output: Tensor, name: str) -> Tensor:
    """Return a layer's output as a map (B, C, H, W).

    Channels may come last where the map is square. The tokens of a transformer (B, N, C) are put in
    their square; tokens beside the image's are left out.

    Raises:
        InputError: The output is no map.
    """
    if output.ndim == 3:
        batch, n, channels = output.shape
        for extra in EXTRA_TOKENS:
            side = math.isqrt(max(n - extra, 0))
            if side > 1 and side**2 == n - extra:
                return output[:, extra:].transpose(1, 2).reshape(batch, channels, side, side)
        raise InputError(
            f"layer {name!r} returns {n} tokens, which are no square, with or without "
            f"{', '.join(map(str, EXTRA_TOKENS[1:]))} beside it"
        )
    if output.ndim == 4 and output.shape[1] == output.shape[2] != output.shape[3]:
        output = output.permute(0, 3, 1, 2)
    if output.ndim != 4 or output.shape[2] * output.shape[3] == 1:
        raise InputError(
            f"layer {name!r} has no spatial extent: its output is {tuple(output.shape)}; "
            "needed: (batch, channels, height, width) or the tokens of a square"
        )
    return output
