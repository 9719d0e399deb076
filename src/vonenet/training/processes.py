"""Device, precision and processes of a training, all by Accelerate, and the model placed there."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs, DistributedType
from accelerate.state import AcceleratorState, GradientState, PartialState
from accelerate.tracking import get_available_trackers
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method

from vonenet.data.pixels import chosen_device, inner_model
from vonenet.errors import InputError
from vonenet.robustness.sampling import MeanResponseModel, two_stages

PRECISIONS = {"float32": "no", "bfloat16": "bf16", "float16": "fp16"}
TRACKERS = ("tensorboard", "wandb")


@contextmanager
def accelerated(
    device: str, precision: str, trackers: Sequence[str] = (), folder: Path | None = None
) -> Iterator[Accelerator]:
    """Within: an accelerator for one training, among the processes that a launcher started.

    Accelerate keeps its settings in dictionaries of its own, once per process. They are emptied
    here and put back afterwards, so that every training has its own. A process group that was not
    there before is closed at the end.

    Args:
        device: "auto", "cpu" or "cuda"; processes on one machine take one GPU each.
        precision: "float32", "bfloat16" or "float16".
        trackers: "tensorboard", "wandb".
        folder: where trackers write.

    Raises:
        InputError: if the device or a tracker is not there, or the device lacks the precision.
    """
    chosen = chosen_device(device)
    if precision == "float16" and chosen.type == "cpu":
        raise InputError(
            "optimization.precision='float16' needs a GPU; allowed on the CPU: 'float32', "
            "'bfloat16'"
        )
    _check_trackers(trackers)
    states = (PartialState, AcceleratorState, GradientState)
    kept = [dict(state._shared_state) for state in states]
    accelerator = None
    joined = distributed.is_available() and distributed.is_initialized()
    for state in states:
        state._shared_state.clear()
    try:
        accelerator = Accelerator(
            cpu=chosen.type == "cpu",
            mixed_precision=PRECISIONS[precision],
            log_with=list(trackers) or None,
            project_dir=folder,
            # batch statistics go over the processes with each step's numbers
            kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],
        )
        if accelerator.distributed_type == DistributedType.FSDP:
            raise InputError("accelerate launch --use_fsdp is not for here; use shard instead")
        yield accelerator
        wait_for_all(accelerator)
    finally:
        for tracker in accelerator.trackers if accelerator is not None else ():
            tracker.finish()
        if not joined and distributed.is_available() and distributed.is_initialized():
            distributed.destroy_process_group()
        for state, before in zip(states, kept, strict=True):
            state._shared_state.clear()
            state._shared_state.update(before)


def _check_trackers(trackers: Sequence[str]) -> None:
    for name in trackers:
        if name not in TRACKERS:
            raise InputError(f"tracker {name!r} is unknown; allowed: {', '.join(TRACKERS)}")
        if name not in map(str, get_available_trackers()):
            raise InputError(f"tracker {name!r} is not installed: pip install {name}")


class Network(nn.Module):
    """The model as all processes train it together.

    Accelerate and FSDP change the module that they are given; this one is between them and the
    user's model.

    Args:
        model: what is trained.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits of pixels."""
        logits: Tensor = self.model(pixels)
        return logits

    @property
    def queried(self) -> nn.Module:
        """Whom to ask outside of a training step: the model, or the network of a sharded one."""
        return self if isinstance(self, FSDPModule) else self.model


class TwoStageNetwork(Network):
    """The same of a model that has a mean response, which many noise draws can share."""

    def mean_response(self, pixels: Tensor) -> Tensor:
        """The response before noise to pixels."""
        before_noise, _ = two_stages(self.model)
        return before_noise(pixels)

    def forward_from_mean_response(self, mean_response: Tensor) -> Tensor:
        """Logits after one draw of noise for each element of a mean response."""
        _, from_noise_on = two_stages(self.model)
        return from_noise_on(mean_response)


def network_of(model: nn.Module) -> Network:
    """The network of a model, with the stages that it has."""
    has_stages = isinstance(inner_model(model), MeanResponseModel)
    return TwoStageNetwork(model) if has_stages else Network(model)


def placed(
    accelerator: Accelerator, model: nn.Module, *, channels_last: bool, shard: bool
) -> Network:
    """A model on its device, with the first process's weights in all of them.

    The model itself is moved. With `shard` and several processes, the network has a copy of it
    whose weights are shared out among the processes (FSDP2).
    """
    shard = shard and accelerator.num_processes > 1
    network = network_of(copy.deepcopy(model) if shard else model).to(accelerator.device)
    if accelerator.num_processes > 1:
        for tensor in network.state_dict().values():
            sent = tensor.contiguous()
            distributed.broadcast(sent, 0)
            tensor.copy_(sent)
    if channels_last:
        network.to(memory_format=torch.channels_last)
    if shard:
        # Whole networks here have at most some hundred MB: one unit, gathered for each pass.
        mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
        # Unless told, FSDP leaves the outermost unit whole after a forward pass, and would then
        # not see weights that are put in between passes, such as averaged ones.
        fully_shard(network, mesh=mesh, reshard_after_forward=True)
        if accelerator.device.type == "cpu" and isinstance(network, FSDPModule):
            # Asked for an average, torch 2.8's gloo gives the sum: gradients twice as large
            network.set_force_sum_reduction_for_comms(True)
        if isinstance(network, TwoStageNetwork):  # the stages need whole weights, too
            register_fsdp_forward_method(network, "mean_response")
            register_fsdp_forward_method(network, "forward_from_mean_response")
    return network


def prepared(accelerator: Accelerator, network: Network) -> nn.Module:
    """The network in mixed precision and, unless it is sharded, in DistributedDataParallel.

    Accelerate's own FSDP2 runs on GPUs only; torch's, which it calls, on any device.
    """
    sharded = isinstance(network, FSDPModule)
    with warnings.catch_warnings():
        # torch 2.15 has a new name for broadcast_buffers, which earlier ones do not know
        warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
        model: nn.Module = accelerator.prepare_model(network, evaluation_mode=sharded)
    return model


def scaled(accelerator: Accelerator, optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """The optimizer, behind a gradient scaler where the precision needs one.

    Accelerate's wrapper does no more than that here, but looks for a package at every step.
    """
    if accelerator.scaler is None:
        return optimizer
    wrapped: torch.optim.Optimizer = accelerator.prepare_optimizer(optimizer)
    return wrapped


@contextmanager
def gradients_kept_back(accelerator: Accelerator, model: nn.Module, wanted: bool) -> Iterator[None]:
    """Within, if wanted: backward passes add up gradients without sending them to others."""
    if not wanted:
        yield
    elif isinstance(model, FSDPModule):
        model.set_requires_gradient_sync(False)
        try:
            yield
        finally:
            model.set_requires_gradient_sync(True)
    else:
        with accelerator.no_sync(model):
            yield


def first_alone(accelerator: Accelerator, work: Callable[[], object]) -> None:
    """Lets the first process do something while the others wait.

    Raises:
        InputError: in every process, what the first one had to say.
    """
    error = None
    if accelerator.is_main_process:
        try:
            work()
        except InputError as raised:
            error = raised
    if accelerator.num_processes > 1:
        words = [None if error is None else str(error)]
        distributed.broadcast_object_list(words, 0)
        if words[0] is not None and error is None:
            error = InputError(words[0])
    if error is not None:
        wait_for_all(accelerator)
        raise error


def wait_for_all(accelerator: Accelerator) -> None:
    """Waits until all processes are here; before leaving, for gloo may abort those left behind."""
    if accelerator.num_processes > 1:
        accelerator.wait_for_everyone()
