"""What each V1 filter looks like, and the published measurements that these numbers are drawn from.

Written from the parameter tables of Dapello, Marques et al. 2020. One sampler
serves every prior: they differ in their histograms, and one seed gives the same phases in all.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import ndtr

from vonenet.errors import InputError
from vonenet.v1.checks import LARGEST_SEED, real, whole

Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Histogram:
    """A density that is uniform within each bin, on a linear or logarithmic axis.

    Attributes:
        edges: bin edges, ascending, on the natural axis (degrees, cycles per degree, cycles).
        counts: cells counted in each bin, one fewer than the edges.
        log: whether the density within a bin is uniform in the logarithm.
    """

    edges: tuple[float, ...]
    counts: tuple[float, ...]
    log: bool = False

    def quantile(self, u: Array) -> Array:
        """Return the inverse of the cumulative distribution, for u in [0, 1)."""
        axis = np.log2(self.edges) if self.log else np.asarray(self.edges)
        cumulative = np.concatenate([[0.0], np.cumsum(self.counts) / np.sum(self.counts)])
        value = np.interp(u, cumulative, axis)
        return np.exp2(value) if self.log else value

    def between(self, low: float, high: float) -> Histogram:
        """Cut exactly at `low` and `high`; a cut bin keeps its share of cells."""
        axis = np.log2 if self.log else np.asarray
        edges, counts = [], []
        for a, b, count in zip(self.edges[:-1], self.edges[1:], self.counts, strict=True):
            left, right = max(a, low), min(b, high)
            if left >= right:
                continue
            edges.append(left)
            end = right
            counts.append(count * float((axis(right) - axis(left)) / (axis(b) - axis(a))))
        return Histogram((*edges, end), tuple(counts), self.log) if edges else Histogram((), ())

    def whole_bins_between(self, low: float, high: float) -> Histogram:
        """Keep the bins that lie entirely within [low, high], as the original code does."""
        inside = [edge for edge in self.edges if low <= edge <= high]
        return self.between(inside[0], inside[-1]) if inside else Histogram((), ())


# De Valois, Yund & Hepler 1982 (Vision Research 22:531), preferred orientation, degrees.
ORIENTATION_DEG = Histogram((-22.5, 22.5, 67.5, 112.5, 157.5), (66, 49, 77, 54))

# De Valois, Albrecht & Thorell 1982 (Vision Research 22:545), peak frequency of foveal simple
# cells, cycles per degree. The original VOneNet's copy stops at 8 and has 32 in the fifth bin.
FREQUENCY_CPD = Histogram(
    (0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0, 5.6, 8.0, 11.2, 16.0, 22.4),
    (4, 4, 8, 25, 33, 26, 28, 12, 5, 2, 1),
    log=True,
)
LEGACY_FREQUENCY_CPD = Histogram(
    (0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0, 5.6, 8.0), (4, 4, 8, 25, 32, 26, 28, 12), log=True
)

# De Valois, Albrecht & Thorell 1982, foveal simple and complex cells apart, as Barbulescu et al.
# 2024 and Piper et al. 2025 draw them: what lies above 8 is in the last bin.
FREQUENCIES_BY_CELL_TYPE = tuple(
    Histogram((0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0, 5.6, 8.0, 11.2), counts, log=True)
    for counts in ((4, 4, 8, 25, 33, 26, 28, 12, 8), (0, 0, 9, 9, 7, 10, 23, 12, 14))
)

# Ringach 2002 (J Neurophysiol 88:455), envelope widths in cycles of the carrier, joint counts:
# rows are nx (across the bars), columns ny (along the bars).
WIDTH_EDGES_CYCLES = tuple(float(edge) for edge in np.logspace(-1, 0.2, 6))
WIDTH_COUNTS = (
    (2, 0, 1, 0, 0),
    (8, 9, 4, 1, 0),
    (1, 2, 19, 17, 3),
    (0, 0, 1, 7, 4),
    (0, 0, 0, 0, 0),
)
# Barbulescu et al. 2024, Piper et al. 2025, published code: the first four bins, up to one cycle
WIDTH_COUNTS_TO_1 = tuple(row[:4] for row in WIDTH_COUNTS[:4])
WIDTH_EDGES_TO_1_CYCLES = tuple(float(edge) for edge in np.logspace(-1, 0, 5))

# Schiller, Finlay & Volman 1976 (J Neurophysiol 39:1334): frequency and bandwidth go together.
SCHILLER_CORRELATION = 0.75

# The original's draws, and those of its `rand_param=True`
LEGACY = ("legacy", "legacy_uniform")
FILTER_PRIORS = ("biological", "by_cell_type", "uniform", *LEGACY)


@dataclass(frozen=True, eq=False)
class GaborParameters:
    """The parameters of n Gabor filters (quadrature pairs), each an array of shape (n,).

    Attributes:
        orientation_deg: direction of the carrier, degrees in [0, 180), 0 along the rows' axis.
        frequency_cpd: spatial frequency, cycles per degree of visual angle, > 0.
        phase_deg: phase of the first filter of the pair, degrees; the second is 90 further.
        nx_cycles: envelope's standard deviation along the carrier, in cycles, > 0.
        ny_cycles: envelope's standard deviation across the carrier, in cycles, > 0.
        color_channel: input channel that the first filter reads.
        color_channel_q1: input channel that the second reads. The same but for `legacy` filters.
    """

    orientation_deg: Array
    frequency_cpd: Array
    phase_deg: Array
    nx_cycles: Array
    ny_cycles: Array
    color_channel: IntArray
    color_channel_q1: IntArray

    def __post_init__(self) -> None:
        shapes = {name: np.shape(value) for name, value in vars(self).items()}
        if len(set(shapes.values())) != 1 or len(shapes["phase_deg"]) != 1:
            raise InputError(f"Gabor parameters must be arrays of one length, got shapes {shapes}")
        for name, value in vars(self).items():
            if not np.isfinite(value).all():
                raise InputError(f"{name} must be finite, got {value[~np.isfinite(value)][0]}")
        for name in ("frequency_cpd", "nx_cycles", "ny_cycles"):
            if not np.all(getattr(self, name) > 0):
                raise InputError(f"{name} must be positive, got {np.min(getattr(self, name))}")

    def __len__(self) -> int:
        return len(self.phase_deg)

    @property
    def sigma_x_deg(self) -> Array:
        """Envelope's standard deviation along the carrier, degrees of visual angle."""
        return self.nx_cycles / self.frequency_cpd

    @property
    def sigma_y_deg(self) -> Array:
        """Envelope's standard deviation across the carrier, degrees of visual angle."""
        return self.ny_cycles / self.frequency_cpd

    def to_dict(self) -> dict[str, list[float]]:
        """Return lists by field name; `from_dict` gives the same parameters, bit for bit."""
        return {name: value.tolist() for name, value in vars(self).items()}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> GaborParameters:
        """Build parameters from lists by field name.

        Raises:
            InputError: a field is missing or unknown, or the lists do not fit together.
        """
        names = [field.name for field in dataclasses.fields(cls)]
        if set(data) != set(names):
            raise InputError(f"Gabor parameters need the fields {names}, got {sorted(data)}")
        arrays: dict[str, Any] = {
            name: np.asarray(data[name], np.int64 if name.startswith("color") else np.float64)
            for name in names
        }
        return cls(**arrays)


