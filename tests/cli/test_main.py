"""The command as a user types it: what it prints, and one line for every mistake."""

import resource
import subprocess
import sys
from importlib.resources import files

import numpy as np
import pytest
import torch
from PIL import Image

import vonenet
from tests.published import write_published
from vonenet import cli
from vonenet.cli.predict import Predict, predict_images, sample_probabilities

TINY = {"image_size": 32, "simple_channels": 8, "complex_channels": 8}
CHELSEA = files("vonenet.data") / "files" / "chelsea.jpg"
PUBLISHED = {"simple_channels": 8, "complex_channels": 8, "filters": "legacy"}


def run(capsys, *arguments):
    """Exit status, stdout and stderr of the command in this process."""
    try:
        cli.main([str(argument) for argument in arguments])
        status = 0
    except SystemExit as stop:
        status = stop.code
    printed = capsys.readouterr()
    return status, printed.out, printed.err


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "tiny.safetensors"
    vonenet.save_checkpoint(vonenet.create_model("voneresnet_small", num_classes=7, **TINY), path)
    return path


@pytest.mark.parametrize("arguments", [["predict", "--help"], ["--version"]])
def test_help_appears_within_a_second(arguments):
    """In processor time: what the wall clock says depends on the machine's other work."""
    command = [sys.executable, "-m", "vonenet", *arguments]
    seconds = []
    for _ in range(2):  # the first one may have to compile what the second one only loads
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert "vonenet" in done.stdout
    assert min(seconds) < 1


def test_models_lists_every_named_one(capsys):
    status, out, _ = run(capsys, "models")
    assert status == 0
    assert "voneresnet50 " in out
    assert "25.58 M" in out
    assert "published" in out
    assert run(capsys, "models", "vone_resnet10t")[1].splitlines()[1].startswith("vone_resnet10t ")


def test_predict_shows_the_top_classes_with_their_spread(capsys, weights):
    status, out, _ = run(capsys, "predict", weights, CHELSEA, "--top", 3, "--samples", 4)
    assert status == 0
    lines = out.splitlines()
    assert lines[0] == str(CHELSEA)
    assert len(lines) == 4
    assert all("class " in line and "of 4 noise samples" in line for line in lines[1:])


def test_predictions_repeat_and_have_probabilities_of_their_own(weights):
    first, again = (
        list(predict_images(Predict(str(weights), (CHELSEA,), top=7, samples=4))) for _ in range(2)
    )
    assert first == again
    model = vonenet.load_checkpoint(weights).eval()
    probabilities = sample_probabilities(model, torch.rand(3, 32, 32), 6, seed=0)
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(6))
    assert probabilities.std(dim=0).max() > 0


def test_predict_by_published_name(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("VONENET_HOME", str(tmp_path))
    model = vonenet.create_model("vonealexnet", **PUBLISHED)
    write_published(tmp_path / "vonealexnet_e70.pth.tar", model)
    status, out, _ = run(capsys, "predict", "vonealexnet", CHELSEA, "--samples", 2)
    assert status == 0
    assert len(out.splitlines()) == 6
    assert "class " not in out  # ImageNet's own names


def test_grey_and_odd_images_are_taken(capsys, weights, tmp_path):
    Image.fromarray(np.zeros((31, 57), np.uint8)).save(tmp_path / "grey.png")
    Image.fromarray(np.zeros((40, 30, 4), np.uint8)).save(tmp_path / "rgba.png")
    status, out, _ = run(capsys, "predict", weights, tmp_path / "grey.png", tmp_path / "rgba.png")
    assert status == 0
    assert out.count(".png") == 2


def test_an_unreadable_image_does_not_stop_the_others(capsys, weights, tmp_path):
    (tmp_path / "text.jpg").write_text("not an image")
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(CHELSEA.read_bytes()[:2000])
    status, out, err = run(
        capsys, "predict", weights, tmp_path / "text.jpg", cut, tmp_path / "none.jpg", CHELSEA
    )
    assert status == 1
    assert str(CHELSEA) in out
    lines = err.splitlines()
    assert len(lines) == 3
    assert "text.jpg is not an image that can be read" in lines[0]
    assert "cut.jpg cannot be read" in lines[1]
    assert "none.jpg cannot be read: No such file or directory" in lines[2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["predict", "voneresnet5", CHELSEA], "unknown model 'voneresnet5'; nearest: voneresnet50"),
        (["predict", "WEIGHTS"], "no image was given"),
        (["predict", "WEIGHTS", CHELSEA, "--top", "0"], "--top must be 1 or more, got 0"),
        (["convert", "none.pth.tar", "new.safetensors"], "no weights file none.pth.tar"),
        (["convert", "WEIGHTS", "no/such/folder.safetensors"], "No such file or directory"),
        (["models", "vone_nothing*"], "no model matches 'vone_nothing*'"),
        (["demo", "--out", "/proc/demo"], "/proc/demo"),
    ],
)
def test_mistakes_get_one_line_and_a_status(capsys, weights, arguments, message):
    arguments = [str(weights) if argument == "WEIGHTS" else argument for argument in arguments]
    status, _, err = run(capsys, *arguments)
    assert status == 1
    assert len(err.splitlines()) == 1
    assert err.startswith("vonenet: ")
    assert message in err


def test_wrong_usage_is_explained(capsys):
    status, _, err = run(capsys, "predcit")
    assert status == 2
    assert "predict" in err
