"""Weather: snow, frost, fog, brightness and spatter."""

import importlib.util
from collections.abc import Sequence
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d, interpolate, pad

from vonenet.data.decoding import as_channels, as_pixels, decode, read_image_file
from vonenet.errors import InputError
from vonenet.robustness.corruptions.blur import centre_zoom, line_blur, smooth
from vonenet.robustness.corruptions.noise import Generators, integers, normal, uniform

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as the grey of OpenCV and Pillow
WATER, MUD = (175, 238, 238), (63, 42, 20)  # of 255; pale turquoise and brown
# The published code draws from the first five of the six photographs that it comes with.
FROST_FILES = ("frost1.png", "frost2.png", "frost3.png", "frost4.jpg", "frost5.jpg")
# Mean colour and standard deviation of those five, which procedural frost takes over
FROST_MEAN = (
    (0.305, 0.585, 0.650),
    (0.787, 0.805, 0.841),
    (0.787, 0.805, 0.841),
    (0.540, 0.599, 0.648),
    (0.441, 0.484, 0.528),
)
FROST_STD = (0.08, 0.09, 0.09, 0.11, 0.17)
PROCEDURAL_SIDE = 512
CANNY_THRESHOLDS = (50, 150)
TAN_22_5 = 13573  # in units of 2**-15, as in OpenCV's Canny
# Steps of a 5 x 5 chamfer distance (straight, diagonal, knight's), times 2**16: Borgefors 1986,
# Distance transformations in digital images, as OpenCV rounds them.
STRAIGHT, DIAGONAL, KNIGHT = 65536, 91750, 143976
FAR = 1 << 29
FARTHEST_PX = 20
EMBOSS = ((-2, -1, 0), (-1, 1, 1), (0, 1, 2))


def snow(
    images: Tensor,
    constant: tuple[float, float, float, float, int, float, float],
    generators: Generators,
) -> Tensor:
    """Whiten the scene and add streaks of flakes: one layer, and the same layer upside down."""
    mean, std, zoom, threshold, radius, sigma_px, image_weight = constant
    draws = normal(generators, (1, *images.shape[-2:]))
    angles_deg = uniform(generators, (), -135, -45)
    flakes = centre_zoom(mean + std * draws, zoom)
    flakes = torch.where(flakes < threshold, 0, flakes).clamp(0, 1).to(images)
    streaks = line_blur(flakes, radius, sigma_px, angles_deg)
    whitened = torch.maximum(images, 1.5 * _grey(images) + 0.5)
    scene = image_weight * images + (1 - image_weight) * whitened
    return scene + streaks + streaks.rot90(2, dims=(2, 3))


def fog(images: Tensor, constant: tuple[float, float], generators: Generators) -> Tensor:
    """Add a plasma fractal and scale back, so that the brightest pixel stays as bright."""
    amount, decay = constant
    height, width = images.shape[-2:]
    side = 1 << (max(height, width) - 1).bit_length()
    fractal = plasma_fractal(uniform(generators, (side * side,), -1, 1), decay)
    brightest = images.amax(dim=(1, 2, 3), keepdim=True)
    mist = fractal[:, None, :height, :width].to(images)
    return (images + amount * mist) * brightest / (brightest + amount)


def brightness(images: Tensor, amount: float, _: Generators) -> Tensor:
    """Add to the value of HSV, which scales a colour about black; black itself becomes grey."""
    value = images.amax(dim=1, keepdim=True)
    brighter = (value + amount).clamp(max=1)
    scale = torch.where(value > 0, brighter / value, 0)
    return torch.where(value > 0, images * scale, brighter)


