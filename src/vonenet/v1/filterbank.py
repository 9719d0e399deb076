"""The linear stage of V1: each filter applied once, on the one colour channel that it reads.

A published filter bank is stored as two dense convolutions (phase 0 and phase 90) of which two
colours in three are zeros, and simple cells never use the second phase. Only what is needed is
computed: a quarter of the multiplications, the same numbers. `strategies.py` has the ways to do so.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vonenet.v1.strategies import STRATEGIES, check_strategy, default_strategy


class PhaseWeights(nn.Module):
    """Dense weights of one phase of all filters, and the place to hook that phase's responses.

    The weights are a buffer: they are saved under their published name, move with the model, and no
    optimizer sees them.
    """

    weight: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight)

    def forward(self, response: Tensor) -> Tensor:
        """The phase's responses, as they are."""
        return response


@dataclass(frozen=True)
class Segment:
    """Neighbouring rows whose responses make neighbouring cells, in the bank's own order.

    Attributes:
        n: number of cells.
        cell: first of them, counted in the bank's order of cells.
        channel_q0: colour that the first phase reads.
        row_q0: first row of that phase, counted among the rows of its colour.
        channel_q1: colour that the second phase reads; None for simple cells, which have none.
        row_q1: first row of that phase, counted among the rows of its colour.
    """

    n: int
    cell: int
    channel_q0: int
    row_q0: int
    channel_q1: int | None = None
    row_q1: int = 0


