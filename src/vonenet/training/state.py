"""A training's tensors by name, whole even where the model is sharded, and back again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from vonenet.errors import CheckpointError, InputError

MODEL, AVERAGE, OPTIMIZER = "model", "average", "optimizer"
STATE, GROUP = "state", "group"


def whole(tensor: Tensor) -> Tensor:
    """A copy on the CPU; of a sharded tensor, all of it. Every process has to ask."""
    value = tensor.detach()
    if isinstance(value, DTensor):
        value = value.full_tensor()
    return value.to("cpu", copy=True)


@torch.no_grad()
def fill(tensor: Tensor, value: Tensor) -> None:
    """Overwrites a tensor, sharded or not, with a whole one."""
    if isinstance(tensor, DTensor):
        value = distribute_tensor(value.to(tensor.device), tensor.device_mesh, tensor.placements)
    tensor.copy_(value)


def model_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Copies of a model's weights and buffers, whole and on the CPU."""
    return {name: whole(value) for name, value in model.state_dict().items()}


def fill_all(targets: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    """Overwrites tensors by name.

    Raises:
        CheckpointError: if names or shapes differ.
    """
    ours = {name: tuple(value.shape) for name, value in targets.items()}
    theirs = {name: tuple(value.shape) for name, value in values.items()}
    if ours != theirs:
        differing = sorted(name for name in ours | theirs if ours.get(name) != theirs.get(name))
        raise CheckpointError(
            f"the checkpoint is of another network: {differing[0]} has shape "
            f"{theirs.get(differing[0])} there and {ours.get(differing[0])} here"
        )
    for name, target in targets.items():
        fill(target, values[name])


def prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under `prefix/name`."""
    return {f"{prefix}/{name}": value for name, value in tensors.items()}


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix/`, without it."""
    start = f"{prefix}/"
    return {
        name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)
    }


def optimizer_state(
    optimizer: torch.optim.Optimizer,
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """An optimizer's memory: tensors, and all else as JSON has it.

    Both by names such as `state/3/momentum_buffer` and `group/0/lr`, numbers being those of
    parameters and groups.

    Raises:
        InputError: if the optimizer remembers what neither can hold.
    """
    stored = optimizer.state_dict()
    every = {
        f"{kind}/{number}/{key}": value
        for kind, parts in (
            (STATE, stored["state"].items()),
            (GROUP, enumerate(stored["param_groups"])),
        )
        for number, part in parts
        for key, value in part.items()
        if key != "params"
    }
    tensors = {name: whole(value) for name, value in every.items() if isinstance(value, Tensor)}
    others = {name: value for name, value in every.items() if name not in tensors}
    try:
        json.dumps(others)
    except TypeError as error:
        name = type(optimizer).__name__
        raise InputError(f"the memory of optimizer {name} cannot be stored: {error}") from error
    return tensors, others


def restore_optimizer(
    optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], others: Mapping[str, Any]
) -> None:
    """Gives a new optimizer of the same recipe the memory of another."""
    groups = optimizer.state_dict()["param_groups"]
    parameters = [each for group in optimizer.param_groups for each in group["params"]]
    state: dict[int, dict[str, Any]] = {}
    # Sharded tensors are handed out by all processes at once, so in one order in all of them;
    # safetensors has none.
    for name, value in sorted({**others, **tensors}.items(), key=lambda item: item[0]):
        kind, number, key = name.split("/", 2)
        if kind == GROUP:
            group = groups[int(number)]
            group[key] = tuple(value) if isinstance(group.get(key), tuple) else value
        elif isinstance(value, Tensor) and key != "step":
            placed = _placed_like(parameters[int(number)], value)
            state.setdefault(int(number), {})[key] = placed
        else:
            state.setdefault(int(number), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _placed_like(parameter: Tensor, value: Tensor) -> Tensor:
    """A tensor of a parameter's shape in its place and memory format; others as they are."""
    if value.shape != parameter.shape:
        return value
    placed = torch.empty_like(parameter, dtype=value.dtype, requires_grad=False)
    fill(placed, value)
    return placed
