"""The plasma fractal of fog: the diamond-square algorithm on a torus."""

from torch import Tensor


def plasma_fractal(draws: Tensor, decay: float) -> Tensor:
    """Fractal maps in [0, 1].

    From one corner, each halving of the grid sets the centres of its squares and then the middles
    of its edges to the mean of their four neighbours plus a random step. The generator multiplies
    the step's amplitude with itself, so the steps shrink by the square of `decay` per halving.

    Args:
        draws: (B, side * side) uniform in [-1, 1); side is a power of two.
        decay: How much smaller the steps become, before squaring.

    Returns:
        (B, side, side), each map's least value 0 and greatest 1.
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
        squares = (below + below.roll(-1, dims=2)) / 4 + centres
        maps[:, half::step, half::step] = squares
        maps[:, ::step, half::step] = _edge(squares, corners, along=2) + tops
        maps[:, half::step, ::step] = _edge(squares, corners, along=1) + lefts
        step, amplitude, used = half, amplitude / decay**2, used + 3 * cells * cells
    least, greatest = maps.amin(dim=(1, 2), keepdim=True), maps.amax(dim=(1, 2), keepdim=True)
    return (maps - least) / (greatest - least)


def _edge(squares: Tensor, corners: Tensor, along: int) -> Tensor:
    """Mean of an edge's two corners and of the centres of the two squares that share it."""
    across = 3 - along
    return (corners + corners.roll(-1, dims=along) + squares + squares.roll(1, dims=across)) / 4
