"""vonenet evaluate: suites, rows, real kills, several processes."""

import importlib
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import distributed, nn

from tests.data.pictures import noise_png, write_folder
from vonenet import robustness
from vonenet.cli import evaluate as cli_evaluate
from vonenet.cli import main
from vonenet.cli.evaluate import (
    Evaluate,
    conditions_of,
    run_evaluation,
    shown_conditions,
    write_contact_sheet,
)
from vonenet.cli.train import open_parts
from vonenet.data import ImageArrays, PixelModel, load_embedded
from vonenet.errors import InputError
from vonenet.results import AUDIT, RECIPE, RESULTS, RUN, read_jsonl
from vonenet.robustness import Attack, Clean, Corruption
from vonenet.training import TrainingRecipe
from vonenet.training.checkpoint import sealed
from vonenet.zoo.loading import LoadedModel, load_model

# The package has functions of these names
robustness_evaluate = importlib.import_module("vonenet.robustness.evaluate")
audit_module = importlib.import_module("vonenet.robustness.audit")
TOY = """
import torch
from torch import nn
import vonenet
from vonenet.data import PixelModel

def load():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        small = dict(simple_channels=8, complex_channels=8, image_size=32, in_chans=1)
        model = vonenet.create_model("voneresnet_small", num_classes=10, **small)
    return model
"""
FLAT = """
from torch import nn
from vonenet.data import PixelModel

def load():
    model = nn.Sequential(nn.Flatten(), nn.Linear(1024, 10))
    model.pretrained_cfg = {"input_size": (1, 32, 32)}
    return PixelModel(model, 0.5, 0.5)
"""
QUICK = ["--data", "embedded", "--suite", "quick", "--limit", "20", "--batch-size", "5"]


@pytest.fixture
def toy(tmp_path):
    path = tmp_path / "toy.py"
    path.write_text(TOY)
    return f"{path}:load"


@pytest.fixture
def flat(tmp_path):
    """A model without V1, whose filters need not be drawn."""
    path = tmp_path / "flat.py"
    path.write_text(FLAT)
    return f"{path}:load"


def kinds(conditions):
    return {kind: sum(type(c) is kind for c in conditions) for kind in (Clean, Corruption, Attack)}


@pytest.mark.parametrize(
    ("suite", "corruptions", "attacks"),
    [
        ("quick", 4, 3),
        ("paper", 15 * 5, 6),
        ("corruptions", 19 * 5, 0),
        ("attacks", 0, 12 + 4),
        ("full", 19 * 5, 12 + 4),
    ],
)
def test_suites_hold_what_their_names_say(suite, corruptions, attacks):
    conditions = conditions_of(suite)
    assert isinstance(conditions[0], Clean)
    assert kinds(conditions) == {Clean: 1, Corruption: corruptions, Attack: attacks}
    assert len(set(conditions)) == len(conditions)


def test_the_contact_sheet_shows_each_kind_once(toy, tmp_path):
    shown = shown_conditions(conditions_of("full"))
    assert kinds(shown) == {Clean: 1, Corruption: 19, Attack: 3}
    assert {c.epsilon for c in shown if isinstance(c, Attack)} == {16 / 255, 9.6, 2560.0}
    model = load_model(toy).model
    dataset = load_embedded("test", image_size=32, in_chans=1)
    write_contact_sheet(model, dataset, shown[:3] + shown[-2:], tmp_path / "sheet.png", seed=0)
    with Image.open(tmp_path / "sheet.png") as sheet:
        pixels = np.array(sheet)
    assert pixels.shape == (2 * (160 + 16 + 8) - 8, 4 * (160 + 8) - 8, 4)
    assert pixels[16, -1, 3] == 0  # transparent, for light and dark pages
    clean = (dataset[0][0][0] * 255).round().numpy()
    assert (pixels[16:176:5, 0:160:5, 0][:32, :32] == clean).all()
    assert not list(tmp_path.glob("*unfinished*")) + list(tmp_path.glob(".*unfinished*"))


@pytest.mark.parametrize(("change", "shown"), [(0.01, 127.5 + 255 * 0.5), (0.0, 127.5), (0.9, 255)])
def test_what_an_attack_changed_is_shown_amplified_around_grey(tmp_path, change, shown):
    class Planted(Attack):
        def perturb(self, model, pixels, labels, **kw):
            return pixels + change

    dataset = ImageArrays(torch.zeros(1, 1, 32, 32), torch.tensor([0]), ("a",), "planted")
    model = PixelModel(torch.nn.Flatten(), mean=(0.5,), std=(0.5,))
    write_contact_sheet(model, dataset, [Planted("l2", 1.0)], tmp_path / "sheet.png", seed=0)
    with Image.open(tmp_path / "sheet.png") as sheet:
        pixels = np.array(sheet)
    assert np.allclose(pixels[20:170, 10:150, 0], 255 * change, atol=1)
    assert np.allclose(pixels[20:170, 180:320, 0], shown, atol=1)


