"""From a recipe and an address to a folder with weights, and from there to a model again."""

import dataclasses
import json
import os
import re
import shlex
import shutil
import signal
import tomllib
from pathlib import Path

import pytest
import torch
from PIL import Image

from vonenet.cli import main
from vonenet.cli.predict import Predict, predict_images
from vonenet.cli.train import (
    build_model,
    find_recipe,
    finished_text,
    open_parts,
    open_validation,
    run_training,
    write_model,
)
from vonenet.data import ImageArrays
from vonenet.errors import InputError
from vonenet.results import EpochRecord
from vonenet.training import TrainingLog, TrainingRecipe, train
from vonenet.training.config import DataRecipe, ModelRecipe, OptimizationRecipe
from vonenet.training.trainer import Trainer
from vonenet.zoo.loading import load_model

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.toml"))
SMALL = TrainingRecipe(
    model=ModelRecipe(
        name="voneresnet_small",
        settings={
            "simple_channels": 4,
            "complex_channels": 4,
            "kernel_size": 15,
            "sf_max": 4.0,
            "visual_degrees": 2.0,
        },
    ),
    data=DataRecipe(image_size=32, validation_split="25%"),
    optimization=OptimizationRecipe(epochs=2, batch_size=8, learning_rate=0.05),
)


def base(recipe):
    return dataclasses.replace(recipe, model=dataclasses.replace(recipe.model, base=True))


@pytest.fixture
def folder(tmp_path):
    """16 images, dark cats and bright dogs, in one folder for each class."""
    generator = torch.Generator().manual_seed(0)
    for label, name in enumerate(("cat", "dog")):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(8):
            levels = torch.randint(60, (40, 48, 3), generator=generator) + 150 * label
            image = Image.fromarray(levels.to(torch.uint8).numpy())
            image.save(tmp_path / "photos" / name / f"{number}.png")
    return tmp_path / "photos"


@pytest.mark.parametrize("recipe", [SMALL, base(SMALL)], ids=["VOneNet", "base"])
def test_a_run_becomes_a_model_that_gives_the_same_logits(recipe, folder, tmp_path):
    log = run_training(recipe, str(folder), tmp_path / "run", progress=False, device="cpu")
    assert [each.epoch for each in log.epochs] == [1, 2]
    loaded = load_model(str(tmp_path / "run"))
    assert (loaded.name, loaded.image_size, loaded.in_chans) == ("run", 32, 3)
    from_file = load_model(str(tmp_path / "run" / "model.safetensors"))
    pixels = torch.rand(2, 3, 32, 32)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        expected = loaded.model(pixels)
        torch.manual_seed(0)
        torch.testing.assert_close(from_file.model(pixels), expected, rtol=0, atol=0)
    assert expected.shape == (2, 2)
    if not recipe.model.base:
        image = next((folder / "dog").iterdir())
        options = Predict(str(tmp_path / "run"), (image,), top=2, samples=2)
        ((_, answer),) = predict_images(options)
        assert {choice.name for choice in answer} == {"cat", "dog"}
    (tmp_path / "run" / "model.safetensors").unlink()
    with pytest.raises(InputError, match="not finished"):
        load_model(str(tmp_path / "run"))


def test_a_share_of_each_class_is_held_out_and_one_part_cannot_serve_twice(folder):
    twice = dataclasses.replace(SMALL, data=DataRecipe(image_size=32))
    with pytest.raises(InputError, match=r"validation_split to '10%'"):
        open_parts(twice, str(folder))
    training, validation = open_parts(SMALL, str(folder))
    assert training.labels.bincount().tolist() == [6, 6]
    assert validation.labels.bincount().tolist() == [2, 2]
    assert "25% held out" in validation.name
    seen = {training[i][0].sum().item() for i in range(12)}
    assert not seen & {validation[i][0].sum().item() for i in range(4)}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"image_size": 64}, "'image_size', which the recipe's"),
        ({"kernel": 3}, "model.settings: unknown setting 'kernel'"),
    ],
)
def test_settings_that_cannot_be_used_are_named(settings, message):
    recipe = dataclasses.replace(SMALL, model=ModelRecipe(settings=settings))
    with pytest.raises(InputError, match=message):
        build_model(recipe, tuple("abcdefghij"))


