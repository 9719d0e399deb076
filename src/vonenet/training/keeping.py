"""What is kept of a run in its folder: its state, to go on from, and its weights, to use."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import torch
from accelerate import Accelerator
from safetensors.torch import save
from torch import nn
from torch.distributed.fsdp import FSDPModule

from vonenet.errors import InputError
from vonenet.files import replace_whole
from vonenet.training.averaging import WeightAverage
from vonenet.training.checkpoints import Checkpoint, read_checkpoint, write_checkpoint
from vonenet.training.position import Position
from vonenet.training.processes import Network, first_alone
from vonenet.training.state import (
    AVERAGE,
    MODEL,
    OPTIMIZER,
    fill_all,
    model_tensors,
    optimizer_state,
    prefixed,
    restore_optimizer,
    under,
    whole,
)

Export: TypeAlias = Callable[[nn.Module, Path], object]


class Keeper:
    """Saves and restores a run. Without a folder it does nothing.

    Args:
        accelerator: device, precision, processes.
        run: folder of the run.
        model: the user's.
        network: as trained: the model, or its sharded copy.
        average: of the weights, if any.
        optimizer: of the trained parameters.
        images: of the data set.
        export: writes a model's weights.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        run: Path | None,
        model: nn.Module,
        network: Network,
        average: WeightAverage | None,
        optimizer: torch.optim.Optimizer,
        images: int,
        export: Export,
    ) -> None:
        self.accelerator = accelerator
        self.run = run
        self.model = model
        self.network = network
        self.average = average
        self.optimizer = optimizer
        self.images = images
        self._export = export
        self._sharded = isinstance(network, FSDPModule)

    def resume(self) -> Position:
        """Takes up the last checkpoint; where there is none, the run is at its start.

        Raises:
            CheckpointError: if it is damaged, or of another network.
            InputError: if it is of other data.
        """
        run = self.run
        if run is None:
            return Position()
        # the first process removes damaged ones before the others look
        first_alone(self.accelerator, lambda: read_checkpoint(run))
        checkpoint = read_checkpoint(run)
        if checkpoint is None:
            return Position()
        tensors, facts = checkpoint.tensors, checkpoint.facts
        if facts["images"] != self.images:
            raise InputError(
                f"{run} holds a run on {facts['images']} images, not {self.images}; "
                "allowed: the same data, or another folder"
            )
        fill_all(self.network.model.state_dict(), under(MODEL, tensors))
        if self.average is not None:
            fill_all(self.average.values, under(AVERAGE, tensors))
        restore_optimizer(self.optimizer, under(OPTIMIZER, tensors), facts["optimizer"])
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(facts["scaler"])
        return Position.from_facts(facts["position"])

    def save(self, position: Position) -> None:
        """Makes the present state the last checkpoint, on disk when this returns.

        Raises:
            InputError: if it cannot be written; the one before is still good.
        """
        run = self.run
        if run is None:
            return
        checkpoint = self._checkpoint(position) if self._takes_part else None

        def write() -> None:
            assert checkpoint is not None
            write_checkpoint(run, checkpoint)

        first_alone(self.accelerator, write)

    def export(self, name: str) -> None:
        """Writes the present weights under a name.

        Raises:
            InputError: if the file cannot be written.
        """
        run = self.run
        if run is None:
            return
        self.hand_back()
        first_alone(
            self.accelerator,
            lambda: replace_whole(run / name, lambda path: self._export(self.model, path)),
        )

    def hand_back(self) -> None:
        """Gives the user's model the present weights, which it has unless they are sharded."""
        if self._sharded:
            fill_all(self.model.state_dict(), model_tensors(self.network.model))

    @property
    def _takes_part(self) -> bool:
        """Whether this process has a part in the state that is written."""
        return self._sharded or self.accelerator.is_main_process

    def _checkpoint(self, position: Position) -> Checkpoint:
        memory, facts = optimizer_state(self.optimizer)
        tensors = prefixed(MODEL, model_tensors(self.network.model)) | prefixed(OPTIMIZER, memory)
        if self.average is not None:
            average = {name: whole(value) for name, value in self.average.values.items()}
            tensors |= prefixed(AVERAGE, average)
        scaler = self.accelerator.scaler
        return Checkpoint(
            tensors,
            {
                "position": position.facts(),
                "images": self.images,
                "optimizer": facts,
                "scaler": None if scaler is None else scaler.state_dict(),
            },
        )


def export_state_dict(model: nn.Module, path: Path) -> None:
    """Writes a model's state dict as safetensors."""
    path.write_bytes(save(model_tensors(model)))
