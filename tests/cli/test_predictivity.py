"""vonenet predictivity: planted neurons are found in the layer that they were made from."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from tests.cli.test_main import run as run_cli
from tests.report.pages import words
from vonenet.cli.predictivity import Predictivity, predict_neurons
from vonenet.data import BrokenImageError
from vonenet.errors import InputError, VOneNetError
from vonenet.physiology import Canvas
from vonenet.physiology.neural_data import image_files, on_canvas, read_images
from vonenet.physiology.predictivity import before_noise, show
from vonenet.results import read_jsonl
from vonenet.zoo.loading import load_model

TOY = """
import vonenet

def network():
    small = dict(image_size=32, in_chans=1, kernel_size=15, num_classes=3)
    channels = dict(simple_channels=8, complex_channels=8)
    return vonenet.create_model("voneresnet_small", **small, **channels)
"""
STIMULI, UNITS, REPETITIONS = 60, 12, 8
CANVAS = Canvas(2.0, 32, 1)


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    path = tmp_path_factory.mktemp("toy") / "toy.py"
    path.write_text(TOY)
    return f"{path}:network"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Images of smooth noise, named so that their order is not that of their numbers."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for index in range(STIMULI):
        levels = np.kron(rng.integers(0, 256, (12, 12)), np.ones((4, 4))).astype(np.uint8)
        Image.fromarray(levels).save(folder / f"s{(7 * index) % STIMULI:03}.png")
    return folder


@pytest.fixture(scope="module")
def planted(toy, folder):
    """(repetitions, stimuli, units): mixtures of the V1 block's features, with noise."""
    model = load_model(toy).model
    silent = before_noise(model, ["vone_block"])
    features = features_of(silent, "vone_block", read_images(image_files(folder), CANVAS, 2.0))
    rng = np.random.default_rng(1)
    few = np.linalg.svd(features - features.mean(axis=0), full_matrices=False)[0][:, :6]
    signal = few @ rng.standard_normal((6, UNITS))
    signal /= signal.std(axis=0)
    return signal + 0.5 * rng.standard_normal((REPETITIONS, STIMULI, UNITS))


def features_of(model, layer, images, **options):
    """Features of one layer, (images, features)."""
    batches = []
    show(model, [layer], images, lambda _, features: batches.append(features), **options)
    return torch.cat(batches).numpy()


def predict(model, responses, images, **options):
    options = Predictivity(model, responses, images, **({"components": 6} | options))
    return predict_neurons(options)


def test_planted_neurons_are_predicted_by_the_layer_they_were_made_from(
    capsys, toy, folder, planted, tmp_path
):
    np.save(tmp_path / "neurons.npy", planted)
    arguments = ["--responses", tmp_path / "neurons.npy", "--images", folder, "--components", 6]
    arguments += ["--layers", "vone_block", "model.fc", "--out", tmp_path]
    status, printed, error = run_cli(capsys, "predictivity", toy, *arguments)
    assert status == 0, error
    assert "vone_block" in printed
    rows = read_jsonl(tmp_path / "results.jsonl")
    plain, block, rsa, ceiled_rsa = rows[:4]
    head, head_rsa = rows[5], rows[6]
    assert [row.metric for row in rows] == 2 * [
        "pearson_r",
        "ceiled_pearson_r",
        "rsa_spearman",
        "ceiled_rsa_spearman",
    ]
    assert rsa.value > head_rsa.value + 0.1
    assert ceiled_rsa.value == pytest.approx(rsa.value / rsa.flags["rsa_ceiling"])
    assert block.value > 0.9
    assert head.value < block.value - 0.2
    assert (block.n, block.data_size, block.data) == (UNITS, STIMULI, "neurons.npy")
    assert block.condition["image_degrees"] == block.condition["degrees"] == 2
    assert f"{plain.value:.3f}" in printed
    assert "layers in one pass" in error
    page = words((tmp_path / "report.html").read_text())
    assert f"Best: network vone_block: r {plain.value:.3f} [{plain.ci_low:.3f}" in page
    assert page.index("network vone_block") < page.index("network model.fc")
    assert f"{block.value:.3f}" in printed
    run_cli(capsys, "predictivity", toy, *arguments)
    assert read_jsonl(tmp_path / "results.jsonl") == rows
    for row in rows:
        assert f"{row.value:.3f} [{row.ci_low:.3f}, {row.ci_high:.3f}] 12 of 12 units" in page


def test_stimuli_have_the_order_that_the_file_names(toy, folder, planted, tmp_path):
    shuffled = np.random.default_rng(2).permutation(STIMULI)
    names = np.array([path.stem for path in image_files(folder)])[shuffled]
    wrong, right = tmp_path / "wrong.npz", tmp_path / "right.npz"
    np.savez(wrong, responses=planted.mean(axis=0)[shuffled])
    np.savez(right, responses=planted.mean(axis=0)[shuffled], stimuli=names)
    found = [predict(toy, path, folder, out=tmp_path)["vone_block"][0] for path in (wrong, right)]
    assert found[0].median < 0.3
    assert found[1].median > 0.85
    assert found[1].ceiled is None


def test_other_responses_under_the_same_name_have_rows_of_their_own(toy, folder, planted, tmp_path):
    """A row that is there must not stand in for responses that were changed since."""
    path = tmp_path / "neurons.npy"
    for responses in (planted.mean(axis=0), planted[0], planted.mean(axis=0)):
        np.save(path, responses)
        predict(toy, path, folder, out=tmp_path)
    rows = read_jsonl(tmp_path / "results.jsonl")
    first, second = (row for row in rows if row.metric == "pearson_r")
    assert len(rows) == 4
    assert first.value != second.value
    assert first.data_hash != second.data_hash


