"""Builds src/vonenet/data/files: the embedded part of Fashion-MNIST and two photographs.

Fashion-MNIST comes from the Debian package dataset-fashion-mnist; the photographs from the wheel of
scikit-image 0.18.3. Run again, it writes the same bytes (same zlib and libjpeg assumed):

    python scripts/build_embedded_data.py --scikit-image scikit_image-0.18.3-*.whl
"""

import argparse
import gzip
import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
FILES = Path(__file__).parents[1] / "src" / "vonenet" / "data" / "files"
SEED = 0
PER_CLASS = {"train": 1000, "test": 200}
STEMS = {"train": "train", "test": "t10k"}
# name -> side of the centre crop in pixels, at most the photograph's shorter side (300 and 400)
PHOTOGRAPHS = {"chelsea": 300, "coffee": 400}
MAX_BYTES = 6_000_000
DIGESTS = "## sha256\n\n"


def read_idx(path: Path) -> np.ndarray:
    """Read a gzipped IDX file of bytes: a magic number that ends in the rank, sizes, values."""
    raw = gzip.decompress(path.read_bytes())
    rank = raw[3]
    shape = np.frombuffer(raw, ">u4", count=rank, offset=4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * rank).reshape(shape)


def balanced_choice(labels: np.ndarray, per_class: int, rng: np.random.Generator) -> np.ndarray:
    """Draws `per_class` indices of every class without replacement, in ascending order."""
    classes = np.unique(labels)
    drawn = [rng.choice(np.flatnonzero(labels == c), per_class, replace=False) for c in classes]
    return np.sort(np.concatenate(drawn))


def fashion_mnist(folder: Path) -> bytes:
    """Draws both splits and packs them; npz entries carry a fixed date, so the bytes repeat."""
    rng = np.random.default_rng(SEED)
    arrays: dict[str, np.ndarray] = {}
    for split, stem in STEMS.items():
        images = read_idx(folder / f"{stem}-images-idx3-ubyte.gz")
        labels = read_idx(folder / f"{stem}-labels-idx1-ubyte.gz")
        chosen = balanced_choice(labels, PER_CLASS[split], rng)
        arrays |= {f"{split}_images": images[chosen], f"{split}_labels": labels[chosen]}
    packed = io.BytesIO()
    np.savez_compressed(packed, allow_pickle=False, **arrays)
    return packed.getvalue()


def photograph(wheel: Path, name: str, side: int) -> bytes:
    """Centre-crops one of scikit-image's photographs to a square and packs it as JPEG."""
    with zipfile.ZipFile(wheel) as archive:
        image = Image.open(io.BytesIO(archive.read(f"skimage/data/{name}.png"))).convert("RGB")
    left, top = (image.width - side) // 2, (image.height - side) // 2
    packed = io.BytesIO()
    image.crop((left, top, left + side, top + side)).save(packed, "JPEG", quality=90)
    return packed.getvalue()


def main() -> None:
    """Write the three data files, and their digests into README.md beside them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fashion-mnist", type=Path, default=FASHION_MNIST)
    parser.add_argument("--scikit-image", type=Path, required=True, help="the wheel of 0.18.3")
    arguments = parser.parse_args()

    built = {"fashion_mnist_12k.npz": fashion_mnist(arguments.fashion_mnist)}
    for name, side in PHOTOGRAPHS.items():
        built[f"{name}.jpg"] = photograph(arguments.scikit_image, name, side)
    lines = []
    for name, content in built.items():
        if len(content) > MAX_BYTES:
            raise SystemExit(f"{name} has {len(content)} bytes; at most {MAX_BYTES} are allowed")
        (FILES / name).write_bytes(content)
        lines.append(f"    {hashlib.sha256(content).hexdigest()}  {name}")
        print(f"{len(content):>9,} bytes  {name}")
    readme = FILES / "README.md"
    before = readme.read_text(encoding="utf-8").partition(DIGESTS)[0]
    readme.write_text(before + DIGESTS + "\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
