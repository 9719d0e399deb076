"""Noise: Gaussian, shot and impulse."""

from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from vonenet.robustness.corruption.draws import Generators, normal, uniform


def gaussian_noise(images: Tensor, std: float, generators: Generators) -> Tensor:
    """Adds normal noise of the given standard deviation."""
    return images + std * normal(generators, images.shape[1:]).to(images)


def shot_noise(images: Tensor, photons: float, generators: Generators) -> Tensor:
    """Draws each value as a Poisson count of which white has `photons`."""
    rates = photons * images.cpu()
    # Torch draws Poisson counts on one core; images have generators of their own, so they can
    # share the cores without a count depending on it.
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        counts = list(pool.map(torch.poisson, rates, generators))
    return torch.stack(counts).to(images) / photons


def impulse_noise(images: Tensor, amount: float, generators: Generators) -> Tensor:
    """Turns a share of the values, colours apart, to black or white with equal chance."""
    draws = uniform(generators, (2, *images.shape[1:])).to(images.device)
    hit, white = draws.unbind(dim=1)
    return torch.where(hit < amount, (white < 0.5).to(images), images)