def test_an_image_takes_the_place_of_its_degrees():
    """Of a square of 1 degree on a canvas of 2, a quarter; of 4, its middle; of a wide one too."""
    white = Image.new("L", (100, 100), 255)
    expected = torch.full((32, 32), 128 / 255)
    expected[8:24, 8:24] = 1
    torch.testing.assert_close(on_canvas(white, CANVAS, 1.0)[0], expected)
    half = Image.new("L", (64, 64), 0)
    half.paste(255, (16, 16, 48, 48))  # the middle half of each side
    shown = on_canvas(half, CANVAS, 4.0)[0]
    assert shown.shape == (32, 32)
    assert shown.min() > 0.9
    wide = Image.new("RGB", (90, 30), (255, 0, 0))
    wide.paste((0, 255, 0), (30, 0, 60, 30))
    shown = on_canvas(wide, Canvas(2.0, 32, 3), 2.0)
    assert (shown[1].min(), shown[0].max()) == (1, 0)


def test_features_over_trials_scatter_about_those_of_many(toy, folder):
    model = load_model(toy).model
    images = list(read_images(image_files(folder)[:6], CANVAS, 2.0))
    one, again, many = (
        features_of(model, "bottleneck", images, trials=n, seed=s)
        for n, s in ((1, 0), (1, 0), (64, 1))
    )
    np.testing.assert_array_equal(one, again)
    few = features_of(model, "bottleneck", images, trials=8, seed=2)
    assert np.abs(few - many).mean() < 0.6 * np.abs(one - many).mean()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape": (59, UNITS)}, "holds 60 images, but .*neurons.npz has 59 stimuli"),
        ({"stimuli": ["s000"] * 59 + ["lost"]}, "1 of 60 stimuli have no image .* is 'lost'"),
        ({"options": {"trials": 0}}, "trials must be 1 or more, got 0"),
        ({"options": {"image_degrees": 0.0}}, "smaller than a pixel"),
        ({"options": {"image_degrees": 1e6}}, "or too large"),
        ({"options": {"layers": ("vone_block", "vone_blok")}}, "no layer 'vone_blok'"),
        ({"options": {"folds": 30}}, "60 stimuli in 30 folds"),
        ({"options": {"components": 0}}, "components must be 1 or more"),
        ({"shape": (6, STIMULI, UNITS)}, "median consistency of units between repetitions is"),
        ({"folder": "empty"}, "holds no image; allowed: bmp"),
        ({"folder": "missing"}, "are no folder"),
    ],
)
def test_mistakes_get_one_line_before_the_first_image_is_seen(
    toy, folder, tmp_path, change, message, monkeypatch
):
    monkeypatch.setattr("vonenet.physiology.predictivity.show", None)
    values = np.random.default_rng(0).standard_normal(change.get("shape", (STIMULI, UNITS)))
    named = {"stimuli": np.array(change["stimuli"])} if "stimuli" in change else {}
    np.savez(tmp_path / "neurons.npz", responses=values, **named)
    (tmp_path / "empty").mkdir()
    images = tmp_path / change["folder"] if "folder" in change else folder
    with pytest.raises(InputError, match=message) as error:
        predict(toy, tmp_path / "neurons.npz", images, out=tmp_path, **change.get("options", {}))
    assert "\n" not in str(error.value)


def test_an_image_that_is_none_is_told_before_the_first_is_seen(toy, folder, tmp_path, monkeypatch):
    monkeypatch.setattr("vonenet.physiology.predictivity.show", None)
    images = shutil.copytree(folder, tmp_path / "images")
    (images / "s031.png").write_bytes(b"no image")
    np.save(tmp_path / "neurons.npy", np.random.default_rng(0).standard_normal((STIMULI, UNITS)))
    with pytest.raises((VOneNetError, BrokenImageError), match=r"s031.png"):
        predict(toy, tmp_path / "neurons.npy", images, out=tmp_path)


def test_missing_repetitions_are_said_in_rows_page_and_terminal(
    capsys, toy, folder, planted, tmp_path
):
    holes = planted.copy()
    holes[5:, :40] = np.nan
    holes[:, 3, 2] = np.nan
    holes[:, :, 7] = 1.0
    np.save(tmp_path / "neurons.npy", holes)
    arguments = ["--responses", tmp_path / "neurons.npy", "--images", folder, "--components", 6]
    status, _, error = run_cli(capsys, "predictivity", toy, *arguments, "--out", tmp_path)
    assert status == 0, error
    page = words((tmp_path / "report.html").read_text())
    for said in (
        "10 of 12 units",
        "5 to 8 repetitions",
        "no response to some images: 2",
        "the same response to every image: 7",
        "taken in the order of the images' names, from s000.png to s059.png",
    ):
        assert said in error
    for said in (
        "5 to 8 of a unit and an image",
        "no response to some images: 2; the same response to every image: 7",
        "10 of 12",
    ):
        assert said in page
    rows = {row.metric: row for row in read_jsonl(tmp_path / "results.jsonl")}
    row = rows["ceiled_pearson_r"]
    assert (row.n, row.flags["undefined"], row.flags["units"]) == (10, 2, 12)
    assert row.value > 0.9
    assert row.preprocessing == "mean 0.5, std 0.5, 32 px"
    predict(toy, tmp_path / "neurons.npy", folder, out=tmp_path, quiet=True)
    assert capsys.readouterr().err == ""
