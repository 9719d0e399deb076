"""Trainable Gabor filters: their parameters, not their pixels, are learned.

The kernels are computed from the parameters at each call, by the formula of `gabor.py`, so that a
filter stays a Gabor filter. `distribution_penalty` keeps the filters of a block together as they
were measured in V1: a cell may change, the population does not.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn

from vonenet.errors import InputError
from vonenet.v1.config import VOneBlockConfig, drawn_parameters
from vonenet.v1.gabor import sampled_gabors
from vonenet.v1.parameters import Array, GaborParameters

# Learned numbers, in units in which the measured distributions are about as wide as each other
NAMES = ("log2_frequency_cpd", "orientation_rad", "phase_rad", "log2_nx_cycles", "log2_ny_cycles")
# After how much an orientation or a phase is the same again
PERIODS = {"orientation_rad": math.pi, "phase_rad": 2 * math.pi}
# Those that depend on each other (Ringach 2002, Schiller et al. 1976)
TOGETHER = ("log2_frequency_cpd", "log2_nx_cycles", "log2_ny_cycles")
# Cells of the measured distribution for each cell that is compared with it
CELLS_PER_CELL = 64


class GaborBank(nn.Module):
    """Both phases of n Gabor filters, computed from parameters that are trained.

    Args:
        parameters: where they start; None: NaN, to be loaded.
        config: settings of the block, every default filled in.
    """

    color_channel: Tensor
    color_channel_q1: Tensor

    def __init__(self, parameters: GaborParameters | None, config: VOneBlockConfig) -> None:
        super().__init__()
        self._config, n = config, config.out_channels
        values = {} if parameters is None else learned(parameters)
        for name in NAMES:
            start = values.get(name, np.full(n, np.nan))
            self.register_parameter(name, nn.Parameter(torch.tensor(start.tolist())))
        for name in ("color_channel", "color_channel_q1"):
            channels = [0] * n if parameters is None else getattr(parameters, name).tolist()
            self.register_buffer(name, torch.tensor(channels))

    def forward(self) -> tuple[Tensor, Tensor]:
        """Return dense weights of phase 0 and phase 90, (n, in_chans, k, k) each."""
        return self._weight(0.0, self.color_channel), self._weight(90.0, self.color_channel_q1)

    def _weight(self, phase_deg: float, color_channel: Tensor) -> Tensor:
        c, p = self._config, {name: getattr(self, name) for name in NAMES}
        assert c.kernel_size is not None
        cycles_per_px = 2 ** p["log2_frequency_cpd"] / c.pixels_per_degree
        kernels = sampled_gabors(
            p["orientation_rad"],
            p["phase_rad"] + math.radians(phase_deg),
            cycles_per_px,
            2 ** p["log2_nx_cycles"] / cycles_per_px,
            2 ** p["log2_ny_cycles"] / cycles_per_px,
            kernel_size=c.kernel_size,
            dc_balanced=c.dc_balanced,
        )
        channels = torch.arange(c.in_chans, device=kernels.device)
        reads = (color_channel[:, None] == channels).to(kernels.dtype)
        return reads[:, :, None, None] * kernels[:, None]

    def gabor_parameters(self) -> GaborParameters | None:
        """Return the parameters as they are now; None where they are still to be loaded."""
        if any(each.is_meta or not each.isfinite().all() for each in self.parameters()):
            return None
        p = {name: getattr(self, name).detach().double().cpu().numpy() for name in NAMES}
        return GaborParameters(
            orientation_deg=np.rad2deg(p["orientation_rad"]),
            frequency_cpd=np.exp2(p["log2_frequency_cpd"]),
            phase_deg=np.rad2deg(p["phase_rad"]),
            nx_cycles=np.exp2(p["log2_nx_cycles"]),
            ny_cycles=np.exp2(p["log2_ny_cycles"]),
            color_channel=self.color_channel.cpu().numpy(),
            color_channel_q1=self.color_channel_q1.cpu().numpy(),
        )

    def penalty(self) -> Tensor:
        """Return what `distribution_penalty` does, for this bank."""
        c, total = self._config, torch.zeros(())
        for first, count in ((0, c.simple_channels), (c.simple_channels, c.complex_channels)):
            if count:
                p = {name: getattr(self, name)[first : first + count] for name in NAMES}
                total = total.to(p["phase_rad"]) + count / c.out_channels * _distance(
                    p, *_prior(c, count, is_simple=first == 0)
                )
        return total

    def extra_repr(self) -> str:
        """Return the number of filters, for the printed model."""
        return f"{self._config.out_channels} filters"


def distribution_penalty(model: nn.Module) -> Tensor:
    """Return how far the trainable filters of a block or model are from their measured prior.

    For simple and complex cells, and each of the five parameters: the Wasserstein-1 distance to the
    quantiles of the prior, over the prior's standard deviation; on the circle for orientation and
    phase. To it comes the mean difference of the correlations of log frequency, log nx and log ny
    (with the distributions of each they say what the copula is). Fresh filters, a sample of the
    prior, are not at 0.

    Raises:
        InputError: no filters are trainable, or they were given and have no prior.
    """
    banks = [module for module in model.modules() if isinstance(module, GaborBank)]
    if not banks:
        raise InputError("the model has no trainable Gabor filters; build it with trainable=True")
    return torch.stack([bank.penalty() for bank in banks]).sum()


def learned(parameters: GaborParameters) -> Mapping[str, Array]:
    """Return parameters in the units in which they are trained, by name."""
    return {
        "log2_frequency_cpd": np.log2(parameters.frequency_cpd),
        "orientation_rad": np.deg2rad(parameters.orientation_deg),
        "phase_rad": np.deg2rad(parameters.phase_deg),
        "log2_nx_cycles": np.log2(parameters.nx_cycles),
        "log2_ny_cycles": np.log2(parameters.ny_cycles),
    }


@lru_cache(maxsize=16)
def _prior(
    config: VOneBlockConfig, count: int, is_simple: bool
) -> tuple[Mapping[str, tuple[Tensor, float]], Tensor]:
    """Return quantiles for so many cells and the standard deviation, by name; and correlations."""
    n = count * CELLS_PER_CELL
    cells = (n, 0) if is_simple else (0, n)
    many = drawn_parameters(
        dataclasses.replace(config, simple_channels=cells[0], complex_channels=cells[1], seed=0)
    )
    if many is None:
        raise InputError(
            "filters='given' have no measured distribution; allowed: one of the priors"
        )
    values = learned(many)
    quantiles = {
        name: (
            torch.tensor(np.sort(of_all).reshape(count, -1).mean(1)),
            PERIODS[name] / math.sqrt(12) if name in PERIODS else float(of_all.std()),
        )
        for name, of_all in values.items()
    }
    return quantiles, torch.tensor(np.corrcoef([values[name] for name in TOGETHER]))


def _distance(
    found: Mapping[str, Tensor],
    quantiles: Mapping[str, tuple[Tensor, float]],
    correlations: Tensor,
) -> Tensor:
    """Return the sum of the distances of one cell type."""
    total = (_correlations(found) - correlations.to(found["phase_rad"])).abs().sum() / 6
    for name, values in found.items():
        wanted, deviation = quantiles[name]
        distance = wasserstein(values, wanted.to(values), PERIODS.get(name))
        total = total + distance / deviation
    return total


def wasserstein(values: Tensor, quantiles: Tensor, period: float | None = None) -> Tensor:
    """Return the Wasserstein-1 distance of n values to n quantiles, also on a circle.

    On a circle the best matching keeps the order, and begins anywhere (Delon, Salomon & Sobolevski
    2010, SIAM J Appl Math 70:2239).
    """
    if period is None:
        return (values.sort().values - quantiles).abs().mean()
    values, quantiles = (each.remainder(period).sort().values for each in (values, quantiles))
    places = torch.arange(len(values), device=values.device)
    turned = quantiles[(places[:, None] + places) % len(values)]
    apart = (values - turned).abs()
    return torch.minimum(apart, period - apart).mean(1).min()


def _correlations(found: Mapping[str, Tensor]) -> Tensor:
    rows = torch.stack([found[name] - found[name].mean() for name in TOGETHER])
    lengths: Tensor = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    rows = rows / lengths.clamp_min(1e-12)
    return rows @ rows.T
