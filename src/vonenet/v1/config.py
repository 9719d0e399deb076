"""The settings of a V1 block, and what they default to at each image size."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from vonenet.errors import InputError
from vonenet.v1.checks import LARGEST_SEED, MOST, plain, real, whole
from vonenet.v1.gabor import check_kernel_size
from vonenet.v1.noise import VARIANCE_FLOOR, check_noise
from vonenet.v1.normalization import FixedPoolConfig, NormalizationConfig, normalization_config
from vonenet.v1.parameters import (
    FILTER_PRIORS,
    SCHILLER_CORRELATION,
    GaborParameters,
    draw_parameters,
)
from vonenet.v1.push_pull import PushPullConfig

T = TypeVar("T")

# The published geometry, 224 px over 8 degrees (Dapello, Marques et al. 2020), carried to other
# sizes: the same kernel in degrees, and frequencies up to the Nyquist limit of oblique gratings.
PUBLISHED_KERNEL_DEG = 25 / 28
PUBLISHED_SF_MAX_CPD = 9.0
# Smaller images show less of the world, so that a degree keeps enough pixels for the filters.
# 2 degrees at 64 px are those of Baidya et al. 2021 and Barbulescu et al. 2023.
DEGREES_BY_SIZE_PX = ((128, 8.0), (80, 4.0), (0, 2.0))
STRIDE_BY_SIZE_PX = ((128, 4), (0, 2))

# Lowest and highest value of each whole number and of each real one. Gains stay where responses
# and their variance are normal numbers in single precision; no image shows more than 360 degrees.
WHOLE_LIMITS = {
    "simple_channels": (0, MOST),
    "complex_channels": (0, MOST),
    "in_chans": (1, MOST),
    "stride": (1, MOST),
    "seed": (0, LARGEST_SEED),
    "color_seed": (0, 2**63 - 1),
}
REAL_LIMITS = {
    "visual_degrees": (1e-6, 360.0),
    "sf_min": (0.0, 1e6),
    "sf_max": (1e-6, 1e6),
    "sf_corr": (-1.0, 1.0),
    "k_exc": (1e-6, 1e6),
    "fano_factor": (1e-6, 1e6),
    "noise_floor": (1e-12, 1e6),
}
# Numbers in one phase's weights, 8 GB; more is a mistake in degrees, kernel or cells.
MOST_WEIGHTS = 2**31


@dataclass(frozen=True)
class VOneBlockConfig:
    """Settings of a V1 block. `None` stands for the default of the image size (`resolved`).

    Attributes:
        simple_channels: number of simple cells at each position.
        complex_channels: number of complex cells at each position.
        in_chans: 3 for colour images, 1 for grey ones.
        image_size: height and width that `visual_degrees` refers to, pixels. Other sizes can be
            given to the block all the same; pixels per degree stay.
        visual_degrees: visual angle of the image's shorter side, degrees.
        kernel_size: side of the filters, pixels, odd.
        stride: distance between neighbouring positions, pixels.
        sf_min: lowest spatial frequency, cycles per degree.
        sf_max: highest spatial frequency, cycles per degree.
        sf_corr: correlation of frequency and envelope width (Schiller et al. 1976).
        k_exc: gain of the cells' responses.
        noise: `neuronal`, `gaussian`, or None.
        noise_scale: neuronal: spikes per unit of response; gaussian: standard deviation.
        noise_level: neuronal: spontaneous spikes; gaussian: not used.
        fano_factor: neuronal: variance of the spikes over their mean.
        noise_floor: neuronal: variance at silence, spikes^2.
        rectified: whether noisy responses below 0 are set to 0.
        filters: `biological`, `by_cell_type`, `uniform`, `legacy` and `legacy_uniform` (the
            original's draws), or `given` (parameters or weights from elsewhere, such as a published
            file).
        seed: seed of the filters.
        channel_shares: share of the cells that reads each input channel, in [0, 1], 1 in all; None:
            each cell reads any of them, as likely.
        dc_balanced: whether a uniform field drives no filter: its mean is taken off in the shape of
            the envelope. In the published filters it is not.
        push_pull: settings of the push-pull inhibition of simple cells; None: there is none.
        trainable: whether the filters' parameters are trained (`v1/trainable.py`).
        color_seed: for the original's draws: the torch seed that its colours came from.
        normalization: divisive normalisation between gain and noise, by a fixed pool
            (`FixedPoolConfig`) or a trained one (`TrainablePoolConfig`); None: none.
    """

    simple_channels: int = 256
    complex_channels: int = 256
    in_chans: int = 3
    image_size: int | tuple[int, int] = 224
    visual_degrees: float | None = None
    kernel_size: int | None = None
    stride: int | None = None
    sf_min: float = 0.0
    sf_max: float | None = None
    sf_corr: float = SCHILLER_CORRELATION
    k_exc: float = 25.0
    noise: str | None = "neuronal"
    noise_scale: float = 0.35
    noise_level: float = 0.07
    fano_factor: float = 1.0
    noise_floor: float = VARIANCE_FLOOR
    rectified: bool = True
    filters: str = "biological"
    seed: int = 0
    color_seed: int = 0
    channel_shares: tuple[float, ...] | None = None
    dc_balanced: bool = False
    normalization: NormalizationConfig | None = None
    push_pull: PushPullConfig | None = None
    trainable: bool = False

    def __post_init__(self) -> None:
        """Make every number a plain Python one.

        Raises:
            InputError: a value that cannot be used, named with what is allowed.
        """
        checked: dict[str, Any] = {}
        for name, value in vars(self).items():
            if value is None and name in ("visual_degrees", "kernel_size", "stride", "sf_max"):
                continue
            if name in WHOLE_LIMITS:
                checked[name] = whole(name, value, *WHOLE_LIMITS[name])
            elif name in REAL_LIMITS:
                checked[name] = real(name, value, *REAL_LIMITS[name])
            elif name == "kernel_size":
                checked[name] = check_kernel_size(value)
        pair = image_size_pair(self.image_size)
        checked["image_size"] = pair[0] if isinstance(plain(self.image_size), int) else pair
        names = "noise", "noise_scale", "noise_level"
        noise = check_noise(self.noise, self.noise_scale, self.noise_level)
        vars(self).update(checked | dict(zip(names, noise, strict=True)))
        if self.out_channels == 0:
            raise InputError("a V1 block needs cells: simple_channels + complex_channels is 0")
        for name in ("rectified", "dc_balanced", "trainable"):
            if not isinstance(getattr(self, name), bool):
                raise InputError(f"{name} must be True or False, got {getattr(self, name)!r}")
        self._check_shares()
        vars(self)["normalization"] = normalization_config(self.normalization)
        if isinstance(self.push_pull, Mapping):  # as files have it
            vars(self)["push_pull"] = PushPullConfig(**self.push_pull)
        if not isinstance(self.push_pull, PushPullConfig | None):
            raise InputError(f"push_pull must be a PushPullConfig or None, got {self.push_pull!r}")
        if self.trainable and (self.push_pull or isinstance(self.normalization, FixedPoolConfig)):
            raise InputError(
                "trainable=True contradicts push_pull and a fixed normalization pool, which are "
                "made once from the filters; allowed: one of them, or a TrainablePoolConfig"
            )
        if not isinstance(self.filters, str) or self.filters not in (*FILTER_PRIORS, "given"):
            raise InputError(
                f"filters must be one of {', '.join(FILTER_PRIORS)} or given, got {self.filters!r}"
            )

    def _check_shares(self) -> None:
        """Make the shares plain numbers, or raise InputError unless their sum is 1."""
        if self.channel_shares is None:
            return
        shares = tuple(real("channel_shares", share, 0, 1) for share in self.channel_shares)
        if not math.isclose(sum(shares), 1, abs_tol=0.01):
            raise InputError(f"channel_shares must be numbers of sum 1, got {shares}")
        vars(self)["channel_shares"] = shares

    @property
    def out_channels(self) -> int:
        """Number of cells at each position, simple ones first."""
        return self.simple_channels + self.complex_channels

    @property
    def pixels_per_degree(self) -> float:
        """Pixels in one degree of visual angle."""
        return min(image_size_pair(self.image_size)) / self.resolved_visual_degrees

    @property
    def resolved_visual_degrees(self) -> float:
        """Visual angle of the image's shorter side, the default where none was given."""
        if self.visual_degrees is not None:
            return self.visual_degrees
        return _by_size(DEGREES_BY_SIZE_PX, min(image_size_pair(self.image_size)))

    def resolved(self) -> VOneBlockConfig:
        """Return this configuration with every default filled in.

        Raises:
            InputError: more weights than can be held.
        """
        shorter_px = min(image_size_pair(self.image_size))
        kernel_px = PUBLISHED_KERNEL_DEG * self.pixels_per_degree
        nyquist_of_oblique_cpd = self.pixels_per_degree / (2 * math.sqrt(2))
        resolved = dataclasses.replace(
            self,
            image_size=image_size_pair(self.image_size),
            visual_degrees=self.resolved_visual_degrees,
            kernel_size=self.kernel_size or 2 * math.ceil((kernel_px - 1) / 2) + 1,
            stride=self.stride or _by_size(STRIDE_BY_SIZE_PX, shorter_px),
            sf_max=self.sf_max or min(PUBLISHED_SF_MAX_CPD, nyquist_of_oblique_cpd),
        )
        resolved._check_size()
        return resolved

    def _check_size(self) -> None:
        """Raise InputError if the weights of these settings cannot be held."""
        assert self.kernel_size is not None
        n = self.out_channels * self.in_chans * self.kernel_size**2
        if n > MOST_WEIGHTS:
            raise InputError(
                f"{self.out_channels} cells with kernels of {self.kernel_size} px (kernel_size) at "
                f"{self.pixels_per_degree:.3g} pixels/degree have {n:.2g} weights, at most "
                f"{MOST_WEIGHTS:.2g} are allowed; see visual_degrees, kernel_size and the channels"
            )


