"""Validation: the share of right decisions, the same however many processes share the work."""

from __future__ import annotations

from collections.abc import Callable

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import DataLoader

from vonenet.data.dataset import ImageDataset
from vonenet.robustness.sampling import averaged_probabilities
from vonenet.training.batches import Loader, outlive_signals
from vonenet.training.recipe import TrainingRecipe
from vonenet.training.seeds import seed_at, seed_torch

MOST_IMAGES = 256  # of a validation batch, which needs less memory than a training step's


class Validation:
    """Validation images, in batches that depend on the recipe alone.

    Args:
        accelerator: device, precision, processes.
        dataset: the images.
        recipe: batch size, noise draws of a decision, seed.
    """

    def __init__(
        self, accelerator: Accelerator, dataset: ImageDataset, recipe: TrainingRecipe
    ) -> None:
        self._accelerator = accelerator
        self._recipe = recipe
        self._images = len(dataset)
        descent = recipe.optimization
        size = min(descent.micro_batch_size or descent.batch_size, MOST_IMAGES)
        batches = torch.split(torch.arange(self._images), size)
        rank, processes = accelerator.process_index, accelerator.num_processes
        rounds = range(0, len(batches), processes)
        # Sharded weights are gathered by all at once, so all have to take as many batches: those
        # who have none left repeat the last one, which is not counted.
        self._numbers = [first + rank for first in rounds]
        self._counted = [number < len(batches) for number in self._numbers]
        self._loader: Loader = DataLoader(
            dataset,  # type: ignore[arg-type]  # collation turns labels into tensors
            batch_sampler=[batches[min(n, len(batches) - 1)].tolist() for n in self._numbers],
            num_workers=recipe.data.workers,
            persistent_workers=recipe.data.workers > 0,
            pin_memory=accelerator.device.type == "cuda",
            worker_init_fn=outlive_signals,
            generator=torch.Generator(),
        )

    @torch.no_grad()
    def accuracy(self, model: nn.Module, epoch: int, stopped: Callable[[], bool]) -> float | None:
        """Share of right decisions; None if it was stopped.

        Args:
            model: takes pixels; in eval mode.
            epoch: sets the noise.
            stopped: asked before each batch; the same in every process.
        """
        descent, device = self._recipe.optimization, self._accelerator.device
        hits = torch.zeros((), dtype=torch.int64, device=device)
        for number, counted, (pixels, labels) in zip(
            self._numbers, self._counted, self._loader, strict=True
        ):
            if stopped():
                return None
            seed_torch(seed_at(descent.seed, "validation", epoch, number), device)
            right = self._right(model, pixels.to(device, non_blocking=True), labels.to(device))
            hits += right if counted else 0
        total = self._accelerator.reduce(hits, "sum")
        return int(total) / self._images

    def _right(self, model: nn.Module, pixels: Tensor, labels: Tensor) -> Tensor:
        samples = self._recipe.optimization.decision_samples
        with self._accelerator.autocast():
            decisions = averaged_probabilities(model, pixels, samples).argmax(dim=1)
        return (decisions == labels).sum()
