"""`vonenet data inspect`: what is in a data set, and which of its files are broken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from tyro.conf import Positional, arg


@dataclass(frozen=True)
class Data:
    """Look at a data set: counts, sizes, classes, broken files.

    Attributes:
        action: what to do: inspect.
        address: an image folder, a folder of parquet files or of .tar shards, torchvision/NAME,
            hub/OWNER/NAME, or embedded.
        split: the part of the data.
        in_chans: 3 to read images in colour, 1 in grey.
        check_all: decode every image, to find the broken ones.
    """

    action: Positional[Literal["inspect"]]
    address: Annotated[Positional[str], arg(metavar="ADDRESS")]
    split: str = "train"
    in_chans: int = 3
    check_all: bool = True

    def run(self) -> None:
        """Print the inspection."""
        from vonenet.data.inspection import inspect_data
        from vonenet.data.inspection_text import report_text

        found = inspect_data(
            self.address, self.split, in_chans=self.in_chans, check_all=self.check_all
        )
        print(report_text(found))