@pytest.mark.parametrize(("front_end", "mean", "std"), [("evnet2025", 0, 1), ("vonenet", 0.5, 0.5)])
def test_pixels_are_normalised_as_the_front_end_reads_them(folder, tmp_path, front_end, mean, std):
    settings = {"simple_channels": 4, "complex_channels": 4, "front_end": front_end}
    recipe = dataclasses.replace(
        SMALL, model=ModelRecipe(name="voneresnet_small", settings=settings)
    )
    built = build_model(recipe, ("cat", "dog"))
    assert built.model.config.front_end == front_end
    run_training(recipe, str(folder), tmp_path / "run", progress=False, device="cpu")
    loaded = load_model(str(tmp_path / "run")).model
    for model in (built, loaded):
        assert model.mean.flatten().tolist() == [mean] * 3
        assert model.std.flatten().tolist() == [std] * 3
    assert loaded.model.config == built.model.config


@pytest.mark.slow
@pytest.mark.parametrize("path", RECIPES, ids=[path.stem for path in RECIPES])
def test_every_shipped_recipe_is_built_and_runs_two_steps(path, tmp_path):
    recipe = TrainingRecipe.read(path)
    header = path.read_text().split("\n\n")[0]
    assert all(word in header for word in ("# Command:", "# Time:", "# Expect:"))
    optimization = dataclasses.replace(
        recipe.optimization,
        batch_size=2,
        micro_batch_size=None,
        epochs=1,
        warmup_epochs=0,
        precision="float32",  # CPUs without bfloat16 take minutes for each of its steps
    )
    data = dataclasses.replace(recipe.data, workers=0)
    recipe = dataclasses.replace(recipe, optimization=optimization, data=data)
    side, channels = recipe.data.image_size, recipe.data.in_chans
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (4, channels, side, side), generator=generator).to(torch.uint8)
    dataset = ImageArrays(images, torch.tensor([0, 1, 0, 1]), ("a", "b"), "made up")
    for each in (recipe, base(recipe)):
        model = build_model(each, dataset.classes)
        before = [parameter.detach().clone() for parameter in model.parameters()]
        log = train(model, dataset, each, progress=False, device="cpu")
        assert len(log.epochs) == 1
        pairs = zip(before, model.parameters(), strict=True)
        assert any(not torch.equal(old, new) for old, new in pairs)
        write_model(each, dataset.classes, model, tmp_path / "model.safetensors")
        load_model(str(tmp_path / "model.safetensors"))


def command(*arguments):
    """The exit status; None if all went well."""
    try:
        main(["train", *map(str, arguments)])
    except SystemExit as stopped:
        return stopped.code


def test_the_command_trains_with_overridden_fields(folder, tmp_path, capsys):
    (tmp_path / "small.toml").write_text(SMALL.as_toml())
    out = tmp_path / "run"
    words = ["--data", folder, "--out", out, "--epochs", 1, "--kernel-size", 17, "--device", "cpu"]
    command(tmp_path / "small.toml", *words)
    told = capsys.readouterr().out
    assert "1 epochs: training loss" in told
    recipe = TrainingRecipe.read(out / "recipe.toml")
    assert recipe.optimization.epochs == 1
    assert recipe.optimization.learning_rate == 0.05
    assert recipe.model.settings == SMALL.model.settings | {"kernel_size": 17}
    show_curves = shlex.split(told.split("curves: vonenet ")[1])
    main([*show_curves, "--out", str(tmp_path / "page.html")])
    page = (tmp_path / "page.html").read_text()
    assert re.search(r"% validation accuracy \[.*\] of 4 images after 1 of 1 epoch", page)


def test_the_next_command_measures_what_was_held_out(folder, tmp_path, capsys):
    """... though the folder's name asks for quotes; images that were added are refused."""
    photos, run = folder.rename(tmp_path / "my photos"), tmp_path / "run 1"
    (tmp_path / "small.toml").write_text(SMALL.as_toml())
    words = [tmp_path / "small.toml", "--data", photos, "--out", run, "--device", "cpu", "--quiet"]
    assert command(*words) is None
    told = capsys.readouterr()
    assert told.err == ""
    n4 = re.findall(r"validation accuracy: .* n = 4\) at the end, .* n = 4\) at best", told.out)
    assert len(n4) == 1
    (line,) = (each for each in told.out.splitlines() if each.startswith("next: vonenet evaluate "))
    _, evaluated, _, address, _, split = shlex.split(line.removeprefix("next: vonenet "))
    assert (evaluated, address, split) == (str(run), str(photos), "validation")
    training, held_out = open_parts(SMALL, str(photos))
    for size in (None, 64):
        found = open_validation(run, address, image_size=size)
        paths = [found.describe(index) for index in range(4)]
        assert paths == [held_out.describe(index) for index in range(4)]
        assert found[0][0].shape == (3, size or 32, size or 32)
        assert not {training.describe(index) for index in range(12)} & set(paths)
    command(*words)
    assert f"{run} was finished before; nothing is left to train" in capsys.readouterr().out
    shutil.copy(photos / "cat" / "0.png", photos / "cat" / "00.png")
    with pytest.raises(InputError, match=r"validated on 4 images .*, which are not those at"):
        open_validation(run, address)
    (run / "run.json").write_text("{}")
    with pytest.raises(InputError, match=r"run.json is damaged"):
        open_validation(run, address)