def plasma_fractal(draws: Tensor, decay: float) -> Tensor:
    """Make fractal maps by the diamond-square algorithm on a torus, (B, side, side) from 0 to 1.

    From one corner, each halving of the grid sets the centres of its squares and then the middles
    of its edges to the mean of their four neighbours plus a random step. The published code
    multiplies the step's amplitude with itself, so steps shrink by the square of `decay`. Draws are
    (B, side * side), uniform in [-1, 1); side is a power of two.
    """
    side = round(draws.shape[1] ** 0.5)
    maps = draws.new_zeros(len(draws), side, side)
    step, amplitude, used = side, 1.0, 0
    while step >= 2:
        half, cells = step // 2, side // step
        steps = amplitude * draws[:, used : used + 3 * cells * cells]
        centres, tops, lefts = steps.reshape(-1, 3, cells, cells).unbind(dim=1)
        corners = maps[:, ::step, ::step]
        below = corners + corners.roll(-1, dims=1)
        right = corners + corners.roll(-1, dims=2)
        squares = (below + below.roll(-1, dims=2)) / 4 + centres
        maps[:, half::step, half::step] = squares
        maps[:, ::step, half::step] = (right + squares + squares.roll(1, dims=1)) / 4 + tops
        maps[:, half::step, ::step] = (below + squares + squares.roll(1, dims=2)) / 4 + lefts
        step, amplitude, used = half, amplitude / decay**2, used + 3 * cells * cells
    least, greatest = maps.amin(dim=(1, 2), keepdim=True), maps.amax(dim=(1, 2), keepdim=True)
    return (maps - least) / (greatest - least)


# --- frost ---------------------------------------------------------------------------------------


def frost(
    images: Tensor,
    constant: tuple[float, float, float],
    generators: Generators,
    *,
    textures: Sequence[Tensor],
) -> Tensor:
    """Add a random crop of a frost texture, of which each is (3, H, W) in [0, 1].

    The constant is the weight of the image, that of the frost, and the size of the textures
    relative to their files (larger where they would not cover the image).
    """
    image_weight, frost_weight, scale = constant
    height, width = images.shape[-2:]
    crops = []
    which = integers(generators, (), 0, len(textures)).tolist()
    for number, generator in zip(which, generators, strict=True):
        texture = _scaled(textures[number], scale, height, width)
        top, left = (
            int(torch.randint(have - want + 1, (), generator=generator))
            for have, want in zip(texture.shape[1:], (height, width), strict=True)
        )
        crops.append(texture[:, top : top + height, left : left + width])
    ice = torch.stack(crops).to(images)
    return image_weight * images + frost_weight * (ice if images.shape[1] == 3 else _grey(ice))


def frost_procedural(
    images: Tensor, constant: tuple[float, float, float], generators: Generators
) -> Tensor:
    """Add frost that is computed, not photographed: similar in strength, not the published type."""
    return frost(images, constant, generators, textures=procedural_textures())


def find_frost(folder: Path | str | None = None) -> tuple[str, Path]:
    """Find the five published frost photographs: what result rows call them, and their folder.

    The folder holds frost1.png to frost3.png, frost4.jpg and frost5.jpg. If none is given, the
    package `imagecorruptions-imaug` ships them.

    Raises:
        InputError: If they are not there.
    """
    if folder is not None:
        source, path = f"folder {folder}", Path(folder)
    else:
        package = importlib.util.find_spec("imagecorruptions")
        if package is None or package.origin is None:
            raise InputError(
                "frost needs its published textures: run pip install 'vonenet[corruptions]', give "
                "frost_folder, or ask for frost_procedural, which is ours and in no published mean"
            )
        source, path = "published", Path(package.origin).parent / "frost"
    missing = [name for name in FROST_FILES if not (path / name).is_file()]
    if missing:
        raise InputError(f"frost folder {str(path)!r} lacks {missing[0]}; needed: {FROST_FILES}")
    return source, path


@lru_cache(maxsize=4)
def frost_textures(folder: Path) -> tuple[Tensor, ...]:
    """Read the published textures, (3, H, W) each in [0, 1], from a folder that holds all five."""
    pictures = []
    for name in FROST_FILES:
        image = decode(read_image_file(folder / name), str(folder / name))
        pictures.append(as_pixels(as_channels(image, 3)))
    return tuple(pictures)