def draw_parameters(
    n: int,
    *,
    filters: str = "biological",
    seed: int = 0,
    color_seed: int = 0,
    sf_min: float = 0.0,
    sf_max: float = 9.0,
    sf_corr: float = SCHILLER_CORRELATION,
    in_chans: int = 3,
    n_simple: int | None = None,
    channel_shares: Sequence[float] | None = None,
) -> GaborParameters:
    """Draw n Gabor filters from a prior; the same arguments give the same filters on any machine.

    Args:
        n: number of filters.
        filters: `biological` (measured distributions, frequency tied to bandwidth), `uniform` (the
            same ranges, independent and uniform), `by_cell_type` (simple and complex cells by
            their own frequencies, envelopes up to one cycle), or the original code's draws:
            `legacy`, and `legacy_uniform` for its `rand_param=True`.
        seed: seed of every draw; for the original's, its `gabor_seed`.
        color_seed: for the original's, the torch seed that its colours came from.
        sf_min: lowest frequency, cycles per degree; the data begin at 0.5.
        sf_max: highest frequency, cycles per degree; the data end at 22.4 (the original's: at 8).
        sf_corr: correlation of frequency and nx in the Gaussian copula, in [-1, 1].
        in_chans: number of input channels that colours are drawn from.
        n_simple: for `by_cell_type`, how many filters, the first, are simple cells'; half of them.
        channel_shares: share of the filters that reads each channel; None: each is as likely.

    Raises:
        InputError: an unknown prior, or no frequency left between `sf_min` and `sf_max`.
    """
    if filters not in FILTER_PRIORS:
        raise InputError(f"filters must be one of {', '.join(FILTER_PRIORS)}, got {filters!r}")
    n, seed = whole("n", n), whole("seed", seed, 0, LARGEST_SEED)
    sf_corr = real("sf_corr", sf_corr, -1, 1)
    simple, complex_ = _frequency_priors(filters, sf_min, sf_max)
    rng = np.random.RandomState(seed)  # its stream is frozen: new numpy versions draw the same
    phase_deg = 360.0 * rng.random_sample(n)
    orientation_u = rng.random_sample(n)
    if filters == "by_cell_type":
        n_simple = n // 2 if n_simple is None else n_simple
        groups = [_widths_and_frequency_u(k, sf_corr, rng) for k in (n_simple, n - n_simple)]
        nx_u, ny_u, frequency_u = np.concatenate(groups, axis=1)
    elif filters == "legacy_uniform":
        n_simple = n
        frequency_u, nx_u, ny_u = rng.random_sample((3, n))
    else:
        n_simple = n
        nx_u, ny_u, frequency_u = _widths_and_frequency_u(n, sf_corr, rng)
    if filters == "uniform":
        frequency_u = ndtr(rng.standard_normal(n))  # independent of nx
    if filters in ("uniform", "legacy_uniform"):
        width = Histogram((WIDTH_EDGES_CYCLES[0], WIDTH_EDGES_CYCLES[-1]), (1,), log=True)
        orientation_deg = 180.0 * orientation_u
        nx_cycles, ny_cycles = width.quantile(nx_u), width.quantile(ny_u)
    elif filters == "by_cell_type":
        orientation_deg = ORIENTATION_DEG.quantile(orientation_u)
        nx_cycles, ny_cycles = _measured_widths(
            nx_u, ny_u, WIDTH_EDGES_TO_1_CYCLES, WIDTH_COUNTS_TO_1
        )
    else:
        orientation_deg = ORIENTATION_DEG.quantile(orientation_u)
        orientation_deg[orientation_deg < 0] += 180.0
        nx_cycles, ny_cycles = _measured_widths(nx_u, ny_u, WIDTH_EDGES_CYCLES, WIDTH_COUNTS)
    if filters in LEGACY:  # most pairs get two colours, as in the original
        torch_rng = torch.Generator().manual_seed(color_seed)
        color_q0, color_q1 = torch.randint(0, in_chans, (2, n), generator=torch_rng).numpy()
    elif channel_shares is not None:
        if len(channel_shares) != in_chans:
            raise InputError(
                f"channel_shares must be {in_chans} numbers, one for each channel that V1 reads, "
                f"got {tuple(channel_shares)}"
            )
        color_q0 = color_q1 = _shared_out(n, channel_shares, rng)
    else:
        color_q0 = color_q1 = np.floor(rng.random_sample(n) * in_chans).astype(np.int64)
    return GaborParameters(
        orientation_deg=orientation_deg,
        frequency_cpd=np.concatenate(
            [simple.quantile(frequency_u[:n_simple]), complex_.quantile(frequency_u[n_simple:])]
        ),
        phase_deg=phase_deg,
        nx_cycles=nx_cycles,
        ny_cycles=ny_cycles,
        color_channel=color_q0,
        color_channel_q1=color_q1,
    )


