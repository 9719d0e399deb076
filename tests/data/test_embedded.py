"""The embedded images: what they are, where they are from, and that the script rebuilds them."""

import hashlib
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vonenet.data import load_embedded, photograph
from vonenet.errors import InputError

ROOT = Path(__file__).parents[2]
FILES = ROOT / "src" / "vonenet" / "data" / "files"
DEBIAN = Path("/usr/share/datasets/fashion-mnist")


@pytest.mark.parametrize(("split", "per_class"), [("train", 1000), ("test", 200)])
def test_classes_are_balanced(split, per_class):
    data = load_embedded(split)
    assert data.labels.bincount().tolist() == [per_class] * len(data.classes)
    assert len(data) == 10 * per_class
    assert data.subset(50).labels.bincount().tolist() == [5] * 10


def test_padding_and_channels():
    small = load_embedded("test", image_size=28, in_chans=1)
    large = load_embedded("test", image_size=33, in_chans=3)
    for index in (0, 1999):
        (original, label), (padded, same_label) = small[index], large[index]
        assert (original.shape, padded.shape) == ((1, 28, 28), (3, 33, 33))
        assert torch.equal(padded[:, 2:30, 2:30], original.expand(3, 28, 28))
        assert padded.sum() == pytest.approx(3 * float(original.sum()), rel=1e-5)
        assert label == same_label


def test_labels_and_names_belong_to_their_images():
    """Mean height and width, in pixels, of classes that nobody could mix up."""
    data = load_embedded("test", image_size=28, in_chans=1)
    bright = torch.stack([data[i][0][0] for i in range(len(data))]) > 60 / 255
    sizes = torch.stack([bright.any(dim=2).sum(dim=1), bright.any(dim=1).sum(dim=1)], dim=1)
    mean = {
        name: sizes[data.labels == i].float().mean(dim=0).tolist()
        for i, name in enumerate(data.classes)
    }
    assert mean["Trouser"][0] > 25 > 14 > mean["Trouser"][1]
    assert mean["Pullover"][1] > 20
    assert mean["Sneaker"][1] > 24 > 14 > mean["Sneaker"][0]
    assert mean["Ankle boot"][0] > 20


@pytest.mark.parametrize(
    ("split", "settings", "message"),
    [
        ("validation", {}, "allowed: 'train', 'test'"),
        ("test", {"image_size": 27}, "image_size=27.*at least 28"),
        ("test", {"in_chans": 2}, "in_chans=2"),
    ],
)
def test_impossible_values_are_refused(split, settings, message):
    with pytest.raises(InputError, match=message):
        load_embedded(split, **settings)


@pytest.mark.parametrize(("name", "side"), [("chelsea", 300), ("coffee", 400)])
def test_photographs(name, side):
    pixels = photograph(name)
    assert pixels.shape == (3, side, side)
    with Image.open(FILES / f"{name}.jpg") as image:
        assert torch.equal((pixels[:, 7, 9] * 255).round(), torch.tensor(image.getpixel((9, 7))))
    with pytest.raises(InputError, match="chelsea, coffee"):
        photograph("lena")


def test_readme_gives_the_digest_of_every_file():
    readme = (FILES / "README.md").read_text()
    data = [path for path in FILES.iterdir() if path.suffix in {".npz", ".jpg"}]
    assert len(data) == 3
    for path in data:
        assert f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}" in readme
        assert path.stat().st_size <= 6_000_000


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="needs Debian's dataset-fashion-mnist")
def test_script_builds_the_arrays_again(tmp_path):
    """Pixels and labels, not bytes: another zlib may pack the same arrays differently."""
    script = runpy.run_path(str(ROOT / "scripts" / "build_embedded_data.py"))
    rebuilt = tmp_path / "rebuilt.npz"
    rebuilt.write_bytes(script["fashion_mnist"](DEBIAN))
    with np.load(rebuilt) as new, np.load(FILES / "fashion_mnist_12k.npz") as shipped:
        assert set(new) == set(shipped)
        for name in shipped:
            np.testing.assert_array_equal(new[name], shipped[name])
