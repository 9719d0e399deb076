"""The demonstration end to end, small: folders, rows, the common page, and that it repeats."""

import dataclasses
import re

import pytest

from vonenet.cli import demo, main, train
from vonenet.cli.demo import FULL, Demo, Scale
from vonenet.errors import Preempted
from vonenet.results import Result, append_jsonl, read_jsonl
from vonenet.training import TrainingRecipe
from vonenet.zoo.loading import load_model

TINY = Scale(
    epochs=1,
    test_images=40,
    attack_images=10,
    steps=2,
    gradient_samples=2,
    corruptions=("gaussian_noise", "contrast"),
    severities=(3, 5),
    attacks=(("linf", 8 / 255),),
)
SMALL = {"= 128": "= 8", "image_size = 32": "image_size = 32\nlimit = 200\nvalidation_limit = 20"}
FIND, SHIPPED = train.find_recipe, train.find_recipe("demo")


@pytest.fixture(scope="module")
def make(tmp_path_factory):
    """Run the tiny demonstration into a folder."""
    recipe = SHIPPED.read_text()
    for old, new in SMALL.items():
        recipe = recipe.replace(old, new)
    path = tmp_path_factory.mktemp("recipes") / "demo.toml"
    path.write_text(recipe)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "QUICK", TINY)
        patch.setattr(train, "find_recipe", lambda name: path)
        yield lambda out: main(["demo", "--quick", "--out", str(out)])


@pytest.fixture(scope="module")
def out(make, tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    make(folder)
    return folder


@pytest.mark.parametrize("stop", [Preempted, KeyboardInterrupt])
def test_a_demonstration_that_is_stopped_does_not_promise_to_go_on(tmp_path, monkeypatch, stop):
    def stopped(*args, **options):
        raise stop("the same command goes on from there")

    monkeypatch.setattr(train, "run_training", stopped)
    with pytest.raises(stop, match="^stopped; the same command begins anew$"):
        Demo(out=tmp_path / "new").run()


def test_everything_is_written(out):
    names = {path.name for path in out.iterdir()}
    pictures = {"examples.png", "v1_filters.png", "v1_responses.png"}
    assert names == {"demo.json", "report.html", "results.jsonl", "base", "vonenet"} | pictures
    page = (out / "report.html").read_text()
    assert page.count("data:image/png;base64,") == len(pictures)
    for words in ("gaussian noise, severity 5", "PGD L∞, ε 8/255", "How the recipes differ"):
        assert words in page


def test_rows_are_those_of_both_networks_under_every_condition(out):
    rows = read_jsonl(out / "results.jsonl")
    assert [row.model for row in rows] == ["base"] * (1 + 4 + 1) + ["vonenet"] * (1 + 4 + 1)
    for row in rows:
        assert row.experiment == "demo"
        assert row.flags["stochastic"] == (row.model == "vonenet")
        assert row.n == (10 if "attack" in row.condition else 40)
        if "attack" in row.condition:
            assert row.condition["gradient_samples"] == (2 if row.model == "vonenet" else 1)


def test_both_networks_have_the_same_back_end(out):
    base, vone = (load_model(str(out / name)).model.model for name in ("base", "vonenet"))
    weights = base.state_dict()
    for name, value in vone.model.state_dict().items():
        assert weights[name].shape == value.shape
    assert vone.config.v1.sf_max == 5.6


def test_a_second_run_replaces_the_first_with_the_same_numbers(make, out):
    def numbers():
        return [(row.model, row.condition, row.value) for row in read_jsonl(out / "results.jsonl")]

    first = numbers()
    make(out)
    assert numbers() == first
    assert Demo(seed=1).recipe(TINY, base=True).optimization.seed == 1


def test_the_recipe_is_the_shipped_one(monkeypatch, tmp_path):
    """... whatever lies in the working folder."""
    monkeypatch.setattr(train, "find_recipe", FIND)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "demo.toml").write_text("[optimization]\nepochs = 1")
    recipe = TrainingRecipe.read(SHIPPED)
    assert Demo().recipe(FULL, base=False) == recipe
    model = dataclasses.replace(recipe.model, base=True)
    assert Demo().recipe(FULL, base=True) == dataclasses.replace(recipe, model=model)


ROW = Result(
    experiment="evaluate", model="m", model_hash="0", data="d", data_size=9, condition={},
    metric="accuracy", value=0.5, ci_low=0.2, ci_high=0.8, n=9, seed=0,
)  # fmt: skip


@pytest.mark.parametrize("what", ["evaluation", "trainings", "evaluation of a demonstration"])
def test_a_folder_of_something_else_is_left_alone(tmp_path, capsys, what):
    if "demonstration" in what:
        Demo(out=tmp_path).clear()
    if "evaluation" in what:
        append_jsonl(tmp_path / "results.jsonl", [ROW])
    else:
        (tmp_path / "base").mkdir()
        (tmp_path / "base" / "run.json").write_text("{}")
    files = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(SystemExit):
        main(["demo", "--quick", "--out", str(tmp_path)])
    error = capsys.readouterr().err
    assert re.fullmatch(r"vonenet: .* holds something else than a demonstration.*\n", error)
    assert files == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