def test_data_with_a_part_of_its_own_are_measured_on_that(tmp_path):
    log = TrainingLog(TrainingRecipe(), [EpochRecord(1, 2.0, 0.5, 0.1, 9.0, 9.0)])
    text = finished_text(log, Path("runs/a"), "embedded")
    assert "next: vonenet evaluate runs/a --data embedded --split test" in text


def test_a_run_starts_from_the_weights_of_another(folder, tmp_path):
    address, first = str(folder), tmp_path / "first"
    run_training(SMALL, address, first, progress=False, device="cpu")

    def starting(where, **changes):
        model = dataclasses.replace(SMALL.model, start_from=str(where), **changes)
        return build_model(dataclasses.replace(SMALL, model=model), ("cat", "dog"))

    expected = load_model(str(first)).model.state_dict()
    found = starting(first).state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found)
    other = {"settings": SMALL.model.settings | {"sf_max": 3.0}}
    for changes, message in (
        (other, "has other V1 filters"),
        ({"name": "voneresnet18"}, "is another network"),
        ({"base": True}, "is another network"),
        ({"backbone_weights": "timm"}, "cannot both be"),
    ):
        with pytest.raises(InputError, match=message) as refused:
            starting(first, **changes)
        assert "\n" not in str(refused.value)
    model = dataclasses.replace(SMALL.model, start_from=str(first))
    for classes in (("dog", "cat"), ("cat", "dog", "emu"), ("cat", "emu")):
        with pytest.raises(InputError, match=r"other classes than the data|are not among them"):
            build_model(dataclasses.replace(SMALL, model=model), classes)