def command(model, out, *more):
    return [sys.executable, "-m", "vonenet", "evaluate", model, *QUICK, "--out", str(out), *more]


def measured(out):
    return [vars(row) | {"seconds": 0} for row in read_jsonl(out / RESULTS)]


@pytest.fixture(scope="module")
def left_alone_in(tmp_path_factory):
    """The folder of a run that nobody disturbs."""
    folder = tmp_path_factory.mktemp("alone")
    (folder / "toy.py").write_text(TOY)
    run([f"{folder / 'toy.py'}:load"], folder)
    return folder


@pytest.fixture
def left_alone(left_alone_in):
    return measured(left_alone_in)


def run(models, out, **changes):
    settings = {"data": "embedded", "limit": 20, "batch_size": 5, "audit": False, "device": "cpu"}
    run_evaluation(Evaluate(tuple(models), out=out, **(settings | changes)), progress=False)


def test_rows_come_in_the_suites_order_with_radii_scaled_to_the_size(left_alone):
    conditions = [row["condition"] for row in left_alone]
    kinds = [set(condition) & {"corruption", "attack"} for condition in conditions]
    assert kinds == [set(), *[{"corruption"}] * 4, *[{"attack"}] * 3]
    attacks = {condition["norm"]: condition for condition in conditions[5:]}
    radii = {norm: attack["epsilon"] for norm, attack in attacks.items()}
    assert radii == {"linf": 1 / 255, "l2": pytest.approx(0.6 / 7), "l1": pytest.approx(160 / 49)}
    assert (attacks["l2"]["published_epsilon"], attacks["l1"]["published_epsilon"]) == (0.6, 160)


def written(out):
    """Lines of all files, a number that grows with every finished batch and row."""
    lines = 0
    for path in out.glob(f"{RESULTS}*"):
        with suppress(FileNotFoundError):  # what is finished goes
            lines += path.read_bytes().count(b"\n")
    return lines


def killed_after(process, out, lines):
    """Kill a process once it has written so many more lines; whether it still lived."""
    before = written(out)
    while process.poll() is None:
        if written(out) >= before + lines:
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.002)
    return process.wait(timeout=120) == -signal.SIGKILL