def _frequency_priors(filters: str, sf_min: float, sf_max: float) -> tuple[Histogram, Histogram]:
    """Return the frequencies of simple and of complex cells."""
    if filters != "by_cell_type":
        prior = _frequency_prior(filters, sf_min, sf_max)
        return prior, prior
    whole_bins = (each.whole_bins_between(sf_min, sf_max) for each in FREQUENCIES_BY_CELL_TYPE)
    simple, complex_ = (
        _some(each, sf_min, sf_max, FREQUENCIES_BY_CELL_TYPE[0]) for each in whole_bins
    )
    return simple, complex_


def _frequency_prior(filters: str, sf_min: float, sf_max: float) -> Histogram:
    if filters == "legacy":
        prior = LEGACY_FREQUENCY_CPD.whole_bins_between(sf_min, sf_max)
    elif filters == "legacy_uniform":  # over its bins; one that ends at sf_max is left out
        edges = LEGACY_FREQUENCY_CPD.edges
        bins = Histogram(edges, (1,) * (len(edges) - 1), log=True)
        prior = bins.whole_bins_between(sf_min, np.nextafter(sf_max, 0))
    elif filters == "uniform":
        low, high = FREQUENCY_CPD.edges[0], FREQUENCY_CPD.edges[-1]
        prior = Histogram((low, high), (1,), log=True).between(sf_min, sf_max)
    else:
        prior = FREQUENCY_CPD.between(sf_min, sf_max)
    return _some(
        prior, sf_min, sf_max, LEGACY_FREQUENCY_CPD if filters in LEGACY else FREQUENCY_CPD
    )


