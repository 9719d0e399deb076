"""Records survive the disk, and the page says what they hold."""

import itertools
import json
import re

import pytest
from PIL import Image

from tests.benchmarks.records import record
from vonenet.benchmarks.figure import groups_of
from vonenet.benchmarks.measure import Spread
from vonenet.benchmarks.page import NOTES_END, NOTES_START, goal_table, page, time_table, write_page
from vonenet.benchmarks.record import Record
from vonenet.benchmarks.words import digits, gigabytes, seconds_in_words
from vonenet.errors import InputError


def test_a_record_survives_the_disk(tmp_path):
    path = record().write(tmp_path / "new")
    assert path.name == "test-cpu-2-threads.json"
    assert Record.read(path) == record()


@pytest.mark.parametrize("text", ["", "[]", '{"measurements": [{}]}'])
def test_another_file_is_no_record(tmp_path, text):
    (tmp_path / "other.json").write_text(text)
    with pytest.raises(InputError, match=r"other\.json is not a record") as raised:
        Record.read(tmp_path / "other.json")
    assert "\n" not in str(raised.value)


def test_ratios_are_medians_of_the_rounds_ratios():
    ratio = record().measurements[0].ratio("time", "published", "ours")
    assert (ratio.median, ratio.low, ratio.high) == pytest.approx((6, 6, 6.25))
    assert record().measurements[2].ratio("time", "published", "ours") is None


def test_the_floor_is_operations_and_bytes_over_their_rates():
    assert record().floor_seconds(record().measurements[0]) == pytest.approx((0.1, 0.01))


def test_goals_say_what_is_reached():
    rows = [re.split(r"\s{2,}", line) for line in goal_table(record()).splitlines()[1:]]
    assert [row[0] for row in rows] == [
        "V1 block with noise, 8 x 224 px",
        *2 * ["VOneResNet-50 training step, 8 x 224 px"],
    ]
    assert [row[1:] for row in rows] == [
        ["time, published / ours", "6.00 (6.00 to 6.25)", "≥ 8", "≥ 5", "at least"],
        ["time, ours / torchvision", "1.50", "≤ 1.2", "≤ 1.4", "no"],
        ["peak memory, ours / published", "0.500", "≤ 0.5", "≤ 0.75", "yes"],
    ]


def test_times_are_printed_with_their_floors():
    rows = [re.split(r"\s{2,}", line) for line in time_table(record()).splitlines()]
    assert rows[0][1:3] == ["published", "ours"]
    assert rows[1] == ["V1 block with noise, 8 x 224 px", "1.20 s", "200 ms", "110 ms"]
    assert rows[2][1:] == ["4.00 s", "1.50 s", "1.00 s", "540 ms"]


def test_the_page_names_machine_run_and_every_number():
    text = page([record()])
    for words in ("Test CPU; 2 threads", "torch 2.15", "2026-01-02, seed 0", "10.0 GB/s"):
        assert words in text
    assert "GPU rows are not yet measured" in text
    cells = ["224 px", "8", "1200 (1200 to 1250)", "200", "6.00 (6.00 to 6.25)"]
    assert f"| {' | '.join([*cells, '100 + 10.0', '1.82', '300 / 100'])} |" in text
    assert "| 224 px | 8 |  |  |  |  | 500 + 40.0 |  | 4000 / 1000 / 1000 |" in text


def test_tables_are_rectangular():
    lines = page([record(), record("cuda", "Test GPU")]).splitlines()
    rows = [line for line in lines if line.startswith("|")]
    for above, below in itertools.pairwise(lines):
        if above in rows and below in rows:
            assert above.count("|") == below.count("|")


def test_a_gpus_record_stands_beside_the_cpus(tmp_path):
    write_page(tmp_path / "page.md", [record(), record("cuda", "Test GPU")])
    text = (tmp_path / "page.md").read_text()
    assert "not yet measured" not in text
    pictures = re.findall(r"\]\(([^)]+)\)", text)
    assert pictures == ["images/performance.png", "images/performance-cuda.png"]
    for picture in pictures:
        with Image.open(tmp_path / picture) as image:
            assert image.width == 1600


def test_hand_written_notes_survive(tmp_path):
    path = tmp_path / "performance.md"
    write_page(path, [record()])
    notes = f"{NOTES_START}\n## Why\n\nBecause.\n{NOTES_END}"
    path.write_text(path.read_text().replace(f"{NOTES_START}\n\n{NOTES_END}", notes))
    write_page(path, [record(date="2027-01-01")])
    assert path.read_text().count(notes) == 1
    assert "2027-01-01" in path.read_text()


@pytest.mark.parametrize("text", [NOTES_START, NOTES_END, f"{NOTES_END}{NOTES_START}"])
def test_notes_with_one_mark_are_not_lost(tmp_path, text):
    path = tmp_path / "performance.md"
    path.write_text(f"by hand {text}")
    with pytest.raises(InputError, match="must hold both"):
        write_page(path, [record()])
    assert path.read_text() == f"by hand {text}"


def test_the_picture_shows_times_floors_and_memory():
    block, step, memory, adversarial = groups_of(record())
    words = [[(bar.name, bar.words) for bar in group.bars] for group in (block, step)]
    assert words[0] == [("published", "1.20 s"), ("ours", "200 ms"), ("floor", "110 ms")]
    assert [name for name, _ in words[1]] == ["published", "ours", "torchvision", "floor"]
    assert block.bars[0].length == Spread(1.2, 1.2, 1.25)
    assert block.remark == "6.0 times as fast as published"
    assert step.remark == "1.50 times torchvision's time"
    assert [bar.words for bar in memory.bars] == ["2.00 GB", "1.00 GB", "1.00 GB"]
    assert adversarial.remark == "0.25 of published"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.12345, "0.123"), (9.996, "10.0"), (99.96, "100"), (1234.5, "1234"), (5, "5.00")],
)
def test_three_digits(value, text):
    assert digits(value) == text


def test_units():
    assert seconds_in_words(0.5) == "500 ms"
    assert seconds_in_words(2.5) == "2.50 s"
    assert gigabytes(5e8) == "500 MB"


def test_records_are_plain_json(tmp_path):
    values = json.loads(record().write(tmp_path).read_text())
    assert values["measurements"][0]["seconds"]["ours"] == [0.2, 0.2, 0.2]
