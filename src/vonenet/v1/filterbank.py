"""The linear stage of V1: each filter applied once, on the one colour channel that it reads.

A published filter bank is stored as two dense convolutions (phase 0 and phase 90) of which two
colours in three are zeros, and simple cells never use the second phase. Only what is needed is
computed here: a quarter of the multiplications, the same numbers. Dense weights, where every filter
reads every channel, are applied as they are.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


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


class FilterBank(nn.Module):
    """Applies the needed rows of two dense phases: phase 0 of all cells, phase 90 of complex cells.

    The rows are kept sorted by colour, derived from the dense weights whenever those change.
    """

    kernels: Tensor
    order: Tensor

    def __init__(self, simple_channels: int, stride: int) -> None:
        super().__init__()
        self.simple_channels = simple_channels
        self.stride = stride
        self.rows_by_channel: list[int] = []  # empty: the kernels are dense
        self.register_buffer("kernels", torch.empty(0), persistent=False)
        self.register_buffer("order", torch.empty(0, dtype=torch.long), persistent=False)
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

    def _derive(self, weight_q0: Tensor, weight_q1: Tensor) -> None:
        rows = torch.cat([weight_q0, weight_q1[self.simple_channels :]])
        reads = rows.flatten(2).ne(0).any(dim=2)  # (row, channel)
        if bool((reads.sum(dim=1) > 1).any()):
            self.rows_by_channel = []
            self.kernels = rows
            self.order = torch.arange(len(rows), device=rows.device)
            return
        channel = reads.to(torch.uint8).argmax(dim=1)
        by_channel = torch.argsort(channel, stable=True)
        self.rows_by_channel = torch.bincount(channel, minlength=rows.shape[1]).tolist()
        self.kernels = rows[by_channel, channel[by_channel]].unsqueeze(1)
        self.order = torch.argsort(by_channel)

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
        padding = self.kernels.shape[-1] // 2
        if not self.rows_by_channel:
            return F.conv2d(images, self.kernels, stride=self.stride, padding=padding)
        kernels = torch.split(self.kernels, self.rows_by_channel)
        by_channel = [
            F.conv2d(images[:, c : c + 1], kernels[c], stride=self.stride, padding=padding)
            for c, rows in enumerate(self.rows_by_channel)
            if rows
        ]
        if len(by_channel) == 1:
            return by_channel[0]
        return torch.cat(by_channel, dim=1).index_select(1, self.order)


def _version(tensor: Tensor) -> int:
    """Counts changes in place; tensors made in inference mode do not count theirs."""
    return 0 if tensor.is_inference() else tensor._version