@pytest.mark.slow
def test_killed_again_and_again_it_ends_with_the_same_rows(toy, tmp_path, left_alone):
    out, rng = tmp_path / "out", random.Random(0)
    arguments = command(toy, out, "--no-audit")
    silent = {"stderr": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
    kills = 0
    while killed_after(subprocess.Popen(arguments, **silent), out, rng.randint(1, 9)):
        kills += 1
    assert kills >= 3
    assert measured(out) == left_alone
    files = ["examples.png", "report.html", RESULTS, "v1_filters.png", "v1_responses.png"]
    kept = {path.name for path in out.iterdir()} - {f".{RESULTS}.lock"}  # a kill may leave it
    assert sorted(kept) == files


@pytest.mark.slow
def test_two_processes_write_the_rows_of_one(toy, tmp_path, left_alone):
    out = tmp_path / "out"
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "29511"]
    arguments = command(toy, out, "--no-audit")
    subprocess.run(
        [sys.executable, *launcher, *arguments[1:]],
        check=True,
        capture_output=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert measured(out) == left_alone


@pytest.mark.slow
def test_the_audit_of_one_setting_is_written_once(toy, tmp_path):
    def lines(**changes):
        run([toy], tmp_path / "out", audit=True, limit=10, **changes)
        return (tmp_path / "out" / AUDIT).read_text().splitlines()

    first = lines()
    assert lines() == first
    assert len(first) == len(set(first)) > 3
    second = lines(seed=1)  # the hash is in the file, and yet this audit is not
    assert second[: len(first)] == first
    assert len(second) == len(set(second)) == 2 * len(first)


def test_nothing_to_measure_is_named(tmp_path):
    with pytest.raises(InputError, match="no model was given"):
        run([], tmp_path)
    with pytest.raises(InputError, match="device must be auto, cpu or cuda, got 'tpu'"):
        run(["voneresnet50"], tmp_path, device="tpu")


def test_it_is_said_once_how_classes_meet_and_what_images_go_through(flat, tmp_path, capsys):
    settings = {"limit": 5, "audit": False, "device": "cpu", "out": tmp_path / "out"}
    config = Evaluate((flat,), data="embedded", **settings)
    run_evaluation(config, conditions=[Clean()])
    said = "load on embedded/test 32px: 10 classes of 10 outputs, by order: the model does not "
    said += "name its classes; mean 0.5, std 0.5, 32 px\n"
    assert capsys.readouterr() == ("", said)
    run_evaluation(config, conditions=[Clean()], progress=False)
    assert capsys.readouterr() == ("", "")


def test_each_model_is_looked_at_once_and_what_is_measured_is_said_to_be(
    flat, tmp_path, capsys, monkeypatch
):
    looks = []
    for function in (robustness_evaluate.check_model, robustness_evaluate.model_hash):

        def counted(*args, function=function):
            looks.append(function.__name__)
            return function(*args)

        for module in (robustness_evaluate, audit_module):
            if hasattr(module, function.__name__):
                monkeypatch.setattr(module, function.__name__, counted)
    other = f"{Path(flat.split(':')[0]).with_name('other.py')}"
    Path(other).write_text(FLAT)
    models, conditions = (flat, f"{other}:load"), [Clean(), Attack("linf", 1 / 255, 1, 1)]
    config = Evaluate(models, "embedded", limit=5, attack_limit=4, out=tmp_path, device="cpu")
    run_evaluation(config, conditions=conditions)
    assert looks == 2 * ["check_model", "model_hash"]
    nothing = f"nothing was left to measure: all rows are in {tmp_path / RESULTS}\n"
    assert nothing not in capsys.readouterr().err
    run_evaluation(config, conditions=conditions)
    assert capsys.readouterr().err.endswith(nothing)


def interrupted(*args, **options):
    raise KeyboardInterrupt


def test_ctrl_c_says_that_the_same_command_goes_on(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(cli_evaluate, "run_evaluation", interrupted)
    with pytest.raises(SystemExit, match="130"):
        main(["evaluate", "net", *QUICK, "--out", "here"])
    said = "vonenet: interrupted; what is measured is saved in here, and the same command goes on"
    assert capsys.readouterr().err == f"{said} from there\n"


@pytest.mark.parametrize(
    ("options", "thorough"),
    [
        ({}, False),
        ({"suite": "paper"}, True),
        ({"audit_depth": "full"}, True),
        ({"suite": "paper", "audit_depth": "light"}, False),
        ({"suite": "corruptions"}, None),
        ({"audit": False}, None),
    ],
)
def test_the_audit_is_light_for_the_quick_suite(flat, tmp_path, monkeypatch, options, thorough):
    asked = []
    monkeypatch.setattr(robustness, "audit", lambda *args, **given: asked.append(given))
    config = Evaluate((flat,), "embedded", out=tmp_path, limit=1, device="cpu", **options)
    run_evaluation(config, conditions=[Clean()], progress=False)
    assert [each.get("thorough", True) for each in asked] == [thorough] * (thorough is not None)


def test_processes_wait_for_each_other_as_long_as_an_audit_may_take(monkeypatch):
    asked = {}
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setattr(
        distributed, "init_process_group", lambda kind, **given: asked.update(given)
    )
    for name in ("barrier", "destroy_process_group"):
        monkeypatch.setattr(distributed, name, lambda: None)
    with cli_evaluate._process_group():
        assert asked["timeout"].days > 7


@pytest.fixture
def trained(tmp_path):
    """The folder of a training that held out a third of the images of one part, and the images."""
    names = [f"{label}/{number}.png" for label in ("cat", "dog") for number in range(6)]
    write_folder(
        tmp_path / "photos", {name: noise_png(seed, 8, 8) for seed, name in enumerate(names)}
    )
    recipe = TrainingRecipe.from_tables({"data": {"image_size": 8, "validation_split": "33%"}})
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / RECIPE).write_text(recipe.as_toml())
    images = open_parts(recipe, str(tmp_path / "photos"))[1]
    about = {"name": images.name, "images": len(images), "content": images.content_hash()}
    (tmp_path / "run" / RUN).write_bytes(sealed({"validation": about}))
    return recipe, tmp_path / "run", str(tmp_path / "photos")


@pytest.mark.parametrize("place", ["", "best.safetensors"])
def test_the_validation_part_of_a_training_is_what_it_held_out(trained, place):
    recipe, run, photos = trained
    model = LoadedModel("run", PixelModel(nn.Identity(), 0.5, 0.5), 8, 3)

    def opened(split, *models):
        return cli_evaluate.open_images(Evaluate(models, photos, split=split), models[-1], model)

    held_out = open_parts(recipe, photos)[1]
    address = str(run / place)
    for models in ([address], [address, "timm/resnet18"]):
        found = opened("validation", *models)
        assert (found.name, found.content_hash()) == (held_out.name, held_out.content_hash())
    assert found.name == f"{photos}/all 8px 33% held out"
    assert len(opened("all", address)) == 12
    assert len(opened(None, "timm/resnet18")) == 12
    with pytest.raises(InputError, match="may have been trained on .* --split validation .* all"):
        opened(None, address)
    (Path(photos) / "cat" / "6.png").write_bytes(noise_png(9, 8, 8))
    with pytest.raises(InputError, match="was validated on 4 images .* are not those at"):
        opened("validation", address)
    for split, asked in (("test", address), ("banana", address), ("validation", "timm/resnet18")):
        with pytest.raises(InputError, match=f"no split '{split}' in .*it has one part"):
            opened(split, asked)
