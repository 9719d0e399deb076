"""Labels as files give them: one class number for each image, or one line of refusal."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from vonenet.errors import InputError

MOST_CLASSES = 1_000_000  # ImageNet-21k has 21,841


def checked_labels(values: Any, where: str) -> Tensor:
    """Return the labels of a set, which errors call `where`, as (N,) int64.

    Raises:
        InputError: If they are no whole numbers of 0 to 999,999, one for each image. Numbers below
            0 and what is no number (None, NaN) stand for labels that are missing, as those of a
            hidden test set are.
    """
    labels = np.asarray(values)
    if labels.ndim != 1:
        what = f"labels of {where} have shape {labels.shape}"
        raise InputError(f"{what}; needed: one class number for each image")
    numbers = labels
    if labels.dtype == object:
        numbers = np.array([np.nan if each is None else each for each in labels])
    if numbers.dtype.kind not in "iuf":
        raise InputError(f"labels of {where} have type {numbers.dtype}; needed: class numbers")
    if missing := int((~(numbers >= 0)).sum()):
        what = f"{missing} of {len(numbers)} labels of {where} are missing (None, NaN or below 0)"
        raise InputError(f"{what}; needed: a class number for each image")
    impossible = numbers[(numbers >= MOST_CLASSES) | (numbers != np.floor(numbers))]
    if len(impossible):
        what = f"labels of {where} hold {impossible[0]}"
        raise InputError(f"{what}; allowed: whole numbers of 0 to {MOST_CLASSES - 1}")
    return torch.from_numpy(numbers.astype(np.int64))
