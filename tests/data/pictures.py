"""Small images, and the ways in which they are kept, for the tests of the data room."""

import io
import json
import tarfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

# Python 3.12 warns of every fork of a process that has threads, as any with torch has
FORKS = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


def noise_image(height: int, width: int, seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def noise_png(seed: int, height: int = 12, width: int = 10) -> bytes:
    return encoded(noise_image(height, width, seed))


def levels(image: Image.Image) -> list[int]:
    return np.asarray(image).ravel().tolist()


def write_folder(root: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def write_tar(path: Path, members: Iterable[tuple[str, bytes]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def write_parquet(
    path: Path,
    images: list[bytes | None],
    labels: list[int | None],
    *,
    column: str = "image",
    label: str = "label",
    names: list[str] | None = None,
    rows_in_group: int = 2,
) -> Path:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = [{"bytes": each, "path": None} for each in images]
    table = arrow.table({column: rows, label: labels if labels else arrow.array([], "int64")})
    if names:
        features = {
            column: {"_type": "Image"},
            label: {"names": names, "_type": "ClassLabel"},
        }
        note = json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({"huggingface": note})
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table, path, row_group_size=rows_in_group)
    return path