def _some(prior: Histogram, sf_min: float, sf_max: float, table: Histogram) -> Histogram:
    """Return a prior, or raise InputError if nothing is left of its table."""
    if not prior.counts or sum(prior.counts) == 0:
        raise InputError(
            f"no spatial frequency between sf_min={sf_min} and sf_max={sf_max} cycles/degree: "
            f"the measured distribution spans {table.edges[0]} to {table.edges[-1]}"
        )
    return prior


def _correlated_uniforms(normals: Array, correlation: float) -> tuple[Array, Array]:
    """Make two uniform variables whose normal scores have this correlation (Gaussian copula).

    The eigenvectors are written out, with the signs that LAPACK gives, so that the draws equal
    numpy's `multivariate_normal` (which the original used) and do not depend on the library.
    """
    first, second = normals.T
    if correlation == 0:
        return ndtr(first), ndtr(second)
    sign = np.sign(correlation)
    major = -np.sqrt((1 + abs(correlation)) / 2) * first
    minor = np.sqrt((1 - abs(correlation)) / 2) * second
    return ndtr(major - sign * minor), ndtr(sign * major + minor)


def _widths_and_frequency_u(n: int, sf_corr: float, rng: np.random.RandomState) -> Array:
    """Draw uniform variables for nx, ny and frequency, (3, n); the first and last go together."""
    nx_u, frequency_u = _correlated_uniforms(rng.standard_normal((n, 2)), sf_corr)
    return np.stack([nx_u, rng.random_sample(n), frequency_u])


def _measured_widths(
    nx_u: Array, ny_u: Array, edges: tuple[float, ...], counts: tuple[tuple[int, ...], ...]
) -> tuple[Array, Array]:
    """Return nx by the table's rows, and ny by the row that nx lies in."""
    nx_cycles = Histogram(edges, tuple(map(sum, counts)), log=True).quantile(nx_u)
    last_row = max(row for row, cells in enumerate(counts) if any(cells))
    row_of_cell = np.searchsorted(edges, nx_cycles, side="right") - 1
    row_of_cell = np.clip(row_of_cell, 0, last_row)
    ny_cycles = np.empty_like(nx_cycles)
    for row in np.unique(row_of_cell):
        cells = row_of_cell == row
        ny_given_nx = Histogram(edges, counts[row], log=True)
        ny_cycles[cells] = ny_given_nx.quantile(ny_u[cells])
    return nx_cycles, ny_cycles


def _shared_out(n: int, shares: Sequence[float], rng: np.random.RandomState) -> IntArray:
    """Return a channel for each of n filters, as many of each as its share says, shuffled.

    What rounding leaves over is the third channel's, as in Piper et al. 2025, or the last one's.
    """
    counts = [round(share * n) for share in shares]
    counts[min(2, len(counts) - 1)] += n - sum(counts)
    channels = np.repeat(np.arange(len(counts)), counts)
    rng.shuffle(channels)
    return channels
