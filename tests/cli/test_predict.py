"""`vonenet predict`: any model, files and folders, through the decoder of all commands."""

import json
import re
from importlib.resources import files

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import vonenet
from tests.data.pictures import encoded, noise_image, noise_png, write_folder
from tests.published import write_published
from vonenet import cli
from vonenet.cli import predict
from vonenet.cli.predict import Predict, predict_images, probabilities_of, readable_names
from vonenet.data import PixelModel
from vonenet.errors import InputError
from vonenet.zoo.loading import LoadedModel

TINY = {"image_size": 32, "simple_channels": 8, "complex_channels": 8}
CHELSEA = files("vonenet.data") / "files" / "chelsea.jpg"
PUBLISHED = {"simple_channels": 8, "complex_channels": 8, "filters": "legacy"}


def run(capsys, *arguments):
    """Exit status, stdout and stderr of the command in this process."""
    try:
        cli.main(["predict", *map(str, arguments)])
        status = 0
    except SystemExit as stop:
        status = stop.code
    printed = capsys.readouterr()
    return status, printed.out, printed.err


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    vonenet.save_checkpoint(vonenet.create_model("voneresnet_small", num_classes=7, **TINY), path)
    return path


class Levels(nn.Module):
    """Logits are the mean levels of the colours: no noise, and classes that one can count on."""

    def forward(self, images):
        return 10 * images.mean(dim=(2, 3))


@pytest.fixture
def plain(monkeypatch):
    """`--model` is a network that is no VOneNet, with names of ImageNet and others."""

    def loaded(network=None, classes=("n01440764", "dog", "n01443537")):
        model = PixelModel(network or Levels(), 0.0, 1.0, classes=classes).eval()
        monkeypatch.setattr(
            "vonenet.zoo.loading.load_model", lambda address: LoadedModel(address, model, 8, 3)
        )

    loaded()
    return loaded


def test_the_top_classes_with_their_spread(capsys, weights):
    status, out, _ = run(capsys, weights, CHELSEA, "--top", 3, "--samples", 4)
    assert status == 0
    lines = out.splitlines()
    assert lines[0] == str(CHELSEA)
    assert len(lines) == 4
    line = re.compile(r"  +\d+\.\d % ± +\d+\.\d  class \d +first in \d+ % of 4 noise samples")
    assert all(map(line.fullmatch, lines[1:]))


def test_predictions_repeat_and_do_not_depend_on_the_images_beside(weights, tmp_path):
    write_folder(tmp_path, {f"{seed}.png": noise_png(seed, 40, 50) for seed in range(3)})
    paths = [tmp_path / f"{seed}.png" for seed in range(3)]
    options = {"top": 7, "samples": 4, "batch_size": 2}
    together = dict(predict_images(Predict(str(weights), (*paths,), **options)))
    for path in paths:
        ((_, alone),) = predict_images(Predict(str(weights), (path,), **options))
        assert [choice.output for choice in alone] == [each.output for each in together[path]]
        for choice, other in zip(alone, together[path], strict=True):
            assert choice.probability == pytest.approx(other.probability, abs=1e-5)
    model = PixelModel(vonenet.load_checkpoint(weights), 0.5, 0.5).eval()
    first, second = probabilities_of(model, [torch.rand(3, 32, 32)] * 2, 6, seed=0)
    torch.testing.assert_close(first.sum(dim=1), torch.ones(6))
    torch.testing.assert_close(first, second)  # the same draws
    assert first.std(dim=0).max() > 0