class FilterBank(nn.Module):
    """Applies the needed rows of two dense phases: phase 0 of all cells, phase 90 of complex cells.

    The rows are kept sorted by colour, then by kind of cell, derived from the dense weights
    whenever those change.

    Attributes:
        strategy: a name in `strategies.STRATEGIES`, or `auto`: the one that measured fastest on the
            images' device (`strategies.default_strategy`). All give the same numbers.
        rows_by_channel: number of rows that read each colour; empty where the weights are dense,
            every filter reading every colour.
        segments: which rows make which cells; empty where the weights are dense.
        kernels: rows sorted by colour, (rows, k, k), which `.to(memory_format=...)` leaves alone;
            dense: (rows, in_chans, k, k).
        order: where each row stands among them, phase 0 of all cells first.
        cell_order: where each cell stands in the bank's order of cells, which is the segments'.
    """

    kernels: Tensor
    order: Tensor
    cell_order: Tensor

    def __init__(self, simple_channels: int, stride: int) -> None:
        super().__init__()
        self.simple_channels = simple_channels
        self.stride = stride
        self.strategy = "auto"
        self.rows_by_channel: list[int] = []
        self.segments: list[Segment] = []
        self.register_buffer("kernels", torch.empty(0), persistent=False)
        for name in ("order", "cell_order"):
            self.register_buffer(name, torch.empty(0, dtype=torch.long), persistent=False)
        self._source: tuple[Tensor, int, Tensor, int] | None = None

    def follow(self, weight_q0: Tensor, weight_q1: Tensor) -> None:
        """Derive the kernels anew if the dense weights are others, or changed in place, since."""
        if self._source is not None:
            seen_q0, version_q0, seen_q1, version_q1 = self._source
            same = seen_q0 is weight_q0 and seen_q1 is weight_q1
            if same and (version_q0, version_q1) == (_version(weight_q0), _version(weight_q1)):
                return
        with torch.inference_mode(False), torch.no_grad():
            self._derive(weight_q0, weight_q1)
        self.follows(weight_q0, weight_q1)

    def follows(self, weight_q0: Tensor, weight_q1: Tensor) -> None:
        """Take the kernels to be those of these weights, as they are now."""
        self._source = (weight_q0, _version(weight_q0), weight_q1, _version(weight_q1))

    def is_fast(self, images: Tensor) -> bool:
        """Whether `fast.py` can apply these filters: one colour each, and no strategy asked for."""
        return (
            bool(self.rows_by_channel)
            and self.strategy == "auto"
            and (images.dtype == self.kernels.dtype or torch.is_autocast_enabled("cpu"))
        )

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Linear responses of an image batch.

        Args:
            images: B, in_chans, H, W; normalised.

        Returns:
            Phase 0 of all cells (B, simple + complex, H', W') and phase 90 of the complex cells
            (B, complex, H', W'), with H' = ceil(H / stride).
        """
        rows = self._apply_kernels(images)
        n_q1 = (rows.shape[1] - self.simple_channels) // 2
        n_q0 = rows.shape[1] - n_q1
        return rows[:, :n_q0], rows[:, n_q0:]

    def _apply_kernels(self, images: Tensor) -> Tensor:
        if not self.rows_by_channel:
            padding = self.kernels.shape[-1] // 2
            return F.conv2d(images, self.kernels, stride=self.stride, padding=padding)
        check_strategy(self.strategy)
        name = default_strategy(images.device) if self.strategy == "auto" else self.strategy
        correlate = STRATEGIES[name]
        rows = correlate(images, self.kernels, self.rows_by_channel, self.stride)
        return rows.index_select(1, self.order)

    def _derive(self, weight_q0: Tensor, weight_q1: Tensor) -> None:
        rows = torch.cat([weight_q0, weight_q1[self.simple_channels :]])
        reads = rows.flatten(2).ne(0).any(dim=2)  # (row, channel)
        if bool((reads.sum(dim=1) > 1).any()):
            self.rows_by_channel, self.segments = [], []
            self.kernels = rows
            return
        channel = reads.to(torch.uint8).argmax(dim=1)
        cells = len(weight_q0)
        channel_q0, channel_q1 = channel[:cells], channel[cells:]
        order = _sorted_rows(channel_q0, channel_q1, self.simple_channels)
        self.kernels = rows[order, channel[order]].contiguous()
        self.order = torch.argsort(order)
        self.rows_by_channel = torch.bincount(channel, minlength=rows.shape[1]).tolist()
        self.segments = _segments(channel_q0.tolist(), channel_q1.tolist(), self.simple_channels)
        self.cell_order = torch.argsort(_sorted_cells(channel_q0, channel_q1, self.simple_channels))


def _sorted_rows(channel_q0: Tensor, channel_q1: Tensor, n_simple: int) -> Tensor:
    """Rows by colour; of each colour simple cells, then phase 0, then phase 90 of complex cells.

    The rows of complex cells go by the colour that the other phase of their cell reads, so that
    cells of the same two colours stand together in both phases.
    """
    simple, complex_q0 = channel_q0[:n_simple], channel_q0[n_simple:]
    kind = torch.cat(
        [torch.full_like(part, i) for i, part in enumerate((simple, complex_q0, channel_q1))]
    )
    partner = torch.cat([torch.zeros_like(simple), channel_q1, complex_q0])
    return _argsort_by(torch.cat([channel_q0, channel_q1]), kind, partner)


def _sorted_cells(channel_q0: Tensor, channel_q1: Tensor, n_simple: int) -> Tensor:
    """Simple cells by colour, then complex cells by their two colours."""
    kind = torch.zeros_like(channel_q0)
    kind[n_simple:] = 1
    partner = torch.cat([torch.zeros_like(channel_q0[:n_simple]), channel_q1])
    return _argsort_by(kind, channel_q0, partner)


def _argsort_by(*keys: Tensor) -> Tensor:
    """Indices that sort by the first key, then by the next; equal ones stay in their order."""
    order = torch.arange(len(keys[0]), device=keys[0].device)
    for key in reversed(keys):
        order = order[torch.argsort(key[order], stable=True)]
    return order


def _segments(channel_q0: list[int], channel_q1: list[int], n_simple: int) -> list[Segment]:
    """The segments in the order of `_sorted_cells`, rows counted as `_sorted_rows` sorts them."""
    simple = channel_q0[:n_simple]
    pairs = list(zip(channel_q0[n_simple:], channel_q1, strict=True))
    segments: list[Segment] = []
    cell = 0
    for channel in sorted(set(simple)):
        segments.append(Segment(simple.count(channel), cell, channel, 0))
        cell += segments[-1].n
    for q0, q1 in sorted(set(pairs)):
        row_q0 = simple.count(q0) + sum(p[0] == q0 and p[1] < q1 for p in pairs)
        before_q1 = simple.count(q1) + sum(p[0] == q1 for p in pairs)
        row_q1 = before_q1 + sum(p[1] == q1 and p[0] < q0 for p in pairs)
        segments.append(Segment(pairs.count((q0, q1)), cell, q0, row_q0, q1, row_q1))
        cell += segments[-1].n
    return segments


def _version(tensor: Tensor) -> int:
    """Counts changes in place; tensors made in inference mode do not count theirs."""
    return 0 if tensor.is_inference() else tensor._version
