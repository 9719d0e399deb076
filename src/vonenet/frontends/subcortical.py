"""Retina and thalamus before V1: light adaptation, centre-surround cells, contrast normalisation.

After the EVNets of Piper, Oliveira & Marques 2025 (NeurIPS 38, arXiv 2506.03089) and their
published code. Pixels in [0, 1], not normalised, become responses of P cells, which oppose two
colours, and of M cells, which see luminance (`docs/frontends.md`):

    light adaptation        x <- (x - m) / (m + 1e-5), m the mean of the whole image
    centre and surround     two Gaussians, each of its own colour, over the sum of their weights
    contrast normalisation  x <- x / (sqrt(G * x^2) + c50)^n, G a Gaussian pool around each pixel
    gain and noise          x + N(0, 1) sqrt(0.4 (|x| + 1e-5))
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from vonenet.errors import InputError
from vonenet.v1.block import check_images
from vonenet.v1.checks import real
from vonenet.v1.gaussian import GaussianBlur, gaussian_profile
from vonenet.v1.noise import Noise

torch.fx.wrap("check_images")

# Piper et al. 2025, published code: what is added to the mean luminance. `lit`, for the ablation
# without contrast normalisation, adds more, and leaves pixels as dark as that out of the mean.
LIGHT_FLOORS = {"all": 1e-5, "lit": 0.05}
# The noise's variance is F (|x| + 1e-5).
NOISE_FLOOR = 1e-5
# Keeps the gradient of a root finite; a millionth of what halves a response.
SMALLEST_CONTRAST = 1e-7
# Radii are those at 32 pixels per degree, 224 px over 7 degrees.
REFERENCE_PIXELS_PER_DEGREE = 32.0
# Windows hold three quarters of a Gaussian's energy.
WINDOW_ENERGY = 0.75
# Centre and surround, weights of red, green and blue
COLORS = {
    "r/g": ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0)),
    "g/r": ((0.0, 1.0, 0.0), (1.0, 0.0, 0.0)),
    "b/y": ((0.0, 0.0, 1.0), (0.5, 0.5, 0.0)),
    "w/b": ((1 / 3, 1 / 3, 1 / 3), (1 / 3, 1 / 3, 1 / 3)),
}


@dataclass(frozen=True)
class CellType:
    """Tuned constants of P or M cells (Piper et al. 2025, published code, `tuning/`).

    Attributes:
        center_px: radius of the centre at 32 pixels per degree, at which it is 1/e.
        surround_px: radius of the surround, likewise.
        surround_weight: height of the surround's Gaussian over that of the centre.
        pool_px: radius of the pool of contrast normalisation, likewise.
        c50: contrast that halves the response, for n = 1.
        exponent: n of contrast normalisation.
        gain: factor of the response.
    """

    center_px: float
    surround_px: float
    surround_weight: float
    pool_px: float
    c50: float
    exponent: float
    gain: float


P_CELLS = CellType(
    center_px=1.494800846305186,
    surround_px=7.1528,
    surround_weight=-0.011894632845946745,
    pool_px=13.4115,
    c50=1.0,
    exponent=1.0,
    gain=5.29525198895458,
)
M_CELLS = CellType(
    center_px=2.4203904,
    surround_px=17.091879253424104,
    surround_weight=-0.0037506100912582663,
    pool_px=28.872192,
    c50=0.18501829502844522,
    exponent=0.8068704487883759,
    gain=2.8494928592250206,
)


@dataclass(frozen=True)
class SubcorticalConfig:
    """Settings of the subcortical stage; the published ablations leave out one part each.

    Attributes:
        p_cells: colours of the P cells, centre and surround, of `r/g`, `g/r`, `b/y`.
        m_cells: those of the M cells: `w/b`.
        light_adaptation: pixels that the mean luminance is of: `all`, those that are `lit`, above
            0.05; None: no light adaptation.
        contrast_normalization: whether contrast normalisation takes part.
        noise: `neuronal` or None.
        fano_factor: variance of the noise over the response.
    """

    name: ClassVar[str] = "subcortical"
    p_cells: tuple[str, ...] = ("r/g", "g/r", "b/y")
    m_cells: tuple[str, ...] = ("w/b",)
    light_adaptation: str | None = "all"
    contrast_normalization: bool = True
    noise: str | None = "neuronal"
    fano_factor: float = 0.4

    def __post_init__(self) -> None:
        for name in ("p_cells", "m_cells"):
            colors = tuple(getattr(self, name))
            unknown = [color for color in colors if color not in COLORS]
            if unknown:
                raise InputError(f"{name} must be of {', '.join(COLORS)}, got {unknown[0]!r}")
            vars(self)[name] = colors
        if not self.p_cells + self.m_cells:
            raise InputError("a subcortical stage needs cells: p_cells and m_cells are empty")
        if self.light_adaptation not in (*LIGHT_FLOORS, None):
            raise InputError(
                f"light_adaptation must be {', '.join(LIGHT_FLOORS)} or None, "
                f"got {self.light_adaptation!r}"
            )
        if self.noise not in ("neuronal", None):
            raise InputError(f"subcortical noise must be 'neuronal' or None, got {self.noise!r}")
        vars(self)["fano_factor"] = real("fano_factor", self.fano_factor, 1e-6, 1e6)

    def build(self, in_channels: int, pixels_per_degree: float) -> Subcortical:
        """Build the stage for colour images of this scale."""
        if in_channels != 3:
            raise InputError(
                f"the subcortical stage opposes colours: in_chans must be 3, got {in_channels}"
            )
        return Subcortical(self, pixels_per_degree)


class LightAdaptation(nn.Module):
    """Contrast: each pixel's distance to the mean of its image, over that mean.

    Args:
        of: pixels that the mean is of, a name in `LIGHT_FLOORS`.
    """

    def __init__(self, of: str) -> None:
        super().__init__()
        self.of = of

    def forward(self, pixels: Tensor) -> Tensor:
        """Return contrasts of the shape of `pixels`, (B, 3, H, W)."""
        floor = LIGHT_FLOORS[self.of]
        if self.of == "lit":
            lit = (pixels > floor).to(pixels.dtype)
            count = lit.sum((1, 2, 3), keepdim=True).clamp_min(1)
            mean = (pixels * lit).sum((1, 2, 3), keepdim=True) / count
        else:
            mean = pixels.mean((1, 2, 3), keepdim=True)
        return (pixels - mean) / (mean + floor)


class CenterSurround(nn.Module):
    """Cells of one type: a Gaussian centre and a surround, each of its own colour.

    Args:
        cells: constants of the type.
        colors: names in `COLORS`, one for each cell.
        scale: pixels per degree over those that the radii are given at.
    """

    center_colors: Tensor
    surround_colors: Tensor

    def __init__(self, cells: CellType, colors: tuple[str, ...], scale: float) -> None:
        super().__init__()
        side = window_side(cells.surround_px * scale)
        self.center = GaussianBlur(cells.center_px * scale, side, total=None)
        self.surround = GaussianBlur(cells.surround_px * scale, side, total=None)
        sums = [
            float(gaussian_profile(radius * scale, side).sum()) ** 2
            for radius in (cells.center_px, cells.surround_px)
        ]
        for name, i, weight in (("center", 0, 1.0), ("surround", 1, cells.surround_weight)):
            rows = torch.tensor([COLORS[color][i] for color in colors], dtype=torch.float64)
            total = sums[0] + cells.surround_weight * sums[1]  # each colour's weights sum to 1
            rows = rows * (weight / abs(total))
            rows = rows.to(torch.get_default_dtype())
            self.register_buffer(f"{name}_colors", rows, persistent=False)

    def forward(self, contrasts: Tensor) -> Tensor:
        """Return responses, (B, cells, H, W)."""
        center = mixed(contrasts, self.center_colors)
        surround = mixed(contrasts, self.surround_colors)
        response: Tensor = self.center(center) + self.surround(surround)
        return response


class ContrastNormalization(nn.Module):
    """Divide each cell's response by the contrast around it."""

    def __init__(self, cells: CellType, scale: float) -> None:
        super().__init__()
        radius = cells.pool_px * scale
        self.pool = GaussianBlur(radius, window_side(radius))
        self.c50, self.exponent = cells.c50, cells.exponent

    def forward(self, responses: Tensor) -> Tensor:
        """Return normalised responses of the shape of `responses`."""
        energy = self.pool(responses * responses)
        energy = energy.to(torch.promote_types(energy.dtype, torch.float32))  # under autocast
        contrast = energy.clamp_min(SMALLEST_CONTRAST**2).sqrt()
        normalized: Tensor = responses / (contrast + self.c50) ** self.exponent
        return normalized.to(responses.dtype)


