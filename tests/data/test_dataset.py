"""ImageDataset: pixels, whole images, selections, and the broken ones named; alike in workers."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import ConcatDataset, DataLoader

from tests.data.pictures import (
    FORKS,
    encoded,
    levels,
    noise_image,
    noise_png,
    write_folder,
    write_parquet,
    write_tar,
)
from vonenet.data import (
    BrokenImageError,
    ImageArrays,
    dataset,
    digests,
    open_dataset,
    readable,
)
from vonenet.errors import InputError

GREY = torch.full((6, 1, 4, 4), 0.5)
LABELS = torch.tensor([0, 0, 0, 1, 1, 2])
CUT = encoded(noise_image(40, 40), "JPEG")[:900]
FILES = [noise_png(0), CUT, noise_png(2), b"", noise_png(4), b"<html>"]
OF_CLASS = [0, 1, 2, 0, 1, 2]


def in_folder(root, files, labels):
    names = [f"{label}/{index}.jpg" for index, label in enumerate(labels)]
    write_folder(root, dict(zip(names, files, strict=True)))
    return [f"{root}/{name}" for name in names]


def in_shards(root, files, labels):
    for index, (file, label) in enumerate(zip(files, labels, strict=True)):
        write_tar(root / f"{index}.tar", [("k.jpg", file), ("k.cls", str(label).encode())])
    return [f"k in {root}/{index}.tar" for index in range(len(files))]


def in_parquet(root, files, labels):
    write_parquet(root / "train-0.parquet", list(files), list(labels))
    return [f"in row {index} of {root}/train-0.parquet" for index in range(len(files))]


KINDS = [in_folder, in_shards, in_parquet]


def pixels_of(seed):
    return torch.from_numpy(np.array(noise_image(8, 8, seed))).permute(2, 0, 1).float() / 255


@pytest.mark.parametrize(
    ("n", "kept"), [(1, [0]), (3, [0, 3, 5]), (4, [0, 1, 3, 5]), (5, [0, 1, 3, 4, 5])]
)
def test_subset_takes_the_first_of_every_class(n, kept):
    data = ImageArrays(torch.arange(6).reshape(6, 1, 1, 1).double() / 10, LABELS, "abc", "six")
    subset = data.subset(n)
    assert [round(float(subset[i][0]) * 10) for i in range(n)] == kept
    assert subset.labels.tolist() == LABELS[kept].tolist()
    assert (subset.name, subset.classes) == ("six", ("a", "b", "c"))
    for impossible in (0, 7):
        with pytest.raises(InputError, match=f"n={impossible}.*1 to 6"):
            data.subset(impossible)


def test_bytes_become_pixels_on_access_in_a_selection_of_a_selection():
    images = torch.arange(0, 256, 51, dtype=torch.uint8).reshape(6, 1, 1, 1)
    data = ImageArrays(images, LABELS, "abc", "six").select(torch.tensor([5, 1, 4, 0]))
    chosen = data.select(torch.tensor([2, 0]))
    assert [levels(chosen.whole(i)) for i in (0, 1)] == [[204], [255]]
    assert [float(chosen[i][0]) for i in (0, 1)] == pytest.approx([0.8, 1])
    assert (chosen[0][0].dtype, chosen[0][1]) == (torch.float32, 1)
    assert chosen.labels.tolist() == [1, 2]
    with pytest.raises(InputError, match="'six' holds no image"):
        data.select(torch.tensor([], dtype=torch.long))


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (GREY, torch.tensor([0, 0, 0, 1, 1, 3]), "0 to 3; allowed: 0 to 2"),
        (GREY[:5], LABELS, r"\(5, 1, 4, 4\)"),
        (GREY[:, 0], LABELS, r"\(6, 4, 4\)"),
        (GREY * 3, LABELS, r"1.5 to 1.5; allowed: \[0, 1\]"),
        (GREY * float("nan"), LABELS, "nan"),
        (GREY.to(torch.int32), LABELS, "int32"),
        (GREY, LABELS - 1, "3 of 6 labels of 'six' are missing"),
        (GREY, LABELS + 0.5, "labels of 'six' hold 0.5; allowed: whole numbers of 0 to 999999"),
        (GREY, LABELS * 10**8, "labels of 'six' hold 100000000; allowed"),
        (GREY, LABELS * float("nan"), "6 of 6 labels of 'six' are missing"),
    ],
)
def test_impossible_arrays_are_refused(images, labels, message):
    with pytest.raises(InputError, match=message):
        ImageArrays(images, labels, "abc", "six")


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
def test_whole_images_of_arrays_and_files(tmp_path, channels, mode):
    images = torch.randint(0, 256, (2, channels, 3, 4), dtype=torch.uint8)
    image = ImageArrays(images, torch.zeros(2), "a", "set").whole(1)
    assert (image.mode, image.size) == (mode, (4, 3))
    assert torch.equal(torch.tensor(levels(image)), images[1].permute(1, 2, 0).flatten())
    rounded = torch.tensor([0.0, 0.49, 0.51, 127.5, 254.4, 255]).div(255).expand(1, channels, 1, 6)
    image = ImageArrays(rounded, torch.zeros(1), "a", "set").whole(0)
    assert levels(image)[::channels] == [0, 0, 1, 128, 254, 255]
    with pytest.raises(InputError, match="2 channels; allowed: 1, 3"):
        ImageArrays(torch.zeros(1, 2, 3, 3), torch.zeros(1), "a", "set").whole(0)
    write_folder(tmp_path, {"a/0.png": noise_png(0, 30, 47)})
    image = open_dataset(str(tmp_path), image_size=8, in_chans=channels).whole(0)
    assert (image.mode, image.size) == (mode, (47, 30))  # neither resized nor cropped
    assert levels(image) == levels(noise_image(30, 47).convert(mode))


def test_cached_images_are_decoded_once_while_there_is_room(tmp_path, monkeypatch):
    write_folder(tmp_path, {f"a/{seed}.png": noise_png(seed, 8, 8) for seed in range(3)})
    data = open_dataset(str(tmp_path), image_size=8)
    kind, asked = type(data.source), []
    read = kind.read
    monkeypatch.setattr(kind, "read", lambda self, index: asked.append(index) or read(self, index))
    cached = data.cached(most_bytes=2 * 3 * 8 * 8)
    for index in [0, 1, 2, 0, 1, 2]:
        assert torch.equal(cached[index][0], pixels_of(index))
    assert asked == [0, 1, 2, 2]
    chosen = cached.select(torch.tensor([2, 0]))
    assert torch.equal(chosen[0][0], pixels_of(2))
    assert (chosen.name, chosen.describe(1)) == (data.name, f"{tmp_path}/a/0.png")
    with pytest.raises(InputError, match="no image of data set .* is left"):
        data.select(torch.tensor([], dtype=torch.long))


@pytest.mark.parametrize("write", KINDS)
def test_broken_images_are_named_and_left_out(tmp_path, write):
    names = write(tmp_path, FILES, OF_CLASS)
    data = open_dataset(str(tmp_path), ("train", "all"), image_size=8)
    kept, found = readable(data, progress=False)
    order = [data.describe(index) for index in range(6)]  # a folder's is by class
    assert [error.image for error in found] == sorted(
        [error.image for error in found], key=order.index
    )
    reasons = {error.image: error.reason for error in found}
    assert set(reasons) == {names[index] for index in (1, 3, 5)}
    assert "runcated" in reasons[names[1]]
    assert reasons[names[3]] == "it is empty"
    assert reasons[names[5]].startswith("it is no image of a kind that is read")
    assert (kept.name, kept.classes) == (data.name, data.classes)
    for index in range(3):
        seed = names.index(kept.describe(index))
        assert kept.labels[index] == OF_CLASS[seed]
        assert levels(kept.whole(index)) == levels(noise_image(12, 10, seed))


def test_a_file_that_vanishes_is_broken_and_nothing_left_is_refused(tmp_path):
    write_folder(tmp_path, {"a/0.png": noise_png(0), "a/1.png": noise_png(1)})
    data = open_dataset(str(tmp_path), image_size=8)
    assert readable(data, progress=False) == (data, [])
    (tmp_path / "a" / "0.png").unlink()
    (error,) = readable(data, progress=False)[1]
    assert str(error) == f"image {tmp_path}/a/0.png cannot be read: No such file or directory"
    (tmp_path / "a" / "1.png").write_bytes(b"")
    message = r"none of the 2 images of .* can be read; .*0\.png: No such file"
    with pytest.raises(InputError, match=message):
        readable(data, progress=False)


def test_more_images_than_wait_for_a_thread_at_once(tmp_path, monkeypatch):
    """Those at the ends of what is checked at once are found too."""
    monkeypatch.setattr(dataset, "AT_ONCE", 4)
    holes = [0, 3, 4, 5]
    in_folder(tmp_path, [b"" if index in holes else noise_png(0) for index in range(9)], [0] * 9)
    found = readable(open_dataset(str(tmp_path), image_size=8), progress=False)[1]
    assert [error.image for error in found] == [f"{tmp_path}/0/{hole}.jpg" for hole in holes]


@pytest.fixture
def every_kind(tmp_path):
    """Images 0 to 3 in a folder, in shards, in a parquet file, in an array."""
    sets, split = [], ("train", "all")
    for write in KINDS:
        write(tmp_path / write.__name__, [noise_png(seed, 8, 8) for seed in range(4)], [0] * 4)
        sets.append(open_dataset(f"{tmp_path}/{write.__name__}", split, image_size=8))
    images = torch.stack([pixels_of(seed) for seed in range(4)])
    sets.append(ImageArrays(images, torch.zeros(4), "a", "array"))
    for each in sets:
        each.whole(0)  # what has been read already must not hinder others
    return sets


@FORKS
@pytest.mark.parametrize(
    ("start", "workers"), [("fork", 2), pytest.param("spawn", 1, marks=pytest.mark.slow)]
)
def test_worker_processes_read_the_same(every_kind, start, workers):
    shuffled = torch.randperm(16, generator=torch.Generator().manual_seed(0)).tolist()
    loader = DataLoader(
        ConcatDataset(every_kind),
        batch_size=None,
        sampler=shuffled,
        num_workers=workers,
        multiprocessing_context=start,
    )
    for index, (pixels, _) in zip(shuffled, loader, strict=True):
        assert torch.equal(pixels, pixels_of(index % 4))


def test_selections_and_pickles_read_the_same(every_kind):
    for data in every_kind:
        chosen = pickle.loads(pickle.dumps(data)).select(torch.tensor([3, 1]))
        for index, seed in enumerate((3, 1)):
            assert levels(chosen.whole(index)) == levels(noise_image(8, 8, seed))
            if not isinstance(data, ImageArrays):  # which are numbered anew
                assert chosen.describe(index) == data.describe(seed)


def test_labels_become_outputs_of_the_class_of_that_name():
    data = ImageArrays(GREY, LABELS, ("cat", "dog", "ape"), "six")
    found, how = data.matched(("ape", "bus", "cat", "dog"), 4)
    assert [label for _, label in found] == [2, 2, 2, 3, 3, 0]
    assert (found.classes, how) == (("ape", "bus", "cat", "dog"), "3 classes of 4 outputs, by name")
    assert found.subset(3).labels.tolist() == [2, 3, 0]  # the images of data.subset(3)
    assert found.matched(found.classes, 4)[0].labels.tolist() == [2, 2, 2, 3, 3, 0]
    assert data.labels.tolist() == LABELS.tolist()
    unnamed, how = data.matched(None, 3)
    assert (unnamed.classes, unnamed.labels.tolist()) == (data.classes, LABELS.tolist())
    assert "by order" in how
    with pytest.raises(InputError, match="the first is 'ape'"):
        data.matched(("cat", "dog"), 2)


def test_a_content_hash_belongs_to_images_labels_and_classes(every_kind, tmp_path, monkeypatch):
    monkeypatch.setenv("VONENET_HOME", str(tmp_path / "home"))
    for data in every_kind:
        images = [data, data.subset(3), data.select(torch.tensor([1, 0, 2, 3]))]
        assert len({each.content_hash() for each in images}) == 3
        assert data.cached().content_hash() == data.content_hash()
        assert len(data.content_hash()) == 16
    array = every_kind[-1]
    renamed = ImageArrays(array.images, array.labels, "b", "array")
    relabelled = ImageArrays(array.images, torch.tensor([0, 1, 0, 0]), "ab", "array")
    lighter = ImageArrays(array.images.clamp(min=1e-4), array.labels, "a", "array")
    others = [array, renamed, relabelled, lighter]
    assert len({each.content_hash() for each in others}) == 4


@pytest.mark.parametrize("write", KINDS)
def test_files_are_read_again_once_they_are_others(tmp_path, monkeypatch, write):
    monkeypatch.setenv("VONENET_HOME", str(tmp_path / "home"))
    write(tmp_path / "set", [noise_png(seed, 8, 8) for seed in range(3)], [0] * 3)
    monkeypatch.setattr(digests, "RECENT_NS", 0)
    data = open_dataset(f"{tmp_path}/set", ("train", "all"), image_size=8)
    first = data.content_hash()
    read = type(data.source).read
    monkeypatch.setattr(type(data.source), "read", None)
    assert data.content_hash() == first
    monkeypatch.setattr(type(data.source), "read", read)
    for kept in (tmp_path / "home").rglob("*"):
        if kept.is_file():
            kept.write_text("damaged")
    assert data.content_hash() == first
    file = Path(data.source.file(1))
    before = file.stat()
    content = bytearray(file.read_bytes())
    content[content.index(b"IDAT") + 12] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))  # as `cp -p` does
    assert open_dataset(f"{tmp_path}/set", ("train", "all"), image_size=8).content_hash() != first
    assert digests.remembered(tmp_path / "set", lambda: "no file can be there") == (
        "no file can be there"
    )


def test_what_has_just_been_written_may_change_again(tmp_path, monkeypatch):
    monkeypatch.setenv("VONENET_HOME", str(tmp_path / "home"))
    write_folder(tmp_path / "set", {"a/0.png": noise_png(0)})
    data = open_dataset(f"{tmp_path}/set", image_size=8)
    assert data.content_hash() == data.content_hash()
    assert not (tmp_path / "home").exists()
    (tmp_path / "set/a/0.png").unlink()
    with pytest.raises(BrokenImageError, match="No such file"):
        data.content_hash()


def test_some_classes_of_an_address_are_those_images_with_labels_of_their_own():
    whole = open_dataset("embedded", image_size=32)
    part = open_dataset("embedded?classes=4", image_size=32)
    kept = [0, 2, 5, 7]
    assert part.classes == tuple(whole.classes[i] for i in kept)
    of_part = [i for i, label in enumerate(whole.labels.tolist()) if label in kept]
    assert part.labels.tolist() == [kept.index(whole.labels[i]) for i in of_part]
    assert torch.equal(part[-1 % len(part)][0], whole[of_part[-1]][0])
    assert part.name == "embedded/test 32px, 4 of 10 classes"
    assert part.content_hash() != whole.content_hash()
    assert len(part.subset(8).labels.unique()) == 4


@pytest.mark.parametrize("count", ["0", "11", "-1", "x", "", "9" * 30])
def test_classes_that_an_address_does_not_have_are_refused(count):
    with pytest.raises(InputError, match=r"of the classes of 'embedded.*; 1 to 10"):
        open_dataset(f"embedded?classes={count}", image_size=32)