def test_shipped_recipes_are_found_by_name_from_any_folder(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("demo", "demo.toml", "recipes/demo.toml"):
        assert TrainingRecipe.read(find_recipe(name)).model.name == "voneresnet_small"
    asked = []

    class StopError(BaseException):
        pass

    def note(recipe, address, out, **settings):
        asked.append((recipe, address, out))
        raise StopError

    monkeypatch.setattr("vonenet.cli.train.run_training", note)
    with pytest.raises(StopError):
        command("demo", "--data", "embedded", "--epochs", 2, "--from", "runs/other")
    (((recipe, address, out)),) = asked
    assert (recipe.optimization.epochs, recipe.model.start_from) == (2, "runs/other")
    assert (recipe.data.in_chans, address, out) == (1, "embedded", Path("runs/demo"))
    assert command("demmo", "--data", "embedded") == 1
    assert (
        "recipe 'demmo' is not there; allowed: a .toml file, or one of" in capsys.readouterr().err
    )
    assert command("--data", "embedded", "demo") == 1
    assert "recipe 'demo' must come first" in capsys.readouterr().err


def test_a_wheel_holds_the_recipes():
    """By the build's own settings; CONTRIBUTING says how a wheel is built and tried."""
    settings = tomllib.loads((RECIPES[0].parents[1] / "pyproject.toml").read_text())
    wheel = settings["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["force-include"] == {"recipes": "vonenet/recipes"}


def test_ctrl_c_says_that_the_run_is_saved(folder, tmp_path, monkeypatch, capsys):
    (tmp_path / "small.toml").write_text(SMALL.as_toml())

    def interrupt(self, *arguments):
        os.kill(os.getpid(), signal.SIGINT)
        return Trainer.train_epoch(self, *arguments)

    words = [
        tmp_path / "small.toml",
        "--data",
        folder,
        "--out",
        tmp_path / "run",
        "--device",
        "cpu",
    ]
    with monkeypatch.context() as patched:
        patched.setattr(
            "vonenet.training.trainer.Trainer", type("T", (Trainer,), {"train_epoch": interrupt})
        )
        assert command(*words) == 130
    *_, error = capsys.readouterr().err.splitlines()
    assert re.fullmatch(
        r"vonenet: stopped at step 1 of epoch 1 and saved in .*same command.*", error
    )
    assert command(*words) is None


def test_broken_images_stop_the_command_or_are_named_and_left_out(folder, tmp_path, capsys):
    """A held-out image is broken as well as one to train on."""
    (tmp_path / "small.toml").write_text(SMALL.as_toml())
    for name in ("cat/2.png", "dog/5.png", "dog/6.png"):
        path = folder / name
        path.write_bytes(path.read_bytes()[:-500])
    words = [tmp_path / "small.toml", "--data", folder, "--epochs", 1, "--batch-size", 4]
    words += ["--device", "cpu", "--out"]
    assert command(*words, tmp_path / "stopped") == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert re.search(r"vonenet: image .*/\d.png cannot be read: .*truncated", error)

    assert command(*words, tmp_path / "run", "--broken", "skip") is None
    told = capsys.readouterr().out
    for name in ("cat/2.png", "dog/5.png", "dog/6.png"):
        assert re.search(rf"^skipped {folder}/{name}: .*truncated", told, re.MULTILINE)
    counts = re.findall(r"^(\d) of (\d+) images of .* are skipped", told, re.MULTILINE)
    assert sum(int(count) for count, _ in counts) == 3
    left = json.loads((tmp_path / "run" / "run.json").read_text())["training"]["images"]
    assert {of for _, of in counts} == {"12", "4"}, counts
    assert left == 12 - int({of: count for count, of in counts}["12"])
    assert load_model(str(tmp_path / "run")).image_size == 32


@pytest.mark.parametrize(
    ("text", "words", "message"),
    [
        ("[optimization]\nlr = 1.0", [], r"wrong.toml: \[optimization\] has no field 'lr'"),
        ("[model]\nname = 'voneresnet51'", [], "unknown model 'voneresnet51'"),
        ("", ["--learning-rate", "-1"], "learning_rate=-1.0 is impossible; allowed: greater than"),
    ],
)
def test_a_wrong_recipe_gets_one_line(text, words, message, folder, tmp_path, capsys):
    path, out = tmp_path / "wrong.toml", tmp_path / "run"
    path.write_text(f"{text}\n[data]\nvalidation_split='25%'")
    assert command(path, "--data", folder, "--out", out, *words) == 1
    error = capsys.readouterr().err
    assert re.fullmatch(rf"vonenet: .*{message}.*\n", error)
    assert not out.exists()
    assert command(tmp_path / "recipe.txt", "--data", folder) == 1
    assert "allowed: a .toml file, or one of" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore::vonenet.VOneNetWarning")
def test_gabor_filters_are_trained_near_their_distribution(folder, tmp_path):
    """They move, are kept, and go on in another run; the penalty enters the loss."""
    settings = {**SMALL.model.settings, "trainable": True}
    model = dataclasses.replace(SMALL.model, settings=settings)
    recipe = dataclasses.replace(SMALL, model=model)
    start = build_model(recipe, ("cat", "dog")).model.vone_block
    penalties, losses = [], []
    for weight in (0.0, 5.0):
        optimization = dataclasses.replace(SMALL.optimization, distribution_penalty=weight)
        log = run_training(
            dataclasses.replace(recipe, optimization=optimization),
            str(folder),
            tmp_path / str(weight),
            progress=False,
            device="cpu",
        )
        losses.append(log.epochs[0].loss)
        trained = load_model(str(tmp_path / str(weight))).model.model
        for name, value in trained.vone_block.named_parameters():
            assert not torch.equal(value, start.get_parameter(name))
        penalties.append(trained.distribution_penalty().item())
    assert penalties[1] < penalties[0]
    assert losses[1] > losses[0] + 1
    again = dataclasses.replace(model, start_from=str(tmp_path / "5.0"))
    found = build_model(dataclasses.replace(recipe, model=again), ("cat", "dog")).model.vone_block
    assert torch.equal(found.gabor_bank.phase_rad, trained.vone_block.gabor_bank.phase_rad)


def test_a_penalty_without_trainable_filters_is_refused(folder, tmp_path):
    optimization = dataclasses.replace(SMALL.optimization, distribution_penalty=1.0)
    penalized = dataclasses.replace(SMALL, optimization=optimization)
    for recipe, said in ((penalized, "no trainable Gabor"), (base(penalized), "has no V1")):
        with pytest.raises(InputError, match=said):
            run_training(recipe, str(folder), tmp_path / "run", progress=False, device="cpu")
