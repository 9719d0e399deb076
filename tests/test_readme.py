"""The front door: every command and snippet of the README runs."""

import re
import shlex
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vonenet
from tests.physiology.recorded import recorded
from tests.published import write_published
from vonenet import cli
from vonenet.cli import evaluate, physiology, train
from vonenet.physiology.scores import recording_rows
from vonenet.results import RESULTS, Result, append_jsonl
from vonenet.training import EpochRecord, TrainingLog

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands(first_word):
    lines = [line.split("#")[0].strip() for block in blocks("sh") for line in block.splitlines()]
    return [line for line in lines if line.startswith(f"{first_word} ")]


@pytest.fixture
def user_folder(tmp_path, monkeypatch):
    """A folder with a photograph and, where a download would put it, a stand-in for the weights."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VONENET_HOME", str(tmp_path))
    few = {"simple_channels": 8, "complex_channels": 8}
    model = vonenet.create_model("voneresnet50", filters="legacy", **few)
    write_published(tmp_path / "voneresnet50_e70.pth.tar", model)
    shutil.copy(str(files("vonenet.data") / "files" / "coffee.jpg"), "photo.jpg")
    return tmp_path


def test_the_python_snippets_run(user_folder):
    snippets = blocks("python")
    assert snippets
    for snippet in snippets:
        names = {}
        exec(snippet, names)
        assert names["v1"].shape == (2, 512, 56, 56)
    assert (user_folder / "voneresnet50.safetensors").exists()


def plant_rows(config, progress):
    """Write the rows that measuring these models would give, but for the numbers."""
    for name in (model.removeprefix("timm/") for model in config.models):
        for condition in evaluate.conditions_of(config.suite):
            row = Result(
                experiment="evaluate",
                model=name,
                model_hash=name,
                data=config.data,
                data_size=50_000,
                condition={**condition.columns((224, 224)), "decision_samples": 1},
                metric="accuracy",
                value=0.5,
                ci_low=0.49,
                ci_high=0.51,
                n=config.limit,
                seed=config.seed,
            )
            append_jsonl(config.out / RESULTS, [row])
    return True


def short_log(recipe, data, out, **options):
    """What a training that ran would give."""
    epochs = range(1, recipe.optimization.epochs + 1)
    return TrainingLog(recipe, [EpochRecord(epoch, 1.0, 0.5, 0.1, 10.0, 1.0) for epoch in epochs])


def planted_recording(options):
    """What recording a model would give, of a few planted units."""
    found = recorded(model=options.model)
    append_jsonl(options.out / RESULTS, recording_rows(found))
    return [found]


@pytest.fixture
def neurons(user_folder):
    """Stimuli, and responses to them."""
    (user_folder / "stimuli").mkdir()
    rng = np.random.default_rng(0)
    for index in range(30):
        levels = rng.integers(0, 256, (32, 32), dtype=np.uint8)
        Image.fromarray(levels).save(user_folder / "stimuli" / f"{index:02}.png")
    np.savez(user_folder / "neurons.npz", responses=rng.standard_normal((30, 4)))


@pytest.mark.usefixtures("neurons")
def test_the_commands_run(user_folder, capsys, monkeypatch):
    monkeypatch.setattr(cli.Demo, "run", lambda demo: print(demo))
    monkeypatch.setattr(evaluate, "run_evaluation", plant_rows)
    monkeypatch.setattr(train, "run_training", short_log)
    monkeypatch.setattr(physiology, "record_models", planted_recording)
    shutil.copytree(ROOT / "recipes", user_folder / "recipes")
    lines = commands("vonenet")
    assert {line.split()[1] for line in lines} == set(cli.COMMANDS)  # none is left out
    for line in lines:
        cli.main(shlex.split(line)[1:])
        assert capsys.readouterr().out.strip()
    assert (user_folder / "voneresnet50.safetensors").exists()


def test_the_make_targets_exist():
    targets = [line.split()[1] for line in commands("make")]
    assert targets == ["demo", "test"]
    for target in targets:
        subprocess.run(["make", "-n", target], cwd=ROOT, check=True, capture_output=True)


def test_links_and_pictures_lead_somewhere():
    for address in re.findall(r"\]\(([^)]+)\)", README):
        assert address.startswith("https://") or (ROOT / address).exists(), address
    for path in re.findall(r"`((?:src|docs|tests)/[^`]*)`", README):
        assert (ROOT / path).exists(), path


def test_the_defects_page_names_tests_that_exist():
    page = (ROOT / "docs" / "defects.md").read_text()
    rows = re.findall(r"^\| (\d+) \|.*$", page, flags=re.MULTILINE)
    assert [int(row) for row in rows] == list(range(1, 41))
    for path in re.findall(r"`((?:src|tests)/[^`:]*)", page):
        assert (ROOT / path).exists(), path
    all_tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    for name in re.findall(r"test_\w+(?=`)", page):
        assert f"def {name}(" in all_tests, name
