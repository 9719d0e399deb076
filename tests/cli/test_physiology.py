"""vonenet physiology: recordings and rows by address, found again, and one line for mistakes."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.cli.test_main import run as run_cli
from vonenet.cli.physiology import (
    Physiology,
    _file_name,
    _models_on_canvas,
    load_on_canvas,
    record_models,
)
from vonenet.errors import InputError
from vonenet.physiology import Subject, experiments, preparation
from vonenet.physiology.experiments import protocol_digest
from vonenet.results import RESULTS, model_hash, read_jsonl
from vonenet.zoo import loading, registry

TOY = """
import torch
from torch import nn
import vonenet

def network(**settings):
    small = dict(image_size=32, in_chans=1, kernel_size=15, num_classes=3)
    channels = dict(simple_channels=8, complex_channels=8)
    return vonenet.create_model("voneresnet_small", **(small | channels | settings))

def plain():
    torch.manual_seed(torch.randint(1000, ()).item())
    model = nn.Sequential(nn.Conv2d(1, 6, 5), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2))
    model(torch.zeros(1, 1, 32, 32))
    model.pretrained_cfg = {"input_size": (1, 32, 32), "mean": (0.5,), "std": (0.5,)}
    return model

def silent():
    return network(noise=None)

def gaussian():
    return network(noise="gaussian")

def of_another_law():
    return network(fano_factor=1.5, noise_floor=0.01)

def not_rectified():
    return network(rectified=False)

def darker():
    from vonenet.data import PixelModel
    return PixelModel(network(), 0.4, 0.5)

def wide():
    return network(image_size=(32, 64), visual_degrees=2.0)
