"""`vonenet bench` end to end on tiny cases, and one line for every mistake."""

import pytest
import torch

from tests.benchmarks.records import record
from vonenet import cli
from vonenet.benchmarks import machine, run
from vonenet.benchmarks.cases import BLOCK_MEAN, BLOCK_NOISE, Case, NamedTask, faster_than_published
from vonenet.benchmarks.command import bench_report, read_records, with_other_kind
from vonenet.benchmarks.floors import Floor
from vonenet.benchmarks.record import Record
from vonenet.benchmarks.tasks import Contestant, Prepared

CASES = (
    Case(BLOCK_NOISE, 1, 32, (faster_than_published(1e-9, 0),)),
    Case(BLOCK_MEAN, 1, 32, timed=False),
)


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(machine, "MATRIX_SIDE", {"cpu": 32})
    monkeypatch.setattr(machine, "CONVOLUTION_BATCH", {"cpu": 1})
    monkeypatch.setattr(machine, "COPY_BYTES", 2**16)
    for table in ("CASES", "QUICK_CASES"):
        monkeypatch.setattr(run, table, {"cpu": CASES})
    monkeypatch.setattr(run, "BUDGET_S", 0.05)
    monkeypatch.setattr(run, "QUICK_BUDGET_S", 0.05)
    monkeypatch.setattr(machine.this_machine, "__defaults__", (0.01,))
    return tmp_path


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_full_run_writes_page_picture_and_record(tiny):
    state = torch.get_rng_state()
    text = bench_report(device="cpu", progress=False)
    assert torch.equal(torch.get_rng_state(), state)
    json, *page = sorted(files(tiny), key=lambda path: not path.endswith(".json"))
    assert page == ["docs/images/performance.png", "docs/performance.md"]
    measured = Record.read(tiny / json)
    assert f"results/bench/{measured.machine.slug}.json" == json
    noisy, untimed = measured.measurements
    assert all(len(seconds) >= 5 for seconds in noisy.seconds.values())
    assert untimed.seconds == {}
    assert all(peak > 0 for case in measured.measurements for peak in case.peak_bytes.values())
    assert "yes" in text
    assert text.count("written: ") == 2


def test_a_quick_run_writes_only_what_is_asked_for(tiny):
    assert "written:" not in bench_report(device="cpu", quick=True, progress=False)
    assert files(tiny) == []
    bench_report(device="cpu", quick=True, out=tiny / "page.md", progress=False)
    assert files(tiny) == ["images/performance.png", "page.md"]


def test_a_call_that_is_taken_often_counts_so_often(monkeypatch):
    prepared = Prepared(
        {"published": Contestant(list, times=3), "ours": Contestant(list)}, Floor(1, 1)
    )
    monkeypatch.setitem(run.TASKS, "toy", NamedTask(lambda setting: prepared, "A toy."))
    monkeypatch.setattr(run, "interleaved_seconds", lambda calls, **_: {k: [1, 2] for k in calls})
    measured = run.measure_case(Case("toy", 1, 1), torch.device("cpu"), budget_s=0)
    assert measured.seconds == {"published": [3, 6], "ours": [1, 2]}


def test_threads_are_set_for_the_run_alone(tiny, monkeypatch):
    before = torch.get_num_threads()
    seen = run.run_bench("cpu", quick=True, threads=before + 1, progress=False).machine.threads
    assert seen == before + 1
    assert torch.get_num_threads() == before


def test_the_page_shows_the_newest_record_of_the_other_kind(tmp_path):
    record("cuda", "Old GPU", "2025-01-01").write(tmp_path)
    record("cuda", "New GPU", "2026-01-01").write(tmp_path)
    record("cpu", "Other CPU", "2027-01-01").write(tmp_path)
    shown = with_other_kind(record(), read_records(tmp_path))
    assert [each.machine.name for each in shown] == ["Test CPU", "New GPU"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--device", "cuda"], "device cuda was asked for, but torch sees no GPU here"),
        (["--threads", "0"], "threads must be 1 or more, got 0"),
        (["--out", "."], ". is a folder; --out must be a file"),
        (["--out", "/proc/page.md"], "/proc/images"),
        (["--out", "half.md"], "half.md must hold both"),
        (["--records", "other"], "other/one.json is not a record"),
    ],
)
def test_mistakes_get_one_line_before_anything_is_measured(
    tiny, capsys, arguments, message, monkeypatch
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(run, "this_machine", None)
    (tiny / "half.md").write_text("<!-- notes -->")
    (tiny / "other").mkdir()
    (tiny / "other" / "one.json").write_text("{}")
    with pytest.raises(SystemExit) as stop:
        cli.main(["bench", *arguments])
    assert stop.value.code == 1
    err = capsys.readouterr().err
    assert err.startswith("vonenet: ")
    assert len(err.splitlines()) == 1
    assert message in err


def test_the_machine_is_named_and_measured(tiny):
    here = machine.this_machine(torch.device("cpu"))
    assert here.name == machine.cpu_name()
    assert here.matrix_rate == max(here.matrix_rates.values()) > 0
    assert here.bandwidth > 0
    assert set(here.slug) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert {"python", "torch", "torchvision", "vonenet"} <= set(here.versions)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_is_measured_in_mixed_precision():
    measured = run.measure_cases(CASES, torch.device("cuda"), budget_s=0.1, progress=False)
    assert measured.machine.precision == "bfloat16"
    assert all(peak > 0 for case in measured.measurements for peak in case.peak_bytes.values())
