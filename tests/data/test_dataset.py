"""ImageArrays: pixels on access, balanced subsets, and what is refused."""

import pytest
import torch

from vonenet.data import ImageArrays
from vonenet.errors import InputError

GREY = torch.full((6, 1, 4, 4), 0.5)
LABELS = torch.tensor([0, 0, 0, 1, 1, 2])


def test_bytes_become_pixels_on_access() -> None:
    images = torch.tensor([0, 51, 255], dtype=torch.uint8).reshape(1, 3, 1, 1)
    pixels, label = ImageArrays(images, torch.tensor([1]), "ab", "tiny")[0]
    assert pixels.flatten().tolist() == pytest.approx([0, 0.2, 1])
    assert pixels.dtype == torch.float32
    assert label == 1


@pytest.mark.parametrize(
    ("n", "kept"), [(1, [0]), (3, [0, 3, 5]), (4, [0, 1, 3, 5]), (5, [0, 1, 3, 4, 5])]
)
def test_subset_takes_the_first_of_every_class(n: int, kept: list[int]) -> None:
    images = torch.arange(6, dtype=torch.float64).reshape(6, 1, 1, 1) / 10
    subset = ImageArrays(images, LABELS, "abc", "six").subset(n)
    assert [round(float(subset[i][0]) * 10) for i in range(n)] == kept
    assert subset.labels.tolist() == LABELS[kept].tolist()
    assert (subset.name, subset.classes) == ("six", ("a", "b", "c"))


@pytest.mark.parametrize("n", [0, 7])
def test_impossible_subsets_are_refused(n: int) -> None:
    with pytest.raises(InputError, match=f"n={n}.*1 to 6"):
        ImageArrays(GREY, LABELS, "abc", "six").subset(n)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (GREY, torch.tensor([0, 0, 0, 1, 1, 3]), "0 to 3; allowed: 0 to 2"),
        (GREY, torch.tensor([-1, 0, 0, 1, 1, 2]), "-1 to 2"),
        (GREY[:5], LABELS, r"\(5, 1, 4, 4\)"),
        (GREY[:, 0], LABELS, r"\(6, 4, 4\)"),
        (GREY * 3, LABELS, r"1.5 to 1.5; allowed: \[0, 1\]"),
        (GREY * float("nan"), LABELS, "nan"),
        (GREY.to(torch.int32), LABELS, "int32"),
        (GREY[:0], LABELS[:0], "holds no image"),
    ],
)
def test_impossible_arrays_are_refused(
    images: torch.Tensor, labels: torch.Tensor, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        ImageArrays(images, labels, "abc", "six")
