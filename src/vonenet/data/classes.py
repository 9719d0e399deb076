"""Which output of a model stands for which class of the data: by name, or said, or refused."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from vonenet.errors import InputError

IMAGENET_CLASSES = 1000


@dataclass(frozen=True)
class ClassMatch:
    """The outputs of a model that stand for the classes of a data set."""

    outputs: tuple[int, ...]  # For each class of the data, the index of the model's output
    how: str  # What rows and pages say, e.g. "2 classes of 3 outputs, by name"


def match_classes(
    model_classes: Sequence[str] | None, outputs: int, data_classes: Sequence[str]
) -> ClassMatch:
    """Find the output for each class of the data.

    Names decide. ImageNet's classes are known by WordNet id, by any name that WordNet gives them,
    and by their number of 0 to 999; a model without names that has 1000 outputs is taken for one
    of ImageNet if all of the data's names are WordNet ids of it. Classes called "0", "1", ... are
    outputs of that number. Only a model without names, with as many outputs as the data has
    classes, is matched by order. An accuracy on fewer classes than outputs counts an image as
    wrong that the model gives to one of the other outputs.

    Args:
        model_classes: Names of the outputs; None: not known.
        outputs: Number of outputs.
        data_classes: Names of the data's classes, in the order of its labels.

    Raises:
        InputError: If a class of the data has no output, or names are repeated.
    """
    if model_classes is not None and len(model_classes) != outputs:
        raise InputError(
            f"the model has {outputs} outputs but names of {len(model_classes)} classes; needed: "
            "one name for each output"
        )
    names = list(model_classes or ())
    _check_unique(names, "outputs of the model")
    numbers = [int(n) if n.isdecimal() and len(n) < 10 else outputs for n in data_classes]
    of_imagenet = names == imagenet_ids() or (not names and outputs == IMAGENET_CLASSES)
    if (found := _places(names, data_classes)) is not None:
        how = "by name"
    elif of_imagenet and (found := _places(imagenet_ids(), data_classes)) is not None:
        how = "by WordNet id"
    elif of_imagenet and names and (found := _described(data_classes)) is not None:
        how = "by name"
    elif max(numbers) < outputs:
        found, how = numbers, "by number"
    elif not names and len(data_classes) == outputs:
        found, how = list(range(outputs)), "by order: the model does not name its classes"
    else:
        raise InputError(_refusal(names, outputs, data_classes))
    _check_unique([str(place) for place in found], "classes of the data")
    return ClassMatch(tuple(found), f"{len(found)} classes of {outputs} outputs, {how}")


@cache
def imagenet_ids() -> list[str]:
    """Return the WordNet ids of ImageNet's 1000 classes, in the order of outputs."""
    from timm.data.imagenet_info import ImageNetInfo

    names = ImageNetInfo("imagenet-1k").label_names()  # type: ignore[no-untyped-call]
    return list(names)


@cache
def imagenet_names() -> list[str]:
    """Return WordNet's names of ImageNet's 1000 classes, "tench, Tinca tinca", ..."""
    from timm.data.imagenet_info import ImageNetInfo

    info = ImageNetInfo("imagenet-1k")
    return [info.index_to_description(index) for index in range(IMAGENET_CLASSES)]


def _places(names: Sequence[str], wanted: Sequence[str]) -> list[int] | None:
    """Return where each wanted name stands among the names; None if one does not."""
    place = {name: index for index, name in enumerate(names)}
    return [place[name] for name in wanted] if all(name in place for name in wanted) else None


def _described(wanted: Sequence[str]) -> list[int] | None:
    """Return ImageNet's classes of these names; None if one is unknown or means two classes."""
    meant = defaultdict(set)
    for index, names in enumerate(imagenet_names()):
        for name in (names, *names.split(", ")):
            meant[name.casefold()].add(index)
    # "_" for " " as in names of folders
    choices = [meant[name.casefold().replace("_", " ")] for name in wanted]
    if len(wanted) == IMAGENET_CLASSES and all(i in these for i, these in enumerate(choices)):
        return list(range(IMAGENET_CLASSES))  # "crane" is a bird and a machine: the order tells
    return [min(these) for these in choices] if all(len(c) == 1 for c in choices) else None


def _check_unique(names: Sequence[str], what: str) -> None:
    repeated = (
        [name for name in names if names.count(name) > 1] if len({*names}) < len(names) else ()
    )
    if repeated:
        raise InputError(f"two {what} are called {repeated[0]!r}; needed: a name for each")


def _refusal(names: Sequence[str], outputs: int, data_classes: Sequence[str]) -> str:
    """Say which classes do not fit; the last that are shown of long lists is "..."."""
    if not names:
        return (
            f"the model has {outputs} outputs, whose classes it does not name, and the data have "
            f"{len(data_classes)} classes; allowed: as many, or a model with names "
            "(vonenet.data.PixelModel takes classes)"
        )
    shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    unknown = [name for name in data_classes if name not in names]
    return (
        f"the model has {outputs} outputs ({shown}); of the {len(data_classes)} classes of the "
        f"data {len(unknown)} are not among them, the first is {unknown[0]!r}; allowed: data of "
        "the model's classes"
    )
