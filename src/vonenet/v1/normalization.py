"""Divisive normalisation: a cell's response over that of a pool of cells around it.

It stands between V1's gain and its noise; responses x are 0 or more. There are two kinds.

    fixed       y_i = gain (x_i + u_i mean_j x_j)^n / (c^m + s_i sum_j w_ij (G * x_j^m))

after Heeger 1992 (Visual Neuroscience 9:181), where n = m = 2; Carandini & Heeger 2012 (Nature
Reviews Neuroscience 13:51), where n = m; and Schuett & Wichmann 2017 (J Vision 17(12):12), where
n > m. G is a Gaussian in space of sum 1; w_ij falls off, as a Gaussian, with the distance of the
cells' preferred orientations and of the logarithms of their frequencies, and its rows sum to 1. So
the pool is an average response, and c the response at which it halves. u = 0 but where cells are to
be as broadly tuned as many of V1 are (Ringach, Shapley & Hawken 2002, J Neurosci 22:5639): it is
ours, an excitation from all cells at a position. s_i = 1 and u_i = u, or both vary among cells, as
the strength of surrounds and the breadth of tuning do in V1 (Cavanaugh, Bair & Movshon 2002, J
Neurophysiol 88:2530, figure 5; Ringach et al. 2002, figure 3): then s is drawn from a gamma, and u
from an exponential distribution of that mean.

    trainable   y_i = x_i / (|b| + sum_j w_ij * x_j)

after the VOneNetDN of Cirincione et al. 2022 (SVRHM, OpenReview KAAbo44qhJV). w_ij is a Gaussian in
space of six trained numbers for each pair of channels: height, two widths, angle and centre.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from scipy.special import gammaincinv
from torch import Tensor, nn
from torch.nn import functional as F

from vonenet.errors import InputError
from vonenet.v1.checks import LARGEST_SEED, real, whole
from vonenet.v1.gabor import check_kernel_size
from vonenet.v1.gaussian import blurred, gaussian_profile
from vonenet.v1.parameters import Array, GaborParameters

# The window of the pool's Gaussian ends at so many standard deviations: 99 % of it, on each axis.
POOL_REACH = 2.5
# Smallest variance of a trained Gaussian, positions^2: a narrower one falls between positions.
SMALLEST_VARIANCE = 0.1


# Shape of the gamma distribution of the strength of a cell's pool. Ours: so 398 of 510 cells of
# `vonenet2026` are suppressed by a tenth and more, as 148 of 190 in V1 (Cavanaugh et al. 2002).
STRENGTH_SHAPE = 0.5


@dataclass(frozen=True)
class FixedPoolConfig:
    """Settings of normalisation by a fixed pool. The formula's letters are in brackets.

    Attributes:
        kind: `fixed`.
        sigma_deg: standard deviation of the pool in space [G], degrees of visual angle.
        orientation_deg: standard deviation of the pool's weights over the distance of preferred
            orientations, degrees; None: all orientations count alike.
        frequency_octaves: the same over the distance of preferred frequencies, octaves.
        per_color: whether a cell's pool is of those alone that read the same input channel.
        exponent: of a cell's own response [n].
        pool_exponent: of the responses in the pool [m].
        semi_saturation: response [c] of the pool, in units of V1's response, that halves a cell's.
        gain: factor of the response.
        untuned_drive: excitation [u] by the average response of all cells at the same position.
        varied: whether each cell has a pool's strength [s] and an untuned drive of its own.
        seed: of what is drawn for each cell.
    """

    kind: str = "fixed"
    sigma_deg: float = 0.5
    orientation_deg: float | None = None
    frequency_octaves: float | None = None
    per_color: bool = False
    exponent: float = 1.0
    pool_exponent: float = 1.0
    semi_saturation: float = 1.0
    gain: float = 1.0
    untuned_drive: float = 0.0
    varied: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        _check_kind(self, "fixed")
        limits = {
            "sigma_deg": (1e-6, 360.0),
            "orientation_deg": (0.1, 1e6),
            "frequency_octaves": (0.01, 1e6),
            "exponent": (1.0, 10.0),  # below 1 the gradient at 0 is infinite
            "pool_exponent": (1.0, 10.0),
            "semi_saturation": (1e-6, 1e6),
            "gain": (1e-6, 1e6),
            "untuned_drive": (0.0, 1e6),
        }
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if value is not None or name not in ("orientation_deg", "frequency_octaves"):
                vars(self)[name] = real(name, value, low, high)
        _check_bool(self, "per_color")
        _check_bool(self, "varied")
        vars(self)["seed"] = whole("seed", self.seed, 0, LARGEST_SEED)

    def build(
        self, n: int, parameters: GaborParameters | None, positions_per_degree: float
    ) -> FixedPool:
        """Build the module for n cells; of unknown filters its weights come with the filters."""
        weight = pool_weights(self, n, parameters)
        return FixedPool(self, weight, positions_per_degree, n)


@dataclass(frozen=True)
class TrainablePoolConfig:
    """Settings of normalisation by a trained pool.

    Attributes:
        kind: `trainable`.
        kernel_size: side of the Gaussians' windows, positions of V1's map, odd.
        per_pair: whether each pair of channels has a Gaussian of its own, as published, which for n
            channels costs n^2 k^2 multiplications at each position. If not, each channel has one,
            and each pair its height: n k^2 + n^2.
    """

    kind: str = "trainable"
    kernel_size: int = 9
    per_pair: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        _check_kind(self, "trainable")
        vars(self)["kernel_size"] = check_kernel_size(self.kernel_size)
        vars(self)["seed"] = whole("seed", self.seed, 0, LARGEST_SEED)
        _check_bool(self, "per_pair")

    def build(
        self, n: int, parameters: GaborParameters | None, positions_per_degree: float
    ) -> TrainablePool:
        """Build the module for n cells; it starts from chance, whatever the filters are."""
        return TrainablePool(self, n)


NormalizationConfig: TypeAlias = FixedPoolConfig | TrainablePoolConfig
KINDS: dict[str, Any] = {"fixed": FixedPoolConfig, "trainable": TrainablePoolConfig}


def normalization_config(given: Any) -> NormalizationConfig | None:
    """Return settings, made of a mapping with its `kind` where they come from a file.

    Raises:
        InputError: a kind or a setting that is not known.
    """
    if given is None or isinstance(given, NormalizationConfig):
        return given
    if not isinstance(given, Mapping) or given.get("kind") not in KINDS:
        raise InputError(
            f"normalization must be a FixedPoolConfig, a TrainablePoolConfig, None, or a mapping "
            f"whose kind is one of {', '.join(KINDS)}, got {given!r}"
        )
    kind = KINDS[given["kind"]]
    if unknown := set(given) - set(kind.__dataclass_fields__):
        known = ", ".join(kind.__dataclass_fields__)
        raise InputError(f"normalization has no setting {min(unknown)!r}; known: {known}")
    config: NormalizationConfig = kind(**given)
    return config


class FixedPool(nn.Module):
    """Divide responses by those of a fixed pool.

    Args:
        config: settings.
        weight: the pools' weights, (pools, cells): one pool for all cells, or one for each. They
            are saved with the filters that they were made for, and so are both factors below.
        positions_per_degree: positions of V1's map in one degree of visual angle.
        n: number of cells.
    """

    weight: Tensor
    strength: Tensor | None  # s and u of each cell, (cells, 1, 1)
    untuned: Tensor | None

    def __init__(
        self, config: FixedPoolConfig, weight: Tensor, positions_per_degree: float, n: int
    ) -> None:
        super().__init__()
        self.config = config
        self.sigma = config.sigma_deg * positions_per_degree
        self.register_buffer("weight", weight)
        strength, untuned = varied_factors(n, config.seed) if config.varied else (None, None)
        self.register_buffer("strength", strength)
        self.register_buffer("untuned", None if untuned is None else config.untuned_drive * untuned)

    def forward(self, responses: Tensor) -> Tensor:
        """Return normalised responses of the shape of `responses`, (B, cells, H, W)."""
        c = self.config
        pool = pooled(_power(responses, c.pool_exponent), self.weight, self.sigma)
        if self.strength is not None:
            pool = self.strength * pool
        drive = responses
        if c.untuned_drive:
            factor = c.untuned_drive if self.untuned is None else self.untuned
            drive = drive + factor * responses.mean(1, keepdim=True)
        own = _power(drive, c.exponent)
        normalized: Tensor = c.gain * own / (c.semi_saturation**c.pool_exponent + pool)
        return normalized


def varied_factors(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Draw a pool's strength and a factor of the untuned drive for each of n cells, (n, 1, 1).

    Both have mean 1. They are their distributions' quantiles at the middles of n equal shares, in
    random order: few cells have the distribution as many do.
    """
    generator = np.random.default_rng(seed)
    shares = [(generator.permutation(n) + 0.5) / n for _ in range(2)]
    strength = gammaincinv(STRENGTH_SHAPE, shares[0]) / STRENGTH_SHAPE
    both = (torch.from_numpy(each)[:, None, None] for each in (strength, -np.log1p(-shares[1])))
    first, second = (each.to(**_default()) for each in both)
    return first, second


