"""Opens data sets of the Hugging Face hub; their images stay in its cache on disk."""

import importlib
from pathlib import Path
from typing import Any

from vonenet.data.decoding import broken_image
from vonenet.data.parquet import IMAGE_COLUMNS, LABEL_COLUMNS, as_labels, find_column, numbered
from vonenet.data.splits import choose_split
from vonenet.data.stores import EncodedStore, Labelled
from vonenet.errors import InputError

PREFIX = "hub/"


def open_hub(address: str, split: str) -> tuple[Labelled, str]:
    """Opens one split of `hub/OWNER/NAME`, or of a configuration, `hub/OWNER/NAME:CONFIG`.

    Returns:
        The images, and what the split is called there.

    Raises:
        InputError: If `datasets` is missing, the set cannot be had, or has no such split.
    """
    repository, _, config = address.removeprefix(PREFIX).partition(":")
    try:
        datasets: Any = importlib.import_module("datasets")
    except ImportError as error:
        raise InputError(f"{address} needs datasets: pip install 'vonenet[hub]'") from error
    there = _asked(address, datasets.get_dataset_split_names, repository, config or None)
    found = choose_split(split, there, address)
    rows = _asked(address, datasets.load_dataset, repository, config or None, split=found)
    image = find_column(rows.column_names, IMAGE_COLUMNS, address)
    label = find_column(rows.column_names, LABEL_COLUMNS, address)
    labels = as_labels(rows.data.column(label), address)
    classes = getattr(rows.features[label], "names", None) or numbered(labels)
    undecoded = rows.select_columns([image]).cast_column(image, datasets.Image(decode=False))
    return Labelled(HubStore(undecoded, image, f"{address}/{found}"), labels, classes), found


class HubStore(EncodedStore):
    """Images in the cache of `datasets`.

    Args:
        rows: The set, a column of undecoded images in it.
        column: The name of that column.
        name: What errors call the set.
    """

    def __init__(self, rows: Any, column: str, name: str) -> None:
        self._rows = rows
        self._column = column
        self._name = name

    def read(self, index: int) -> bytes:
        """Returns the bytes of one image file, which lies in the cache or where its row says."""
        image = self._rows[index][self._column]
        if image["bytes"] is not None:
            return bytes(image["bytes"])
        try:
            return Path(image["path"] or "").read_bytes()
        except OSError as error:
            raise broken_image(self.describe(index), str(error)) from error

    def describe(self, index: int) -> str:
        """The row, from 0, of one image."""
        return f"in row {index} of {self._name}"


def _asked(address: str, load: Any, *arguments: Any, **keywords: Any) -> Any:
    """What `datasets` answers; whatever it raises (dozens of kinds) becomes one line."""
    try:
        return load(*arguments, **keywords)
    except Exception as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise InputError(f"{address} could not be opened: {reason}") from error
