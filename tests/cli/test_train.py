"""From a recipe and an address to a folder with weights, and from there to a model again."""

import dataclasses
import shlex
from pathlib import Path

import pytest
import torch
from PIL import Image

from vonenet.cli import main
from vonenet.cli.demo import FULL, Demo
from vonenet.cli.predict import Predict, predict_images
from vonenet.cli.train import build_model, open_parts, run_training, write_model
from vonenet.data import ImageArrays
from vonenet.errors import InputError
from vonenet.training import TrainingRecipe, train
from vonenet.training.config import DataRecipe, ModelRecipe, OptimizationRecipe
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


def base(recipe: TrainingRecipe) -> TrainingRecipe:
    return dataclasses.replace(recipe, model=dataclasses.replace(recipe.model, base=True))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
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


def test_predict_names_the_classes_that_were_trained(folder, tmp_path):
    run_training(SMALL, str(folder), tmp_path / "run", progress=False, device="cpu")
    image = next((folder / "dog").iterdir())
    ((_, answer),) = predict_images(Predict(str(tmp_path / "run"), (image,), top=2, samples=2))
    assert "cat" in answer
    assert "dog" in answer


def test_an_unfinished_run_is_told_apart(tmp_path):
    SMALL.write(tmp_path / "recipe.toml")
    with pytest.raises(InputError, match="not finished"):
        load_model(str(tmp_path))


def test_one_part_cannot_serve_twice(folder):
    recipe = dataclasses.replace(SMALL, data=DataRecipe(image_size=32))
    with pytest.raises(InputError, match=r"validation_split to '10%'"):
        open_parts(recipe, str(folder))


def test_a_share_of_each_class_is_held_out(folder):
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
        build_model(recipe, 10)


@pytest.mark.slow
@pytest.mark.parametrize("path", RECIPES, ids=[path.stem for path in RECIPES])
def test_every_shipped_recipe_is_built_and_runs_two_steps(path, tmp_path):
    recipe = TrainingRecipe.read(path)
    header = path.read_text().split("\n\n")[0]
    assert all(word in header for word in ("# Command:", "# Time:", "# Expect:"))
    optimization = dataclasses.replace(
        recipe.optimization, batch_size=2, micro_batch_size=None, epochs=1, warmup_epochs=0
    )
    data = dataclasses.replace(recipe.data, workers=0)
    recipe = dataclasses.replace(recipe, optimization=optimization, data=data)
    side, channels = recipe.data.image_size, recipe.data.in_chans
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (4, channels, side, side), generator=generator).to(torch.uint8)
    dataset = ImageArrays(images, torch.tensor([0, 1, 0, 1]), ("a", "b"), "made up")
    for each in (recipe, base(recipe)):
        model = build_model(each, 2)
        before = [parameter.detach().clone() for parameter in model.parameters()]
        log = train(model, dataset, each, progress=False, device="cpu")
        assert len(log.epochs) == 1
        pairs = zip(before, model.parameters(), strict=True)
        assert any(not torch.equal(old, new) for old, new in pairs)
        write_model(each, dataset.classes, model, tmp_path / "model.safetensors")
        load_model(str(tmp_path / "model.safetensors"))


def test_the_demonstrations_recipe_is_the_demonstrations():
    recipe = TrainingRecipe.read(RECIPES[0].with_name("demo.toml"))
    assert TrainingRecipe.from_tables(Demo().recipe(FULL, base=False)) == recipe
    base = TrainingRecipe.from_tables(Demo().recipe(FULL, base=True))
    model = dataclasses.replace(recipe.model, base=True)
    assert base == dataclasses.replace(recipe, model=model)


def command(*arguments):
    with pytest.raises(SystemExit) as stopped:
        main(["train", *map(str, arguments)])
    return stopped.value.code


def test_the_command_trains_with_overridden_fields(folder, tmp_path, capsys):
    SMALL.write(tmp_path / "small.toml")
    out = tmp_path / "run"
    arguments = ["--data", folder, "--out", out, "--epochs", 1, "--kernel-size", 17]
    main(["train", *map(str, [tmp_path / "small.toml", *arguments, "--device", "cpu"])])
    told = capsys.readouterr().out
    assert "1 epochs: training loss" in told
    recipe = TrainingRecipe.read(out / "recipe.toml")
    assert recipe.optimization.epochs == 1
    assert recipe.optimization.learning_rate == 0.05
    assert recipe.model.settings == SMALL.model.settings | {"kernel_size": 17}
    show_curves = shlex.split(told.split("curves: vonenet ")[1])
    main([*show_curves, "--out", str(tmp_path / "page.html")])
    assert "% validation accuracy after 1 of 1 epoch" in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[optimization]\nepochs = 0",
            "optimization.epochs=0 is impossible; allowed: greater than or equal to 1",
        ),
        ("[optimization]\nlr = 1.0", "[optimization] has no field 'lr'"),
        (
            "[optimization]\nschedule = 'slow'",
            "allowed: 'step', 'cosine', 'onecycle' or 'constant'",
        ),
        ("[model]\nname = 'voneresnet51'", "unknown model 'voneresnet51'"),
        ("epochs = 3", "no table [epochs]"),
        ("[optimization", "cannot be read"),
    ],
)
def test_a_wrong_recipe_gets_one_line(text, message, folder, tmp_path, capsys):
    path = tmp_path / "wrong.toml"
    path.write_text(text + ("\n[data]\nvalidation_split='25%'\n" if "[model]" in text else ""))
    assert command(path, "--data", folder, "--out", tmp_path / "run") == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_field_overridden_with_an_impossible_value_gets_one_line(folder, tmp_path, capsys):
    out = tmp_path / "run"
    words = ["--data", folder, "--out", out, "--learning-rate", "-1"]
    assert command(RECIPES[0].with_name("demo.toml"), *words) == 1
    message = "vonenet: optimization.learning_rate=-1.0 is impossible; allowed: greater than 0\n"
    assert capsys.readouterr().err == message
    assert not out.exists()


def test_a_recipe_must_be_a_toml_file(folder, tmp_path, capsys):
    assert command(tmp_path / "recipe.txt", "--data", folder) == 1
    assert "must be a .toml file" in capsys.readouterr().err
