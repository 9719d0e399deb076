"""A model's outputs and the data's classes meet by name, or are refused."""

import pytest

from vonenet.data.classes import imagenet_ids, imagenet_names, match_classes
from vonenet.errors import InputError

ANIMALS = ["bus", "cat", "dog"]


@pytest.mark.parametrize(
    ("model", "outputs", "data", "expected", "how"),
    [
        (ANIMALS, 3, ["cat", "dog"], (1, 2), "2 classes of 3 outputs, by name"),
        (ANIMALS, 3, ["dog", "bus", "cat"], (2, 0, 1), "by name"),
        (["0", "1", "10", "2"], 4, ["0", "1", "2", "10"], (0, 1, 3, 2), "by name"),
        (ANIMALS, 3, ["0", "2"], (0, 2), "by number"),
        (None, 12, [str(n) for n in range(12)], tuple(range(12)), "by number"),
        (None, 3, ["x", "y", "z"], (0, 1, 2), "by order: the model does not name its classes"),
        (None, 1000, ["n01443537", "n01440764"], (1, 0), "by WordNet id"),
        (imagenet_ids(), 1000, ["n01440764"], (0,), "by name"),
        (imagenet_ids(), 1000, ["goldfish", "Tinca_tinca"], (1, 0), "by name"),
        (imagenet_ids(), 1000, ["7", "0"], (7, 0), "by number"),
        (imagenet_ids(), 1000, imagenet_names(), tuple(range(1000)), "by name"),
        (
            imagenet_ids(),
            1000,
            [names.split(", ")[0] for names in imagenet_names()],  # two are called "crane"
            tuple(range(1000)),
            "by name",
        ),
    ],
)
def test_classes_meet_by_what_they_are_called(
    model: list[str] | None, outputs: int, data: list[str], expected: tuple[int, ...], how: str
) -> None:
    match = match_classes(model, outputs, data)
    assert match.outputs == expected
    assert match.how.endswith(how)


@pytest.mark.parametrize(
    ("model", "outputs", "data", "reason"),
    [
        (ANIMALS, 3, ["cat", "horse"], "1 are not among them, the first is 'horse'"),
        (ANIMALS, 3, ["cat", "dog", "lorry"], "'lorry'"),  # as many, but one was renamed
        (None, 5, ["cat", "dog"], "5 outputs, whose classes it does not name, and the data have 2"),
        (None, 2, ["cat", "dog", "horse"], "2 outputs"),
        (ANIMALS, 3, ["3"], "'3'"),
        (ANIMALS, 4, ["cat"], "one name for each output"),
        (["cat", "cat"], 2, ["cat"], "called 'cat'"),
        (ANIMALS, 3, ["cat", "cat"], "two classes of the data"),
        (imagenet_ids(), 1000, ["crane"], "'crane'"),
    ],
)
def test_classes_that_do_not_meet_are_refused(
    model: list[str] | None, outputs: int, data: list[str], reason: str
) -> None:
    with pytest.raises(InputError, match=reason):
        match_classes(model, outputs, data)