@torch.fx.wrap
def pooled(responses: Tensor, weight: Tensor, sigma: float) -> Tensor:
    """Mix the channels of responses (B, C, H, W) by weights (pools, C), and blur them.

    Args:
        responses: what is pooled.
        weight: the mixture.
        sigma: standard deviation of the blur, positions; beyond the borders responses are mirrored.
    """
    mixed = F.conv2d(responses, weight[:, :, None, None])
    profile = gaussian_profile(math.sqrt(2) * sigma, 2 * math.ceil(POOL_REACH * sigma) + 1)
    return blurred(mixed, (profile / profile.sum()).to(mixed))


def pool_weights(config: FixedPoolConfig, n: int, parameters: GaborParameters | None) -> Tensor:
    """Return how much each of n cells counts in each pool, (pools, n); rows sum to 1.

    Where all cells count alike there is one pool, otherwise one for each cell. Of unknown filters
    they are not numbers.
    """
    default = _default()
    orientation, octaves = config.orientation_deg, config.frequency_octaves
    if orientation is None and octaves is None and not config.per_color:
        return torch.full((1, n), 1 / n, **default)
    if parameters is None:
        return torch.full((n, n), torch.nan, **default)
    weights = np.ones((n, n))
    if orientation is not None:
        distance = np.abs(_differences(parameters.orientation_deg)) % 180
        weights *= _gaussian(np.minimum(distance, 180 - distance), orientation)
    if octaves is not None:
        weights *= _gaussian(_differences(np.log2(parameters.frequency_cpd)), octaves)
    if config.per_color:
        weights *= _differences(parameters.color_channel.astype(np.float64)) == 0
    return torch.from_numpy(weights / weights.sum(1, keepdims=True)).to(**default)