@cache
def procedural_textures() -> tuple[Tensor, ...]:
    """Draw needles of ice over soft clouds in the colours of each photograph; always the same.

    Each is (3, side, side) in [0, 1].
    """
    textures = []
    shape = (1, PROCEDURAL_SIDE, PROCEDURAL_SIDE)
    for number, (mean, std) in enumerate(zip(FROST_MEAN, FROST_STD, strict=True)):
        generators = [torch.Generator().manual_seed(1000 * number + i) for i in range(16)]
        sparks = normal(generators, shape) * (uniform(generators, shape) < 0.005)
        needles = line_blur(sparks, 12, 8, uniform(generators, (), -180, 180)).amax(dim=0)
        clouds = plasma_fractal(uniform(generators[:1], (PROCEDURAL_SIDE**2,), -1, 1), decay=1.5)
        relief = needles / needles.std() + clouds / clouds.std()
        relief = (relief - relief.mean()) / relief.std()
        textures.append((torch.tensor(mean)[:, None, None] + std * relief).clamp(0, 1))
    return tuple(textures)


@lru_cache(maxsize=16)
def _scaled(texture: Tensor, scale: float, height: int, width: int) -> Tensor:
    """Scale a texture so that it covers height x width; shared, never write to it."""
    rows, columns = texture.shape[1:]
    scale = max(scale, height / rows, width / columns)
    size = [max(round(scale * rows), height), max(round(scale * columns), width)]
    return interpolate(texture[None], size=size, mode="bilinear")[0]


# --- spatter: the published chain in whole grey levels, as OpenCV computes it, on the CPU --------


def spatter(
    images: Tensor,
    constant: tuple[float, float, float, float, float, int],
    generators: Generators,
) -> Tensor:
    """Splash the lens with water (light severities) or with mud."""
    mean, std, sigma_px, threshold, strength, muddy = constant
    liquid = smooth(mean + std * normal(generators, images.shape[-2:]), sigma_px)
    if not muddy:
        splash = strength * water(torch.where(liquid < threshold, 0, liquid))
        return images + splash[:, None].to(images) * _colour(WATER, images)
    cover = smooth((liquid > threshold).float(), sigma_px=strength)
    cover = torch.where(cover < 0.8, 0, cover)[:, None].to(images)
    return images * (1 - cover) + _colour(MUD, images) * cover


def water(liquid: Tensor) -> Tensor:
    """Compute how much of the water's colour the drops add: their edges refract the light.

    Canny's edges, the distance from them (truncated, smoothed), histogram equalised, embossed and
    smoothed: at most 1, from a thickness that is 0 where it is dry, both (B, H, W).
    """
    levels = (255 * liquid).floor().clamp(0, 255)
    distance = torch.from_numpy(chamfer_distance(canny_edges(levels)))
    shade = _box3(distance.clamp(max=FARTHEST_PX)).float().floor()
    shade = torch.stack([_equalised(each) for each in shade.to(torch.uint8)])
    embossed = conv2d(_mirrored(shade)[:, None], shade.new_tensor(EMBOSS)[None, None])[:, 0]
    refracted = levels * _box3(embossed.clamp(0, 255)).round()
    most = refracted.amax(dim=(1, 2), keepdim=True)
    return refracted / most.where(most > 0, 1)


def canny_edges(levels: Tensor) -> np.ndarray:
    """Find Canny's edges of grey levels (B, H, W), by a 3 x 3 Sobel operator and the L1 norm."""
    low, high = CANNY_THRESHOLDS
    padded = pad(levels[:, None], (1, 1, 1, 1), mode="replicate")[:, 0].int()
    rows = padded[:, :, :-2] + 2 * padded[:, :, 1:-1] + padded[:, :, 2:]
    columns = padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]
    down, right = rows[:, 2:] - rows[:, :-2], columns[:, :, 2:] - columns[:, :, :-2]
    magnitude = down.abs() + right.abs()
    candidates = (magnitude > low) & _is_ridge(magnitude, down, right)
    strong = candidates & (magnitude > high)
    touching = np.zeros((3, 3, 3))
    touching[1] = 1  # edges of one image connect, images do not
    labels, count = ndimage.label(candidates.numpy(), touching)
    kept = np.zeros(count + 1, dtype=bool)
    kept[labels[strong.numpy()]] = True
    return np.asarray(kept[labels])


