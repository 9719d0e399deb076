"""docs/frontends.md: its code runs, and its tables are made of presets and rows."""

import dataclasses
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.cases import CASES
from scripts import draw_frontends
from tests.report.recordings import planted
from vonenet.frontends.front_end import STAGES
from vonenet.frontends.presets import PRESETS
from vonenet.physiology.recording import Curve, GroundTruth, save_recording
from vonenet.physiology.scores import recording_rows
from vonenet.results import append_jsonl

PAGE = Path(__file__).parents[2] / "docs" / "frontends.md"


def test_the_worked_example_adds_a_stage(monkeypatch):
    for registry in (STAGES, PRESETS):
        for name in registry:
            monkeypatch.setitem(registry, name, registry[name])  # and take away what is added
    before = set(STAGES), set(PRESETS)
    names: dict = {"__name__": "example"}
    try:
        for code in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
            exec(compile(code, str(PAGE), "exec", dont_inherit=True), names)
        model = names["model"].eval()
        assert model.config.front_end == "vonenet_optics"
        images = torch.rand(1, 3, 64, 64)
        sharp, blurred = images, model.optics(images)
        assert blurred.shape == sharp.shape
        assert blurred.std() < sharp.std()
        assert torch.allclose(model.optics(torch.full_like(images, 0.3)), torch.tensor(0.3))
        again = type(model.config).from_dict(model.config.to_dict())
        assert again == model.config
    finally:
        for registry, known in zip((STAGES, PRESETS), before, strict=True):
            for name in set(registry) - known:
                del registry[name]


def bench_rows(key, run="2026-01-01", **seconds):
    row = {"case": key, "run": run, "batch": 8}
    return [{**row, "implementation": name, "seconds": times} for name, times in seconds.items()]


def write_bench(path, rows, name="AMD"):
    path.write_text(json.dumps({"machine": {"name": name, "threads": 2}, "rows": rows}))


def test_costs_are_medians_of_ratios_of_the_same_rounds_and_the_newest_rows_count(tmp_path):
    seconds = {"ours": [1.0, 2.0, 9.0], "vonenet": [0.5, 0.5, 3.0], "V1 alone": [1.0, 1.0, 4.5]}
    rows = bench_rows("front-end", **seconds, published=[5.0, 12.0, 45.0])
    rows += bench_rows("front-end-vonenet", ours=[0.1]) + bench_rows("block-mean", ours=[1.0])
    write_bench(tmp_path / "b.json", rows)
    old = bench_rows("front-end", "2025-12-31", ours=[7.0], published=[7.0])
    write_bench(tmp_path / "c.json", old, "older")
    costs = draw_frontends.read_costs(tmp_path)
    assert costs["evnet2025"] == (
        "3.00",
        "2000 ms for 8 images, 3.00 times `vonenet`, 2.00 times its V1 alone, "
        "the published form takes 5.00 times as long (AMD, 2 threads, 3 rounds)",
    )
    assert costs["vonenet"] == ("1", "100 ms for 8 images (AMD, 2 threads, 1 rounds)")
    assert costs["vonenet2020"] == ("", "")


def test_every_front_end_and_every_stage_has_a_benchmark():
    named = {key.removeprefix("front-end-") for key in CASES if key.startswith("front-end-")}
    assert named | {"evnet2025"} == set(PRESETS)
    assert set(STAGES) <= set(CASES)


def test_curves_stand_about_each_units_best():
    angles, best = np.arange(12) * 15.0, np.arange(12) % 12
    around = 20 + 20 * np.cos(np.deg2rad(2 * (angles - angles[best][:, None])))
    octaves, peaks = np.arange(20) / 4, 4 + best  # the lowest frequency is up to 15 steps away
    tuned = np.exp(-np.abs(octaves - octaves[peaks][:, None])) * np.arange(1, 13)[:, None]
    recording, populations = planted(units=12), {}
    for name, curve in {
        "orientation": Curve("degrees", angles, around),
        "spatial_frequency": Curve("cycles/degree", 2**octaves, tuned),
    }.items():
        population = recording.populations[name]
        populations[name] = dataclasses.replace(population, curves={name: curve})
    left = np.random.default_rng(0).uniform(-0.2, 1, 12)  # of the response, behind a mask
    mask = recording.populations["cross_orientation"]
    properties = {"cross_orientation_suppression": 1 - left}
    populations["cross_orientation"] = dataclasses.replace(mask, properties=properties)
    changed = {**recording.populations, **populations}
    rows = draw_frontends.curve_rows(dataclasses.replace(recording, populations=changed))
    found = {row["condition"]["property"]: row for row in rows}
    assert list(found) == list(draw_frontends.PANELS)
    x = np.array(found["orientation"]["x"])
    assert (x[0], x[-1], len(x)) == (-90, 90, 13)
    expected = 0.5 + 0.5 * np.cos(np.deg2rad(2 * x))
    np.testing.assert_allclose(found["orientation"]["quartiles"], [expected] * 3, atol=1e-4)
    x = np.array(found["spatial_frequency"]["x"])
    assert (x[0], x[-1]) == (-10 / 4, 10 / 4)  # where six of twelve units still have a rate
    quartiles = [np.exp(-np.abs(x))] * 3
    np.testing.assert_allclose(found["spatial_frequency"]["quartiles"], quartiles, atol=1e-4)
    assert found["orthogonal_mask"]["x"] == [0, 0.5]
    middle = [values[1] for values in found["orthogonal_mask"]["quartiles"]]
    np.testing.assert_allclose(middle, np.quantile(left, [0.25, 0.5, 0.75]), atol=1e-4)


