"""Timing, results files and the page: nothing is mixed, nothing is lost."""

import json
import os
from functools import partial

import pytest
import torch

from benchmarks import measure
from benchmarks.__main__ import bench
from benchmarks.page import goal_table, section, write_page
from vonenet.errors import InputError

RUN = {"date": "2026-01-02", "commit": "abc", "note": "", "seed": 0, "dtype": "float32"}
RUN |= {"versions": {"torch": "2.14"}, "matrix_rates": {"torch.mm": 1e11}, "bandwidth": 1e10}
CPU = torch.device("cpu")


def results(name, published=(1.2, 1.2, 1.3), ours=(0.2, 0.2, 0.2), kind="cpu", **changes):
    machine = {"kind": kind, "name": name, "family": "1", "model": "2", "instructions": "AVX2"}
    machine |= {"threads": 2, "cores": 2, "virtual": False, "memory_bytes": 2**30, "system": "OS"}
    row = {"case": "block-noise", "run": "r", "image_px": 224, "batch": 8, "cells": 512}
    row |= {"samples": 1, "lower_bound_s": [0.1, 0.01], "peak_bytes": 10**8, **changes}
    rows = [{**row, "implementation": "published", "seconds": published}]
    rows += [{**row, "implementation": "ours", "seconds": ours}]
    return {"machine": machine, "runs": {"r": dict(RUN)}, "rows": rows}


def interrupt(descriptor):
    raise KeyboardInterrupt


def test_peak_memory_is_exact():
    def two_then_one():
        first, second = torch.empty(10**6), torch.empty(10**6)
        del first
        return second, torch.empty(10**5)

    assert measure.peak_bytes(two_then_one, CPU) == 8 * 10**6
    assert measure.peak_bytes(torch.ones(10**6).neg_, CPU) == 0


def test_a_later_run_replaces_only_the_cases_that_it_measured(tmp_path):
    old = results("A CPU")
    old["rows"] += [{**old["rows"][0], "case": "loop"}]
    measure.add_rows(old, "s", RUN, [{**old["rows"][0], "run": "s"}])
    measure.write_results(tmp_path, old)
    read = measure.read_results(tmp_path / "a-cpu-1-2-avx2.json")
    kept = [(row["case"], row["run"]) for row in read["rows"]]
    assert kept == [("loop", "r"), ("block-noise", "s")]
    measure.add_rows(read, "t", RUN, [{**row, "run": "t"} for row in read["rows"]])
    assert set(read["runs"]) == {"t"}


@pytest.mark.parametrize("text", ["", "[]", '{"machine": {}, "runs": {}, "rows": [{}]}'])
def test_another_file_gets_one_line(tmp_path, text):
    (tmp_path / "other.json").write_text(text)
    with pytest.raises(InputError, match=r"^[^\n]*other\.json is not a results file[^\n]*$"):
        measure.read_results(tmp_path / "other.json")


def test_machines_are_columns_of_the_goals_and_sections_of_the_page():
    machines = [results("A CPU"), results("B CPU", [2.0], [1.0])]
    machines += [results("C GPU", kind="cuda", batch=128)]
    table = [line.strip("| ").split(" | ") for line in goal_table(machines).splitlines()]
    titles = [cell.split("<br>")[0] for cell in table[0][4:]]
    assert titles == ["A CPU 1-2 AVX2", "B CPU 1-2 AVX2", "C GPU"]
    ratio = "6.00 (6.00 to 6.25)"
    assert table[2][:4] == ["V1 block with noise, 8 x 224 px", "published / ours", "≥ 8", "≥ 5"]
    assert table[2][4:] == [f"{ratio}, at least", "2.00, missed", f"{ratio}, at 128 x 224 px"]
    assert {cell for row in table[3:] for cell in row[4:]} == {"not measured"}
    a, b = section(machines[0]), section(machines[1])
    assert "| published | 1200 (1200 to 1250) | 6.00 (6.00 to 6.25) | 10.9 | 100 | 3 |" in a
    assert "| lower bound | 100 + 10.0 (operations + bytes) |" in a
    assert "| published | 2000 | 2.00 |" in b
    assert "1200" not in b


def test_the_page_keeps_the_notes_and_is_written_whole(tmp_path, monkeypatch):
    page, notes = tmp_path / "page.md", "<!-- notes -->\n## Why\n\n| a | b |\n<!-- /notes -->"
    page.write_text(f"old\n{notes}\nold")
    write_page(page, [results("A CPU")])
    before = page.read_text()
    assert (before.count(notes), before.count("old")) == (1, 0)
    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_page(page, [results("B CPU")])
    assert page.read_text() == before
    page.write_text("<!-- notes --> by hand")
    with pytest.raises(InputError, match="must hold both"):
        write_page(page, [results("B CPU")])
    assert page.read_text() == "<!-- notes --> by hand"


def test_a_quick_run_from_end_to_end(tmp_path, monkeypatch):
    page, folder = tmp_path / "page.md", tmp_path / "results"
    run, state = partial(bench, out=page, results=folder, quick=True), torch.get_rng_state()
    run(only="block-noise,by-batch,by-cells")
    assert torch.equal(torch.get_rng_state(), state)
    (path,), (figure,) = folder.iterdir(), (tmp_path / "images").iterdir()
    first, drawn = json.loads(path.read_text()), figure.read_bytes()
    assert figure.name in page.read_text()
    names = [row["implementation"] for row in first["rows"]]
    assert names == 5 * ["published", "published, no subnormals", "ours"]
    for row in first["rows"]:
        assert row["rounds"] == len(row["seconds"]) == 2
        assert row["quartiles_s"][0] <= row["median_s"] <= row["quartiles_s"][1]
        assert min(row["lower_bound_s"]) > 0
        assert bool(row["peak_bytes"]) == (row["case"] == "block-noise")
    measure.write_results(folder, {**first, "machine": {**first["machine"], "name": "B CPU"}})
    run(page_only=True)
    assert figure.read_bytes() == drawn  # the same numbers give the same bytes
    assert "## B CPU" in page.read_text()
    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(only="block-mean")
    assert json.loads(path.read_text()) == first
    with pytest.raises(InputError, match="no case nothing; there are block-noise"):
        run(only="nothing")
