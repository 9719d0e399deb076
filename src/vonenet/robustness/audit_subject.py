"""A model under audit: what it keeps after attacks, each measured once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from math import sqrt

import torch
from torch import Tensor, nn

from vonenet.data.dataset import ImageDataset
from vonenet.data.seeding import device_of, seeded
from vonenet.robustness.attack_condition import Attack
from vonenet.robustness.evaluate import is_stochastic
from vonenet.robustness.sampling import averaged_gradient, averaged_probabilities

# The radii that the reference is chosen from, in powers of 4 as EVNets' (science.md 3.1), for L-inf
# and, at 224 px, for the others; and the radius that turns any image grey.
LADDER = {
    "linf": (1 / 1020, 1 / 255, 4 / 255, 16 / 255, 64 / 255),
    "l2": (0.15, 0.6, 2.4, 9.6, 38.4),
    "l1": (40.0, 160.0, 640.0, 2560.0, 10240.0),
}
DECISION_SAMPLES = 10


@dataclass
class Subject:
    """A model under audit, and how it is attacked.

    Attributes:
        model: Takes pixels; in eval mode.
        images: (N, C, H, W) in [0, 1].
        labels: (N,) true classes.
        probe: The attack that is varied; its radius is 0.
        stochastic: Whether two passes differ.
        seed: Of noise and of random starts.
    """

    model: nn.Module
    images: Tensor
    labels: Tensor
    probe: Attack
    stochastic: bool
    seed: int

    @classmethod
    def of(
        cls,
        model: nn.Module,
        part: ImageDataset,
        norm: str,
        steps: int,
        gradient_samples: int,
        batch_size: int | None,
        seed: int,
    ) -> Subject:
        """The model with a part of a data set, attacked as the arguments say."""
        device = device_of(model)
        images = torch.stack([part[index][0] for index in range(len(part))]).to(device)
        stochastic = is_stochastic(model, part, seed)
        probe = Attack(norm, 0.0, steps, gradient_samples, batch_size=batch_size)
        if not stochastic:
            probe = replace(probe, stop_samples=1).for_deterministic_model()
        return cls(model, images, part.labels.to(device), probe, stochastic, seed)

    def attacked(self, attack: Attack, by: nn.Module | None = None) -> Tensor:
        """Adversarial images, made with this model or another."""
        return attack.perturb(
            by or self.model, self.images, self.labels, seed=self.seed, first_index=0
        )

    def kept(self, images: Tensor) -> Tensor:
        """Whether each image is decided right, on average over noise; on the CPU."""
        samples = DECISION_SAMPLES if self.stochastic else 1
        size = self.probe.batch_size or len(images)
        chances = [
            averaged_probabilities(self.model, b, samples) for b in torch.split(images, size)
        ]
        return (torch.cat(chances).argmax(dim=1) == self.labels).cpu()

    def after(self, attack: Attack) -> Tensor:
        """Whether each image withstands an attack."""
        return self.kept(self.attacked(attack))

    def gradient(self, images: Tensor) -> Tensor:
        """Averaged gradients, a batch at a time."""
        size = self.probe.batch_size or len(images)
        batches = zip(torch.split(images, size), torch.split(self.labels, size), strict=True)
        samples = self.probe.gradient_samples
        return torch.cat([averaged_gradient(self.model, x, y, samples) for x, y in batches])

    @cached_property
    def classes(self) -> int:
        """Number of logits."""
        with torch.no_grad(), seeded(self.seed, self.images.device):
            return int(self.model(self.images[:1]).shape[1])

    @cached_property
    def clean(self) -> Tensor:
        """Whether each image is decided right as it is."""
        return self.kept(self.images)

    @cached_property
    def radii(self) -> tuple[float, ...]:
        """The ladder for this image size, and the radius that can turn any image grey."""
        channels, height, width = self.images.shape[1:]
        values, pixels = channels * height * width, height * width / 224**2
        scale = {"linf": 1.0, "l2": sqrt(pixels), "l1": pixels}[self.probe.norm]
        grey = {"linf": 0.5, "l2": 0.5 * sqrt(values), "l1": 0.5 * values}[self.probe.norm]
        return (*(scale * radius for radius in LADDER[self.probe.norm]), grey)

    @cached_property
    def by_radius(self) -> list[Tensor]:
        """Whether each image withstands the probe, for every radius."""
        return [self.after(replace(self.probe, epsilon=radius)) for radius in self.radii]

    @cached_property
    def reference(self) -> tuple[Attack, Tensor]:
        """The probe at the most telling radius, and which images withstand it.

        Of radii that tell as much, the largest: where the probe fails at all, another attack shows
        it there.
        """
        half = share_of(self.clean) / 2
        distances = [abs(share_of(kept) - half) for kept in self.by_radius[:-1]]
        chosen = max(i for i, distance in enumerate(distances) if distance == min(distances))
        return replace(self.probe, epsilon=self.radii[chosen]), self.by_radius[chosen]


def share_of(mask: Tensor) -> float:
    """Share of a boolean mask that is true."""
    return float(mask.float().mean())