def mixed(images: Tensor, colors: Tensor) -> Tensor:
    """Return weighted sums of an image's channels: (B, C, H, W) and (n, C) to (B, n, H, W)."""
    return torch.einsum("nc,bchw->bnhw", colors.to(images.dtype), images)


def window_side(radius_px: float) -> int:
    """Return the side of the window that holds three quarters of a Gaussian's energy, pixels."""
    sigma = radius_px / math.sqrt(2)
    return 2 * math.ceil(math.sqrt(-2 * math.log(1 - WINDOW_ENERGY)) * sigma) + 1


class Subcortical(nn.Module):
    """The subcortical stage: pixels in [0, 1] to responses of P cells, then M cells.

    Args:
        config: settings.
        pixels_per_degree: scale of the images.
    """

    gains: Tensor
    in_channels = 3

    def __init__(self, config: SubcorticalConfig, pixels_per_degree: float) -> None:
        super().__init__()
        self.config = config
        self.pixels_per_degree = pixels_per_degree
        self.out_channels = len(config.p_cells) + len(config.m_cells)
        scale = pixels_per_degree / REFERENCE_PIXELS_PER_DEGREE
        types = [(P_CELLS, config.p_cells), (M_CELLS, config.m_cells)]
        types = [(cells, colors) for cells, colors in types if colors]
        adaptation = config.light_adaptation
        self.light_adaptation = LightAdaptation(adaptation) if adaptation else nn.Identity()
        self.cells = nn.ModuleList(CenterSurround(*each, scale) for each in types)
        self.contrast_normalization = nn.ModuleList(
            ContrastNormalization(cells, scale) if config.contrast_normalization else nn.Identity()
            for cells, _ in types
        )
        gains = torch.tensor([cells.gain for cells, colors in types for _ in colors])
        self.register_buffer("gains", gains[:, None, None], persistent=False)
        fano = config.fano_factor
        law: dict[str, Any] = {
            "fano": fano,
            "floor": fano * NOISE_FLOOR,
            "rectified": False,
            "two_sided": True,
        }
        self.noise = Noise(config.noise, 1.0, 0.0, stream=1, **law)

    @property
    def reads(self) -> str:
        """What images are: those that no light adaptation makes contrasts of are normalised.

        As in the published code (`data.py`), which trained that ablation so.
        """
        return "pixels" if self.config.light_adaptation else "normalized"

    def forward(self, pixels: Tensor) -> Tensor:
        """Compute noisy responses, (B, P + M cells, H, W), to pixels, (B, 3, H, W)."""
        return self.respond(self.mean_response(pixels))

    def mean_response(self, pixels: Tensor) -> Tensor:
        """Compute responses before noise. Shapes as `forward`.

        Raises:
            InputError: images that are not a batch of three colours.
        """
        typed = "images / 255" if self.reads == "pixels" else "images / 127.5 - 1"
        check_images(pixels, self.cells[0].center_colors, typed)  # type: ignore[arg-type]
        contrasts = self.light_adaptation(pixels)
        responses = [
            normalize(cells(contrasts))
            for cells, normalize in zip(self.cells, self.contrast_normalization, strict=True)
        ]
        return torch.cat(responses, dim=1) * self.gains

    def respond(self, mean_response: Tensor) -> Tensor:
        """Draw noise on a mean response."""
        noisy: Tensor = self.noise(mean_response)
        return noisy