@pytest.mark.filterwarnings("ignore::vonenet.VOneNetWarning")
def test_the_page_is_written_from_recordings_and_keeps_what_is_written_by_hand(
    tmp_path, monkeypatch
):
    results, docs = tmp_path / "results", tmp_path / "docs"
    for folder in (results / "bench", results / "frontends", docs, tmp_path / "build"):
        folder.mkdir(parents=True)
    page = Path(shutil.copy(PAGE, docs))
    bare = planted("vonenet2026")
    angles, ratios = bare.values("preferred_orientation") % 180, bare.values("modulation_ratio")
    peaks = bare.values("peak_spatial_frequency")
    built = GroundTruth(angles, peaks, np.ones(24, bool), ratios < 1)
    recording = dataclasses.replace(bare, ground_truth=built)
    save_recording(recording, tmp_path / "build" / "vonenet2026.npz")
    append_jsonl(results / "frontends" / "results.jsonl", recording_rows(recording))
    write_bench(results / "bench" / "a.json", bench_rows("front-end-vonenet2026", ours=[0.25]))
    monkeypatch.setattr(draw_frontends, "ROOT", tmp_path)
    monkeypatch.setattr(draw_frontends, "model_hash", lambda model: recording.model_hash)
    monkeypatch.setattr("sys.argv", ["draw_frontends.py", str(tmp_path / "build")])
    draw_frontends.main()
    text, mark = page.read_text(), draw_frontends.START
    assert text.partition(mark)[0] == PAGE.read_text().partition(mark)[0]
    sections = dict(part.split("\n", 1) for part in text.split("\n### ")[1:])
    assert [name for name in sections if name in PRESETS] == list(PRESETS)
    assert all(f"(#{name})" in text for name in PRESETS)
    own, rows = sections["vonenet2026"], recording_rows(recording)
    mean = next(row for row in rows if row.condition["property"] == "mean")
    interval = f"({mean.ci_low:.2f}&nbsp;to&nbsp;{mean.ci_high:.2f})"
    assert f"| mean |  | {mean.value:.2f} {interval} | 24 |" in own
    assert np.median(recording.values("modulation_ratio")).round(3) == 0.835
    assert "| F1/F0 | 0.83 |" in own  # not the share of cells as they were built
    assert "Cost: 250 ms for 8 images (AMD, 2 threads, 1 rounds)." in own
    assert re.search(r"vone_block +\(B, 512, 56, 56\)", own)
    assert "untuned_drive 1.0" in own
    assert [name for name in PRESETS if "trainable True" in sections[name]] == ["vonenet_trainable"]
    assert all("sf_min" in sections[name] for name in PRESETS)
    (figure,) = (docs / "images" / "frontends").iterdir()
    assert f"({figure.relative_to(docs)})" in own
    drawn = figure.read_text()
    assert "too few units" not in drawn
    assert re.search(r"subcortical +\(B, 4, 224, 224\)", sections["evnet2025"])
    assert "images/" not in sections["evnet2025"]
    monkeypatch.setattr("sys.argv", ["draw_frontends.py"])
    draw_frontends.main()  # from the rows alone
    assert (page.read_text(), figure.read_text()) == (text, drawn)
    monkeypatch.undo()
    monkeypatch.setattr(draw_frontends, "ROOT", tmp_path)
    monkeypatch.setattr("sys.argv", ["draw_frontends.py"])
    draw_frontends.main()  # the rows are of another front-end of this name
    assert page.read_text().count("not recorded") == len(PRESETS)