# Names of the settings
FIELDS = tuple(field.name for field in dataclasses.fields(VOneBlockConfig))


def drawn_parameters(config: VOneBlockConfig) -> GaborParameters | None:
    """Return the filters of a resolved configuration; None for those that come from elsewhere."""
    if config.filters == "given":
        return None
    assert config.sf_max is not None
    return draw_parameters(
        config.out_channels,
        filters=config.filters,
        seed=config.seed,
        color_seed=config.color_seed,
        sf_min=config.sf_min,
        sf_max=config.sf_max,
        sf_corr=config.sf_corr,
        in_chans=config.in_chans,
        n_simple=config.simple_channels,
        channel_shares=config.channel_shares,
    )


def image_size_pair(image_size: int | Sequence[int]) -> tuple[int, int]:
    """Return height and width from one number or two.

    Raises:
        InputError: not one or two positive whole numbers.
    """
    size = plain(image_size)
    sides = (size, size) if isinstance(size, int) else size
    try:
        height, width = (whole("image_size", side, 1) for side in sides)
    except (InputError, TypeError, ValueError) as error:
        raise InputError(
            f"image_size must be a positive number of pixels or a (height, width) pair, "
            f"got {image_size!r}"
        ) from error
    return height, width


def _by_size(table: tuple[tuple[int, T], ...], size_px: int) -> T:
    return next(value for smallest_px, value in table if size_px >= smallest_px)
