"""The demonstration end to end, small: files, rows, page, and that it repeats."""

import dataclasses
import json

import pytest
import torch

import vonenet
from vonenet.cli.demonstration import BASE, VONE, DemoConfig, build_pair, decide, run_demo
from vonenet.report.summary import MEASURES
from vonenet.results import read_jsonl

TINY = dataclasses.replace(
    DemoConfig().with_descent(epochs=1, batch_size=50),
    training_images=200,
    test_images=40,
    attack_images=10,
    attack_steps=2,
    gradient_samples=2,
    corruptions=("gaussian_noise", "contrast"),
    severities=(5,),
    attacks=(("linf", 8 / 255),),
    example_images=2,
    model={**DemoConfig().model, "simple_channels": 8, "complex_channels": 8},
)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo")
    torch.manual_seed(0)
    return out, run_demo(TINY, out, progress=False)


def test_everything_is_written(demo):
    out, table = demo
    names = {path.name for path in out.iterdir()}
    assert names == {"report.html", "results.jsonl", "config.json", "vonenet.safetensors"}
    assert all(label in table for label in MEASURES)
    page = (out / "report.html").read_text()
    assert "gaussian noise, severity 5" in page
    assert "PGD L∞, ε 8/255" in page
    assert page.count("data:image/png;base64,") == 2 * 4 + 1 + 1 + 8 * 3


def test_rows_are_those_of_both_networks_under_every_condition(demo):
    rows = read_jsonl(demo[0] / "results.jsonl")
    assert len(rows) == 2 * (1 + 2 + 1)
    assert {row.model for row in rows} == {BASE, VONE}
    for row in rows:
        assert row.flags["stochastic"] == (row.model == VONE)
        assert row.ci_low <= row.value <= row.ci_high
        assert row.n == (10 if "attack" in row.condition else 40)
        if "attack" in row.condition:
            assert row.condition["gradient_samples"] == (2 if row.model == VONE else 1)


def test_the_configuration_is_resolved(demo):
    config = json.loads((demo[0] / "config.json").read_text())
    assert config["vonenet"]["v1"]["sf_max"] == 5.6
    assert config["demo"]["recipe"]["optimization"]["epochs"] == 1


def test_the_saved_network_is_the_measured_one(demo):
    model = vonenet.load_checkpoint(demo[0] / "vonenet.safetensors")
    assert model.config.backbone == "resnet_small"
    assert model.config.v1.kernel_size == 15


def test_a_second_run_gives_the_same_numbers(demo, tmp_path):
    state = torch.get_rng_state()
    table = run_demo(TINY, tmp_path, progress=False)
    assert table == demo[1]
    assert torch.equal(torch.get_rng_state(), state)


def test_both_networks_have_the_same_back_end():
    pair = build_pair(TINY)
    base, vone = pair[BASE].model.state_dict(), pair[VONE].model.model.state_dict()
    assert all(base[key].shape == value.shape for key, value in vone.items())


def test_decisions_are_repeatable():
    model = build_pair(TINY)[VONE]
    pixels = torch.rand(3, 1, 32, 32)
    assert decide(model, pixels) == decide(model, pixels)


def test_quick_is_smaller_in_every_way():
    full, quick = DemoConfig(), DemoConfig().quick()
    for name in ("test_images", "attack_images", "gradient_samples"):
        assert getattr(quick, name) < getattr(full, name)
    assert set(quick.corruptions) <= set(full.corruptions)
    assert set(quick.attacks) <= set(full.attacks)
