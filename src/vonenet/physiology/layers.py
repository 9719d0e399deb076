"""Find a layer of any torch model by name and record its output; the model is left as it was."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from vonenet.data import inner_model
from vonenet.errors import InputError

# Tokens beside those of the image: none, a class token, with a distillation token, or with four
# registers (timm's vision transformers)
EXTRA_TOKENS = (0, 1, 2, 5)
NEAR_NAMES = 5


@runtime_checkable
class NoisyLayer(Protocol):
    """A layer whose noise is a step of its own, such as a V1 block.

    Its deterministic part is computed once for any number of trials, and its noise can be left out.
    """

    def mean_response(self, images: Tensor, /) -> Tensor:
        """Return responses before noise, (B, C, H, W), to what the layer's forward takes."""

    def respond(self, mean_response: Tensor, /) -> Tensor:
        """Add fresh noise to every element of a mean response of any size."""


@contextmanager
def no_noise(model: nn.Module) -> Iterator[None]:
    """Let every `NoisyLayer` of a model give its mean response inside the block."""
    layers = [module for module in model.modules() if isinstance(module, NoisyLayer)]
    previous = [vars(layer).get("forward") for layer in layers]
    for layer in layers:
        vars(layer)["forward"] = layer.mean_response
    try:
        yield
    finally:
        for layer, forward in zip(layers, previous, strict=True):
            del vars(layer)["forward"]
            if forward is not None:
                vars(layer)["forward"] = forward


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
    layers: dict[str, nn.Module] = dict(model.named_modules()) | inner
    if not name or name not in layers:
        known = [layer for layer in inner if layer]
        near = difflib.get_close_matches(name, known, NEAR_NAMES, cutoff=0.3) or known[:NEAR_NAMES]
        raise InputError(f"the model has no layer {name!r}; near names: {', '.join(near)}")
    return layers[name]


class _Stop(Exception):  # noqa: N818  # not an error
    """Ends a forward pass at the layer of interest; the rest need not be computed."""


def outputs_of(
    model: nn.Module, layers: Mapping[str, nn.Module], images: Tensor
) -> dict[str, Tensor]:
    """Return each layer's output the first time that the model's forward pass calls it.

    The pass ends when the last one is known.

    Raises:
        InputError: A layer returns no tensor or is never called, or the model does not take the
            images.
    """
    outputs: dict[str, Any] = {}

    def keep(name: str, output: Any) -> None:
        # A copy: what comes after may overwrite it, as an activation in place does
        is_last = len(outputs.keys() | {name}) == len(layers)
        outputs.setdefault(
            name, output.clone() if isinstance(output, Tensor) and not is_last else output
        )
        if is_last:
            raise _Stop

    hooks = [
        layer.register_forward_hook(lambda _, __, output, name=name: keep(name, output))
        for name, layer in layers.items()
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
