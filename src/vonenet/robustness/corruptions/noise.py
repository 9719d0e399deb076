"""Noise: Gaussian, shot, impulse and speckle; and how a batch draws its random numbers."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

Generators = Sequence[torch.Generator]  # one on the CPU for each image of a batch


def normal(generators: Generators, shape: Sequence[int]) -> Tensor:
    """Draw standard normal numbers, (B, *shape) on the CPU."""
    return torch.stack([torch.randn(tuple(shape), generator=each) for each in generators])


def uniform(
    generators: Generators, shape: Sequence[int], low: float = 0, high: float = 1
) -> Tensor:
    """Draw uniform numbers in [low, high), (B, *shape) on the CPU."""
    draws = torch.stack([torch.rand(tuple(shape), generator=each) for each in generators])
    return low + (high - low) * draws


def integers(generators: Generators, shape: Sequence[int], low: int, high: int) -> Tensor:
    """Draw whole numbers from low to high - 1, (B, *shape) on the CPU."""
    draws = [torch.randint(low, high, tuple(shape), generator=each) for each in generators]
    return torch.stack(draws)


def gaussian_noise(images: Tensor, std: float, generators: Generators) -> Tensor:
    """Add normal noise of the given standard deviation."""
    return images + std * normal(generators, images.shape[1:]).to(images)


def shot_noise(images: Tensor, photons: float, generators: Generators) -> Tensor:
    """Draw each value as a Poisson count; white has `photons` on average."""
    rates = photons * images.cpu()
    # Torch draws Poisson counts on one core. Each image has its own generator, so images can
    # share the cores without changing a count.
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        counts = list(pool.map(torch.poisson, rates, generators))
    return torch.stack(counts).to(images) / photons


def impulse_noise(images: Tensor, amount: float, generators: Generators) -> Tensor:
    """Turn a share of the values, each colour apart, to black or white with equal chance."""
    draws = uniform(generators, (2, *images.shape[1:])).to(images.device)
    hit, white = draws.unbind(dim=1)
    return torch.where(hit < amount, (white < 0.5).to(images), images)


def speckle_noise(images: Tensor, std: float, generators: Generators) -> Tensor:
    """Add normal noise in proportion to each value."""
    return images + images * std * normal(generators, images.shape[1:]).to(images)
