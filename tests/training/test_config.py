"""Recipes: TOML round trip, refusals that name the field, every field documented."""

import tomllib

import pytest

from vonenet.errors import InputError
from vonenet.training import TrainingRecipe
from vonenet.training.config import (
    AdversarialRecipe,
    AugmentationRecipe,
    DataRecipe,
    ModelRecipe,
    OptimizationRecipe,
)

FULL = TrainingRecipe(
    model=ModelRecipe(name="voneresnet18", settings={"sf_max": 5.6, "noise": "gaussian"}),
    data=DataRecipe(image_size=64, limit=100, broken="skip"),
    optimization=OptimizationRecipe(
        epochs=6, learning_rate=1e-5, schedule="cosine", frozen=("model.layer1.*", "a"), clip_norm=1
    ),
    augmentation=AugmentationRecipe(crop="shift", horizontal_flip=False, corruptions=("fog",)),
    adversarial=AdversarialRecipe(epsilon=4 / 255, norm="l2"),
)


@pytest.mark.parametrize("recipe", [TrainingRecipe(), FULL])
def test_toml_round_trip(recipe, tmp_path):
    (tmp_path / "recipe.toml").write_text(recipe.as_toml())
    assert TrainingRecipe.read(tmp_path / "recipe.toml") == recipe
    assert tomllib.loads(recipe.as_toml()).keys() == vars(recipe).keys()


@pytest.mark.parametrize(
    "text", ["\U0001f40d\U0010ffff", "\0\a\x1b\x7f\x85\u2028\r\n\t", "\ufeff\"\\'#="]
)
def test_any_text_of_unicode_goes_round(text, tmp_path):
    recipe = TrainingRecipe(
        model=ModelRecipe(name=text, settings={text: text}),
        optimization=OptimizationRecipe(frozen=(text,)),
    )
    (tmp_path / "recipe.toml").write_bytes(recipe.as_toml().encode())
    assert TrainingRecipe.read(tmp_path / "recipe.toml") == recipe
    (tmp_path / "notepad.toml").write_text(recipe.as_toml(), encoding="utf-8-sig")
    assert TrainingRecipe.read(tmp_path / "notepad.toml") == recipe


def test_half_a_character_is_refused():
    """As the command line gives bytes that are no text."""
    tables = {"model": {"name": "a\udc80b"}}
    with pytest.raises(InputError, match=r"""'name = "a\\udc80' ends in half a character"""):
        TrainingRecipe.from_tables(tables)


def test_fields_left_out_keep_their_defaults(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text("# a header\n[optimization]\nepochs = 3\nlearning_rate = 1\nstep_epochs = 1\n")
    expected = OptimizationRecipe(epochs=3, learning_rate=1.0, step_epochs=1)
    assert TrainingRecipe.read(path) == TrainingRecipe(optimization=expected)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs = 3", r"no table \[epochs\]; allowed: model, data, optimization"),
        ("optimization = 3", r"optimization=3 is impossible; allowed: a dictionary"),
        ("[optimization]\nepoch = 3", r"\[optimization\] has no field 'epoch'; allowed: epochs"),
        ("[optimization]\nepochs = 3.5", r"epochs=3.5 is impossible; allowed: a valid integer"),
        ("[optimization]\nlearning_rate = '1'", r"learning_rate='1' .*allowed: a valid number"),
        ("[optimization]\nschedule = 'fast'", r"schedule='fast' .*'step', 'cosine', 'onecycle'"),
        ("[optimization]\nfrozen = 'a'", r"frozen='a' is impossible; allowed: a list"),
        ("[data]\nlimit = 'all'", r"data.limit='all' is impossible; allowed: a valid integer"),
        (
            "[model]\nsettings = {a = [1]}",
            r"settings.a=\[1\] is impossible; allowed: a valid boolean or",
        ),
        ("[model]\nsettings = {a = inf}", r"settings.a=inf is impossible; .* or a finite number"),
        ('[model]\nsettings = {"a\\nb" = [1]}', r"settings.a\\nb=\[1\] is impossible"),
        ('["a\\nb"]', r"no table \[a\\nb\]"),
        ("[model]\nstem_noise = 0.5", r"stem_noise=0.5 is impossible; allowed: 0 unless base"),
        (f"model = '{'x' * 500}'", r"model='x{79}\.\.\. is impossible"),
        ("[[model]]", r"model=\[\{\}\] is impossible; allowed: a dictionary"),
        ("a = " + "[" * 10_000, "cannot be read"),
        ("[optimization", "cannot be read"),
    ],
)
def test_a_wrong_file_is_refused_in_one_line(text, message, tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as refused:
        TrainingRecipe.read(path)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)
    with pytest.raises(InputError, match=r"recipe .*nowhere.toml cannot be read"):
        TrainingRecipe.read(tmp_path / "nowhere.toml")


@pytest.mark.parametrize(
    ("table", "name", "value", "allowed"),
    [
        ("data", "in_chans", 2, "1 or 3"),
        ("data", "limit", 0, "greater than or equal to 1"),
        ("optimization", "learning_rate", float("nan"), "a finite number"),
        ("optimization", "momentum", 1.0, "less than 1"),
        ("optimization", "layer_decay", 0.0, "greater than 0"),
        ("optimization", "warmup_epochs", 70.0, "below epochs=70"),
        ("optimization", "micro_batch_size", 100, "a divisor of batch_size=256"),
        ("optimization", "warmup_epochs", 1.0, "0 with schedule 'onecycle'"),
        ("augmentation", "corruption_share", 1.5, "less than or equal to 1"),
        ("adversarial", "epsilon", -0.1, "greater than or equal to 0"),
        ("optimization", "seed", -1, "greater than or equal to 0"),
        ("optimization", "seed", 2**63, "less than 9223372036854775808"),
        ("optimization", "epochs", 10**12, "less than or equal to 1000000000"),
        ("optimization", "weight_decay", 1e300, "less than or equal to 1000000000"),
        ("data", "image_size", 10**6, "less than or equal to 8192"),
        ("data", "workers", 10**6, "less than or equal to 1024"),
        ("augmentation", "shift_px", 10**6, "less than or equal to 8192"),
    ],
)
def test_an_impossible_value_is_named(table, name, value, allowed):
    others = {"schedule": "onecycle"} if "onecycle" in allowed else {}
    with pytest.raises(InputError, match=rf"{table}\.{name}=.* is impossible; allowed: {allowed}"):
        TrainingRecipe.from_tables({table: {name: value} | others})


def test_every_field_is_documented():
    recipe = TrainingRecipe()
    for table in ("model", "data", "optimization", "augmentation", "adversarial"):
        for name, field in type(getattr(recipe, table)).__pydantic_fields__.items():
            assert field.description, (table, name)