def _is_ridge(magnitude: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Tell where the gradient is greatest along its own direction, of four."""
    height, width = magnitude.shape[1:]
    padded = pad(magnitude, (1, 1, 1, 1))

    def neighbour(dy: int, dx: int) -> Tensor:
        return padded[:, 1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width]

    steep, flat = down.abs() << 15, right.abs() * TAN_22_5
    across = (magnitude > neighbour(0, -1)) & (magnitude >= neighbour(0, 1))
    upright = (magnitude > neighbour(-1, 0)) & (magnitude >= neighbour(1, 0))
    falling = (magnitude > neighbour(-1, -1)) & (magnitude > neighbour(1, 1))
    rising = (magnitude > neighbour(-1, 1)) & (magnitude > neighbour(1, -1))
    diagonal = torch.where((down < 0) != (right < 0), rising, falling)
    # tan(67.5 deg) = 2 + tan(22.5 deg)
    others = torch.where(steep > flat + (right.abs() << 16), upright, diagonal)
    return torch.where(steep < flat, across, others)


def chamfer_distance(edges: np.ndarray) -> np.ndarray:
    """Measure px to the nearest edge, in straight, diagonal and knight's steps (float64)."""
    start = np.where(edges, 0, FAR).astype(np.int32)
    forth = _sweep_down(start)
    back = _sweep_down(forth[:, ::-1, ::-1])[:, ::-1, ::-1]
    return back / float(STRAIGHT)


def _sweep_down(start: np.ndarray) -> np.ndarray:
    """Spread distances downwards and, within a row, to the right."""
    height, width = start.shape[1:]
    swept = np.full((len(start), height + 2, width + 4), FAR, dtype=np.int32)
    ramp = STRAIGHT * np.arange(width, dtype=np.int32)
    for y in range(height):
        above, next_above = swept[:, y + 1], swept[:, y]
        knights = (above[:, :-4], above[:, 4:], next_above[:, 1:-3], next_above[:, 3:-1])
        far = np.min(knights, axis=0) + KNIGHT
        near = np.minimum(above[:, 1:-3], above[:, 3:-1]) + DIAGONAL
        best = np.min((far, near, above[:, 2:-2] + STRAIGHT, start[:, y]), axis=0) - ramp
        swept[:, y + 2, 2:-2] = np.minimum.accumulate(best, axis=1) + ramp
    return swept[:, 2:, 2:-2]


def _equalised(levels: Tensor) -> Tensor:
    """Spread the levels of (H, W) over 0 to 255 by their cumulative histogram."""
    counts = levels.flatten().bincount(minlength=256)
    lowest = int(levels.min())
    rest = levels.numel() - int(counts[lowest])
    if rest == 0:
        return levels.float()
    counts[lowest] = 0
    table = (counts.cumsum(0).float() * (255 / rest)).round()
    return table[levels.long()]


def _box3(images: Tensor) -> Tensor:
    """Average 3 x 3 pixels, mirrored about the edge pixels."""
    return avg_pool2d(_mirrored(images), 3, stride=1)


def _mirrored(images: Tensor) -> Tensor:
    return pad(images[:, None], (1, 1, 1, 1), mode="reflect")[:, 0]


def _grey(images: Tensor) -> Tensor:
    """Return the luma, (B, 1, H, W), of images with 1 or 3 channels."""
    if images.shape[1] == 1:
        return images
    return (images * images.new_tensor(LUMA).reshape(3, 1, 1)).sum(dim=1, keepdim=True)


def _colour(levels: Sequence[int], images: Tensor) -> Tensor:
    """Return a colour given in levels of 0 to 255 as (1, C, 1, 1), for images with C channels."""
    colour = torch.tensor(levels).to(images).reshape(1, 3, 1, 1) / 255
    return colour if images.shape[1] == 3 else _grey(colour)