class TrainablePool(nn.Module):
    """Divide responses by those of a pool whose weights are trained.

    The initial values are those of the published network, as re-implemented: heights in [0, 1],
    widths and b in [1, 2], any angle, centres normal about the middle. Each Gaussian turns about
    its own centre.

    Args:
        config: settings.
        n: number of cells.
    """

    def __init__(self, config: TrainablePoolConfig, n: int) -> None:
        super().__init__()
        self.config = config
        self.cells = n
        shape = (n, n) if config.per_pair else (n,)
        generator = torch.Generator("cpu").manual_seed(config.seed)

        def drawn(draw: Callable[..., Tensor], *shape: int) -> Tensor:
            values = draw(shape, generator=generator, device="cpu", dtype=torch.float32)
            return values.to(**_default())

        self.height = nn.Parameter(drawn(torch.rand, n, n))
        self.width_x = nn.Parameter(1 + drawn(torch.rand, *shape))
        self.width_y = nn.Parameter(1 + drawn(torch.rand, *shape))
        self.angle = nn.Parameter(2 * math.pi * drawn(torch.rand, *shape))
        self.center_x = nn.Parameter(drawn(torch.randn, *shape))
        self.center_y = nn.Parameter(drawn(torch.randn, *shape))
        self.bias = nn.Parameter(1 + drawn(torch.rand))

    def forward(self, responses: Tensor) -> Tensor:
        """Return normalised responses of the shape of `responses`, (B, cells, H, W)."""
        gaussians, height = self.gaussians(), self.height.abs()[:, :, None, None]
        padding = self.config.kernel_size // 2
        if self.config.per_pair:
            pool = F.conv2d(responses, height * gaussians, padding=padding)
        else:
            blurs = F.conv2d(responses, gaussians[:, None], padding=padding, groups=self.cells)
            pool = F.conv2d(blurs, height)
        return responses / (self.bias.abs() + pool)

    def gaussians(self) -> Tensor:
        """Return the Gaussians, each of sum 1 in an unbounded window: (..., k, k), rows x."""
        half = self.config.kernel_size // 2
        offsets = torch.arange(-half, half + 1, dtype=self.angle.dtype, device=self.angle.device)
        x = offsets[:, None] - self.center_x[..., None, None]
        y = offsets - self.center_y[..., None, None]
        cos, sin = (each[..., None, None] for each in (self.angle.cos(), self.angle.sin()))
        along, across = x * cos + y * sin, y * cos - x * sin
        variance_x, variance_y = (
            (width**2).clamp_min(SMALLEST_VARIANCE)[..., None, None]
            for width in (self.width_x, self.width_y)
        )
        density = torch.exp(-0.5 * (along**2 / variance_x + across**2 / variance_y))
        return density / (2 * math.pi * (variance_x * variance_y).sqrt())


def _default() -> dict[str, Any]:
    return {"device": torch.get_default_device(), "dtype": torch.get_default_dtype()}


def _power(responses: Tensor, exponent: float) -> Tensor:
    return responses if exponent == 1 else responses**exponent


def _differences(values: Array) -> Array:
    return values[:, None] - values


def _gaussian(distance: Array, sigma: float) -> Array:
    weight: Array = np.exp(-0.5 * (distance / sigma) ** 2)
    return weight


def _check_kind(config: NormalizationConfig, kind: str) -> None:
    if config.kind != kind:
        raise InputError(f"the kind of a {type(config).__name__} is {kind!r}, got {config.kind!r}")


def _check_bool(config: NormalizationConfig, name: str) -> None:
    if not isinstance(getattr(config, name), bool):
        raise InputError(f"{name} must be True or False, got {getattr(config, name)!r}")