def test_by_published_name(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("VONENET_HOME", str(tmp_path))
    model = vonenet.create_model("vonealexnet", **PUBLISHED)
    write_published(tmp_path / "vonealexnet_e70.pth.tar", model)
    status, out, _ = run(capsys, "vonealexnet", CHELSEA, "--samples", 2)
    assert status == 0
    assert len(out.splitlines()) == 6
    assert not re.search(r"class \d|n0\d+", out)  # ImageNet's own names


def test_a_model_without_noise_answers_once(capsys, tmp_path, plain):
    """It need not be a VOneNet; ids of ImageNet are shown by their names."""
    Image.new("RGB", (8, 8), (255, 0, 51)).save(tmp_path / "a.png")
    status, out, _ = run(capsys, "any", tmp_path / "a.png", "--top", 2)
    assert (status, out.splitlines()[1:]) == (0, ["  100.0 %  tench", "    0.0 %  goldfish"])
    plain(classes=None)
    assert "class 0" in run(capsys, "any", tmp_path / "a.png")[1]
    assert readable_names(["cat, tabby", "n1"]) == ["cat, tabby", "n1"]


def test_folders_in_natural_order_as_json(capsys, tmp_path, plain):
    names = [f"set/{name}.png" for name in ("im2", "im10", "x/im1")]
    write_folder(tmp_path, dict.fromkeys(names, encoded(Image.new("RGB", (8, 8), "lime"))))
    write_folder(tmp_path, {"set/._im2.png": b"", "set/notes.txt": b"", "cut.png": b"\x89PNG"})
    arguments = tmp_path / "set", tmp_path / "cut.png", "--json", "--top", 1, "--batch-size", 2
    status, out, err = run(capsys, "any", *arguments)
    *found, broken = map(json.loads, out.splitlines())
    assert [each["image"] for each in found] == [f"{tmp_path}/{name}" for name in names]
    (choice,) = found[0]["classes"]
    assert choice["probability"] == pytest.approx(1, abs=1e-3)
    expected = {"output": 1, "id": "dog", "name": "dog", "spread": 0, "first": 1, "samples": 0}
    assert choice | expected == choice
    assert status == 1
    assert broken["error"] in err
    (tmp_path / "empty").mkdir()
    assert "empty holds no image" in run(capsys, "any", tmp_path / "empty")[2]


def test_images_are_decoded_as_in_evaluation(capsys, tmp_path, plain):
    """16 bits, what is transparent, a camera held upright, and a file that is none."""
    deep = Image.fromarray(np.full((8, 8), 65535 // 2, np.uint16))
    clear = Image.fromarray(np.zeros((8, 8, 4), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    sideways = noise_image(8, 40)
    sideways.save(tmp_path / "c.png", exif=exif)
    deep.save(tmp_path / "a.png")
    clear.save(tmp_path / "b.png")
    seen = []

    class Seen(Levels):
        def forward(self, images):
            seen.extend(images)
            return super().forward(images)

    plain(Seen())
    assert run(capsys, "any", tmp_path)[0] == 0
    *_, grey, transparent, upright = seen
    assert grey.mean() == pytest.approx(127 / 255)
    assert transparent.mean() == pytest.approx(128 / 255)
    turned = sideways.transpose(Image.Transpose.ROTATE_270).resize((9, 45), 2).crop((0, 18, 8, 26))
    expected = torch.from_numpy(np.array(turned)).permute(2, 0, 1) / 255
    assert (upright - expected).abs().mean() < 0.15


def test_an_unreadable_image_does_not_stop_the_others(capsys, weights, tmp_path):
    (tmp_path / "text.jpg").write_text("not an image")
    (tmp_path / "cut.jpg").write_bytes(CHELSEA.read_bytes()[:2000])
    broken = [tmp_path / name for name in ("text.jpg", "cut.jpg", "none.jpg")]
    status, out, err = run(capsys, weights, *broken, "/dev/zero", CHELSEA)
    assert status == 1
    assert str(CHELSEA) in out
    reasons = ("is no image of a kind", "truncated", "No such file", "a pipe or a device")
    for line, reason in zip(err.splitlines(), reasons, strict=True):
        assert re.search(rf"^vonenet: image .* cannot be read: .*{reason}", line)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (nn.Identity(), r"the model returns shape \(2, 3, 8, 8\) for 2 images; needed: \(2, cl"),
        (nn.Sequential(Levels(), nn.Threshold(1e9, torch.nan)), "logits are not finite"),
        (nn.Sequential(Levels(), nn.Softmax(1)), "returns probabilities"),
    ],
)
def test_what_gives_no_logits_is_refused(plain, network, message):
    plain(network)
    with pytest.raises(InputError, match=message):
        list(predict.predict_images(Predict("any", (CHELSEA,))))
