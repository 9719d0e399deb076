"""Opens a data set by its address: a folder, shards, a name, or the embedded images."""

from pathlib import Path
from typing import Self

from torch import Tensor

from vonenet.data import hub, torchvision_sets
from vonenet.data.dataset import ImageDataset
from vonenet.data.decoding import as_pixels, centre_crop
from vonenet.data.embedded import check_channels, load_embedded
from vonenet.data.folders import read_image_folder, split_folder
from vonenet.data.hub import open_hub
from vonenet.data.parquet import open_parquet
from vonenet.data.shards import find_shards, open_shards
from vonenet.data.splits import files_of_split
from vonenet.data.stores import FileStore, ImagesOfStore, Labelled
from vonenet.data.torchvision_sets import open_torchvision
from vonenet.errors import InputError


def open_dataset(
    address: str, split: str = "test", *, image_size: int, in_chans: int = 3
) -> ImageDataset:
    """Opens the images at `address`.

    Labels are known at once; images are read when they are asked for.

    Args:
        address: One of

            - "embedded";
            - a folder with one folder of images per class, or with such a folder for each split;
            - a folder of Hugging Face parquet files, `<split>-*.parquet`;
            - WebDataset shards: a folder that holds `<split>-*.tar`, or the paths of some, with
              braces or a glob, `/data/train-{000..099}.tar`, which are one part;
            - "torchvision/NAME", e.g. torchvision/CIFAR10, which is downloaded to VONENET_DATA
              (~/.cache/vonenet/data) if it is not there;
            - "hub/OWNER/NAME", a set of images of the Hugging Face hub, read by its `datasets`.
        split: "train" or "test", or what the address calls its parts. Where there is no "test", but
            "val" or "validation", that is taken; the set's name says so.
        image_size: Height and width in pixels. Images of that size are left as they are; others
            are resized (shorter side 256/224 of it) and centre-cropped.
        in_chans: 1 (grey) or 3 (RGB).

    Raises:
        InputError: If the address is none of these, has no such split, or holds no image.
    """
    if address == "embedded":
        return load_embedded(split, image_size=image_size, in_chans=in_chans)
    check_channels(in_chans)
    labelled, part = _open(address, split)
    name = f"{address}{part} {image_size}px"
    return CroppedImages(labelled, name=name, in_chans=in_chans, image_size=image_size)


def _open(address: str, split: str) -> tuple[Labelled, str]:
    """The images, and what stands for their split behind the address in the set's name."""
    if address.endswith(".tar"):
        return open_shards(find_shards(address)), ""
    if address.startswith(torchvision_sets.PREFIX):
        labelled, found = open_torchvision(address, split)
    elif address.startswith(hub.PREFIX):
        labelled, found = open_hub(address, split)
    else:
        labelled, found = _open_folder(address, split)
    return labelled, f"/{found}"


def _open_folder(address: str, split: str) -> tuple[Labelled, str]:
    """The images of a folder, and what their split is called in it."""
    folder = Path(address).expanduser()
    if not folder.is_dir():
        raise InputError(
            f"no data at {address!r}; allowed: 'embedded', a folder of images (one folder per "
            "class), of Hugging Face parquet files or of WebDataset shards, the path of shards "
            "(.tar), 'torchvision/NAME', 'hub/OWNER/NAME'"
        )
    if parquet := sorted(folder.rglob("*.parquet")):
        paths, found = files_of_split(parquet, folder, split, address)
        return open_parquet(paths), found
    root, found = split_folder(folder, split, address)
    shards = sorted(root.glob("*.tar"))
    if shards and not any(path.is_dir() for path in root.iterdir()):
        paths, found = files_of_split(shards, root, found, address)
        return open_shards(paths), found
    files, labels, classes = read_image_folder(root)
    return Labelled(FileStore(files), labels, classes), found


class CroppedImages(ImagesOfStore):
    """Images of a store, decoded and cropped when they are asked for.

    Args:
        labelled: The images, their labels and class names.
        name: What result rows call the set.
        in_chans: 1 (grey) or 3 (RGB).
        image_size: Height = width in pixels.
        indices: (N,) numbers of the images in the store; all in its order if None.
    """

    def __init__(
        self,
        labelled: Labelled,
        *,
        name: str,
        in_chans: int,
        image_size: int,
        indices: Tensor | None = None,
    ) -> None:
        super().__init__(labelled, name=name, in_chans=in_chans, indices=indices)
        self.image_size = image_size

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Returns one image, (C, H, W) float32 in [0, 1], and its label."""
        image = centre_crop(self.whole(index), self.image_size)
        return as_pixels(image), int(self.labels[index])

    def select(self, indices: Tensor) -> Self:
        """Returns the images at `indices`, in that order, under the same name."""
        return type(self)(
            self.labelled,
            name=self.name,
            in_chans=self.in_chans,
            image_size=self.image_size,
            indices=self.indices[indices],
        )
