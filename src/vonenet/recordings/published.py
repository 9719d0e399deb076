"""A published histogram that recorded units are compared with."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import numpy as np
import numpy.typing as npt

from vonenet.recordings.units import Array


@dataclass(frozen=True)
class Published:
    """One property's published histogram.

    Attributes:
        name: the property.
        paper: where the cells were counted.
        unit: of the edges; "" for a ratio or an index, and for a yes or no (edges 0, 0.5, 1).
        edges: bin edges, ascending; a bin holds its lower edge, the last one both.
        counts: cells in each bin, one fewer than the edges.
        recorded: cells in the study; more than were counted where the property was undefined for
            some, or not measured.
        cells: which cells have the property, in words; "" for all.
        ceiling: published similarity of the data with itself; None where none is.
        period: of a circular property, in the edges' unit; 0 for others.
        log: whether the bins are even on a logarithmic axis.
    """

    name: str
    paper: str
    unit: str
    edges: tuple[float, ...]
    counts: tuple[int, ...]
    recorded: int
    cells: str = ""
    ceiling: float | None = None
    period: float = 0.0
    log: bool = False

    @property
    def n(self) -> int:
        """Cells counted."""
        return sum(self.counts)

    @property
    def shares(self) -> Array:
        """Share of the counted cells in each bin, (bins,)."""
        return np.array(self.counts) / self.n

    def bins_of(self, values: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """The bin of every value, (units,); -1 for NaN.

        A circular value is first brought into the period that begins at the first edge. One beyond
        the edges goes into the end bin, as in Marques et al.: left out, a unit far outside what V1
        does would not count against its model.
        """
        array = np.asarray(values, dtype=np.float64)
        if self.period:
            array = (array - self.edges[0]) % self.period + self.edges[0]
        inner = np.array((-inf, *self.edges[1:-1]))
        return np.where(np.isnan(array), -1, np.searchsorted(inner, array, side="right") - 1)
