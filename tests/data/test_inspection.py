"""What a set holds: every number counted again by hand, and text that a stranger can read."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.data.pictures import encoded, noise_image, noise_png, write_folder
from vonenet.data import BrokenImage, DataReport, inspect_data, report_text
from vonenet.data.inspection import _sizes, _spread


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Three classes and an empty one; seven files in several forms, two broken, two repeated."""
    photo = noise_image(20, 30)
    files = {
        "train/ant/0.jpg": encoded(photo, "JPEG"),
        "train/ant/1.png": encoded(photo.convert("L")),
        "train/ant/2.png": encoded(photo.convert("RGBA")),
        "train/ant/3.jpg": b"",
        "train/ant/4.jpg": encoded(photo, "JPEG")[:-300],
        "train/bee/0.png": noise_png(5, height=2, width=3),
        "train/cow/0.png": noise_png(5, height=2, width=3),
        "train/cow/1.png": encoded(photo.convert("P")),
        "train/cow/2.png": encoded(noise_image(90, 10)),
    }
    write_folder(tmp_path, files)
    (tmp_path / "train" / "dog").mkdir()
    return tmp_path


def test_every_number(mixed: Path) -> None:
    report = inspect_data(str(mixed), "train", progress=False)
    readable = [p for p in sorted(mixed.rglob("*.*g")) if p.name not in ("3.jpg", "4.jpg")]
    at = f"{mixed}/train"
    assert report == DataReport(
        name=at,
        images=9,
        looked_at=9,
        classes=4,
        per_class=(0, 2, 5),
        empty_classes=("dog",),
        sizes=((3, 2), (30, 20), (10, 90)),
        kinds={"colour": 5, "grey": 1, "alpha": 1},
        modes={"RGB": 4, "L": 1, "RGBA": 1, "P": 1},
        formats={"PNG": 6, "JPEG": 1},
        bytes=sum(path.stat().st_size for path in readable),
        broken=(
            BrokenImage(3, f"{at}/ant/3.jpg", "it is empty"),
            BrokenImage(4, f"{at}/ant/4.jpg", report.broken[1].reason),
        ),
        repeated=((f"{at}/bee/0.png", f"{at}/cow/0.png"),),
        contradictions=1,
    )
    assert "truncated" in report.broken[1].reason


def test_some_of_many(tmp_path: Path) -> None:
    """Embedded training images are in memory, padded only where more room is asked for."""
    report = inspect_data("embedded", "train", in_chans=1, check_all=False, progress=False)
    assert (report.images, report.looked_at, sum(report.formats.values())) == (10000, 2000, 2000)
    assert report.sizes == ((28, 28), (28, 28), (28, 28))
    assert report.kinds == {"grey": 2000}
    assert report.per_class == (1000, 1000, 1000)
    assert "10,000 images, 2,000 of them opened" in report_text(report)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1))
def test_the_median_is_an_images_own_size(sizes: list[tuple[int, int]]) -> None:
    small, middle, large = _sizes(Counter(sizes)) or pytest.fail("no sizes")
    areas = sorted(width * height for width, height in sizes)
    assert {small, middle, large} <= set(sizes)
    assert small[0] * small[1] == areas[0]
    assert middle[0] * middle[1] == areas[(len(areas) - 1) // 2]
    assert large[0] * large[1] == areas[-1]


@settings(deadline=None)
@given(st.lists(st.integers(0, 100), min_size=1))
def test_the_spread_of_classes(counts: list[int]) -> None:
    assert _spread(counts) == (min(counts), np.median(counts), max(counts))


def test_text_of_the_mixed_set(mixed: Path) -> None:
    text = report_text(inspect_data(str(mixed), "train", progress=False))
    assert text.startswith(f"{mixed}/train\n9 images, all of them opened\n")
    for line in (
        "classes   4, of 0 to 5 images, median 2",
        "          1 without an image: dog",
        "sizes     smallest 3 x 2, median 30 x 20, largest 10 x 90 px",
        "kinds     colour 5 (71.4 %), alpha 1 (14.3 %), grey 1 (14.3 %)",
        "modes     RGB 4 (57.1 %), L 1 (14.3 %), P 1 (14.3 %), RGBA 1 (14.3 %)",
        "formats   PNG 6 (85.7 %), JPEG 1 (14.3 %)",
        "broken    2 images cannot be decoded:",
        "          ant/3.jpg: it is empty",
        "repeated  1 image with the same content as one before:",
        "          bee/0.png = cow/0.png",
        "          under more than one label: 1 of 1",
    ):
        assert line in text.splitlines()


LONG = "/data/train/" + "a-very-long-class-name/" * 6 + "{}.jpg"
PLAIN = DataReport(
    name="/data/train",
    images=1_281_167,
    looked_at=1_281_167,
    classes=1000,
    per_class=(732, 1300, 1300),
    empty_classes=(),
    sizes=((224, 224), (224, 224), (224, 224)),
    kinds={"colour": 1_281_167},
    modes={"RGB": 1_281_167},
    formats={"JPEG": 1_281_167},
    bytes=140_000_000_000,
    broken=(),
    repeated=(),
    contradictions=0,
)


def test_long_lists_end_in_a_count() -> None:
    broken = tuple(BrokenImage(i, LONG.format(i), "because " * 20) for i in range(33))
    repeated = tuple((LONG.format(i), LONG.format(i + 50), LONG.format(i + 90)) for i in range(8))
    empty = tuple(f"no{i}" for i in range(12))
    report = replace(PLAIN, broken=broken, repeated=repeated, empty_classes=empty)
    lines = report_text(report).splitlines()
    assert max(map(len, lines)) < 100
    assert sum("because" in line for line in lines) == 20
    assert "          ... and 13 more" in lines
    assert sum(line.endswith(" = 1 more") for line in lines) == 5
    assert "          ... and 3 more" in lines
    assert lines[4].endswith("no8, no9, ...")
    assert any("19.jpg: because" in line for line in lines)


def test_text_of_a_set_in_order() -> None:
    assert report_text(PLAIN) == (
        "/data/train\n"
        "1,281,167 images, all of them opened\n"
        "\n"
        "classes   1,000, of 732 to 1,300 images, median 1,300\n"
        "sizes     224 x 224 px, all\n"
        "kinds     colour, all\n"
        "modes     RGB, all\n"
        "formats   JPEG, all\n"
        "volume    140 GB, 109 kB an image\n"
        "broken    none\n"
        "repeated  none\n"
    )


def test_text_when_nothing_can_be_decoded(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a/0.png": b""})
    text = report_text(inspect_data(str(tmp_path), progress=False))
    assert "sizes     unknown" in text
    assert "broken    1 image cannot be decoded:\n          a/0.png: it is empty" in text


@pytest.mark.parametrize(
    ("mode", "kind"), [("1", "grey"), ("LA", "alpha"), ("CMYK", "colour"), ("I;16", "grey")]
)
def test_kinds(tmp_path: Path, mode: str, kind: str) -> None:
    write_folder(tmp_path, {"a/0.tif": encoded(Image.new(mode, (3, 3)), "TIFF")})
    assert inspect_data(str(tmp_path), progress=False).kinds == {kind: 1}