"""


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    path = tmp_path_factory.mktemp("toy") / "toy.py"
    path.write_text(TOY)
    return f"{path}:network"


def record(addresses, out, **settings):
    options = Physiology(
        addresses[0], compare=tuple(addresses[1:]), out=out, quiet=True, **settings
    )
    return record_models(options)


@pytest.fixture(autouse=True, scope="module")
def _few_stimuli():
    """What files, rows and addresses do depends not on all experiments, maps and pictures."""
    some = ("receptive_field", "orientation", "modulation", "noise")
    with pytest.MonkeyPatch.context() as patch:
        few = {name: experiments.EXPERIMENTS[name] for name in some}
        patch.setattr(experiments, "EXPERIMENTS", few)
        patch.setattr(preparation, "PATCH_POSITIONS", 11)
        patch.setattr("vonenet.report.physiology.SHOWN_UNITS", 1)
        yield


@pytest.fixture(scope="module")
def first(toy, tmp_path_factory):
    out = tmp_path_factory.mktemp("first")
    [recording] = record([toy], out)
    return recording, out


@pytest.fixture
def once(first, tmp_path):
    """A recording, which tmp_path / "out" holds."""
    recording, out = first
    shutil.copytree(out, tmp_path / "out")
    return recording


def test_a_block_is_recorded_with_what_it_was_built_with(once):
    assert (once.label, once.map_shape) == ("network vone_block", (16, 16, 16))
    settings = {"degrees": 2.0, "pixels": 32, "units": 16, "trials": 1, "before_noise": True}
    settings |= {"seed": 0, "protocol": protocol_digest()}
    assert once.settings == settings | {"preprocessing": "mean 0.5, std 0.5, 32 px"}
    assert once.is_stochastic
    assert once.ground_truth.is_complex.tolist() == [False] * 8 + [True] * 8
    assert once.ground_truth.noise_slope == pytest.approx(1 / 0.35)
    assert once.ground_truth.noise_offset == pytest.approx((0.07 + 1e-4) / 0.35**2)
    whole = once.ground_truth.whole
    measured = once.populations["orientation"].properties["preferred_orientation"]
    off = (measured - once.ground_truth.orientation_deg + 90) % 180 - 90
    assert np.nanmedian(np.abs(off[whole])) < 3


def test_what_was_recorded_is_not_recorded_again(once, toy, tmp_path, monkeypatch):
    rows = read_jsonl(tmp_path / "out" / RESULTS)
    monkeypatch.setattr("vonenet.physiology.record", None)
    [again] = record([toy, toy], tmp_path / "out")
    assert again.seconds == once.seconds
    assert read_jsonl(tmp_path / "out" / RESULTS) == rows
    [path] = (tmp_path / "out").glob("*.npz")
    path.write_bytes(b"no zip")
    with pytest.raises(InputError, match=rf"{path.name} is no recording"):
        record([toy], tmp_path / "out")


def test_rows_that_a_kill_kept_away_come_with_the_next_start(once, toy, tmp_path):
    path = tmp_path / "out" / RESULTS
    rows = read_jsonl(path)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:10]) + lines[10][:30])
    with pytest.warns(UserWarning, match="unfinished"):
        record([toy], tmp_path / "out")
    assert read_jsonl(path) == rows


def numbers(folder):
    return [dataclasses.replace(row, seconds=0) for row in read_jsonl(folder / RESULTS)]


@pytest.mark.slow
def test_a_seed_gives_the_same_rows_and_other_ways_to_record_stand_beside(once, toy, tmp_path):
    out = tmp_path / "out"
    record([toy], tmp_path / "other")
    before = numbers(out)
    assert before == numbers(tmp_path / "other")
    [trials] = record([toy], out, trials=3)
    [wider] = record([toy], out, degrees=3.0)
    record([toy], out, seed=1)
    assert (trials.settings["before_noise"], trials.settings["trials"]) == (False, 3)
    assert wider.settings["degrees"] == 3
    assert len(list(out.glob("*.npz"))) == 4
    assert len(numbers(out)) > 3.5 * len(before)


@pytest.mark.parametrize(
    ("function", "slope", "offset"),
    [
        ("silent", np.nan, np.nan),
        ("gaussian", 0.0, 0.35**2),
        ("of_another_law", 1.5 / 0.35, (1.5 * 0.07 + 0.01) / 0.35**2),
        ("not_rectified", np.nan, np.nan),
    ],
)
def test_other_noise(toy, tmp_path, function, slope, offset):
    [recording] = record([toy.replace("network", function)], tmp_path)
    drawn = recording.ground_truth
    np.testing.assert_allclose([drawn.noise_slope, drawn.noise_offset], [slope, offset])
    assert recording.is_stochastic == (function != "silent")
    ratios = [row for row in read_jsonl(tmp_path / RESULTS) if row.metric == "ratio"]
    assert [row.flags["holds"] for row in ratios] == ([True] if slope >= 0 else [])


@pytest.mark.parametrize(
    ("function", "settings", "message"),
    [
        ("plain", {}, r"plain has no vone_block: .*--layer NAME; .* 0, 1, 2, 3"),
        ("network@vone_blok", {}, "no layer 'vone_blok'; near names: vone_block"),
        ("network", {"layer": "model.x"}, r"^network: the model has no layer 'model\.x'"),
        ("network@model.fc", {}, "'model.fc' has no spatial extent"),
        ("network", {"degrees": 0.0}, "degrees must be above 0, got 0"),
        ("network", {"trials": 0}, "trials must be 1 or more, got 0"),
        ("network@", {}, "no layer ''"),
    ],
)
def test_mistakes_get_one_line(toy, tmp_path, function, settings, message):
    with pytest.raises(InputError, match=message) as error:
        record([toy.replace("network", function)], tmp_path, **settings)
    assert "\n" not in str(error.value)


def test_the_command_records_layers_by_address_and_writes_a_page(capsys, once, toy, tmp_path):
    out, plain = tmp_path / "out", toy.replace("network", "plain")
    status, printed, error = run_cli(
        capsys, "physiology", toy, "--compare", f"{plain}@0", "--out", out
    )
    assert status == 0, error
    assert "preferred orientation" in printed
    assert str(out / "report.html") in printed
    page = (out / "report.html").read_text()
    assert "network vone_block" in page
    assert "plain 0" in page

    # Found again: fresh weights are the same, an address goes before the option
    for address, layer in ((f"{plain}@0", "bottleneck"), (plain, "0")):
        [recording] = record([address], out, layer=layer)
        assert recording.label == "plain 0"
    assert len(list(out.glob("*.npz"))) == 2
    assert recording.ground_truth is None
    assert not recording.is_stochastic
    assert recording.settings["degrees"] == 8


def test_what_a_recording_depends_on_is_in_its_name(once, toy, tmp_path, monkeypatch):
    """Preprocessing and the code that measures; not how a library prints a module."""
    loaded, canvas = load_on_canvas(toy, None, "cpu")
    subject = Subject(loaded.model, "vone_block", canvas, trials=20, mean_response=True)
    weights = model_hash(loaded.model)
    [path] = (tmp_path / "out").glob("*.npz")
    assert _file_name("network", weights, subject) == path.name
    assert once.model_hash == weights
    monkeypatch.setattr(torch.nn.Conv2d, "extra_repr", lambda self: "another way to print it")
    assert model_hash(load_on_canvas(toy, None, "cpu")[0].model) == weights
    darker, _ = load_on_canvas(toy.replace("network", "darker"), None, "cpu")
    assert model_hash(darker.model) != weights
    monkeypatch.setattr(experiments, "protocol_digest", lambda: "another protocol")
    assert _file_name("network", weights, subject) != path.name


def test_the_protocol_is_the_content_of_the_files_that_measure(tmp_path, monkeypatch):
    package = tmp_path / "physiology"
    shutil.copytree(Path(experiments.__file__).parents[1], package)
    monkeypatch.setattr(experiments, "files", lambda _: package)
    digest = protocol_digest.__wrapped__
    assert digest() == protocol_digest()
    changed = package / "preparation.py"
    changed.write_text(changed.read_text().replace("PATCH_REACH_DEG = 2.5", "PATCH_REACH_DEG = 2"))
    other = digest()
    assert other != protocol_digest()
    (package / "extra.pyc").write_bytes(b"nothing")
    assert digest() == other


def test_a_model_is_hashed_once(toy, tmp_path, monkeypatch):
    hashed = []
    for module in ("vonenet.results", "vonenet.physiology.experiments"):
        monkeypatch.setattr(f"{module}.model_hash", lambda model: hashed.append(1) or "0" * 16)
    record([toy], tmp_path)
    assert len(hashed) == 1


def test_a_rectangular_model_sees_pixels_of_the_size_that_it_was_made_for(toy):
    loaded, canvas = load_on_canvas(toy.replace("network", "wide"), None, "cpu")
    assert (canvas.degrees, canvas.pixels) == (2.0, 32)
    assert canvas.pixels_per_degree == loaded.model.model.vone_block.config.pixels_per_degree


def test_ctrl_c_says_what_is_kept(toy, tmp_path, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("vonenet.cli.physiology.record_models", stop)
    with pytest.raises(KeyboardInterrupt, match="finished are in .* same command goes on"):
        Physiology(toy, out=tmp_path).run()


SMALL = {"image_size": 32, "filter_seed": 5}


@pytest.fixture
def _few_cells(monkeypatch):
    """Front-ends of 16 cells."""
    few = {"simple_channels": 8, "complex_channels": 8}
    build = registry.create_front_end
    monkeypatch.setattr(loading, "create_front_end", lambda *a, **k: build(*a, **few, **k))


@pytest.mark.usefixtures("_few_cells")
def test_front_ends_are_recorded_without_a_network(tmp_path):
    options = Physiology(front_end=("vonenet", "evnet2025"), out=tmp_path, quiet=True, **SMALL)
    v1, evnet = record_models(options)
    assert (v1.label, evnet.label) == ("vonenet vone_block", "evnet2025 vone_block")
    assert [each.settings["degrees"] for each in (v1, evnet)] == [2, 1]
    assert evnet.settings["preprocessing"] == "mean 0, std 1, 32 px"
    assert evnet.map_shape == (16, 16, 16)
    # Of V1 behind other stages the filters alone say not what its units prefer
    assert v1.ground_truth is not None
    assert evnet.ground_truth is None
    names = {row.condition["property"] for row in read_jsonl(tmp_path / RESULTS)}
    assert {"own_fano_factor", "own_spike_count", "mean"} <= names
    _, canvas, _ = next(_models_on_canvas(dataclasses.replace(options, degrees=1.0)))
    assert (canvas.degrees, canvas.pixels) == (1, 32)
    other, *_ = next(_models_on_canvas(dataclasses.replace(options, filter_seed=6)))
    assert model_hash(other.model) != v1.model_hash


def test_what_front_ends_need_is_said(capsys, toy, tmp_path):
    for arguments, said in (
        ((), "nothing to record; needed: MODEL or --front-end NAME"),
        ((toy, "--image-size", "64"), "--filter-seed are of front-ends: needed: --front-end"),
        (("--front-end", "evnet2052"), "unknown front-end 'evnet2052'; nearest: evnet2025"),
    ):
        status, _, error = run_cli(capsys, "physiology", *arguments, "--out", tmp_path)
        assert status == 1
        assert said in error
        assert error.count("\n") == 1
