"""Result rows on disk, the hash of weights, and Wilson's interval."""

import copy
import json
import logging
import runpy
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import vonenet
from vonenet.data import PixelModel
from vonenet.errors import InputError, VOneNetWarning
from vonenet.results import (
    AuditRow,
    Result,
    append_jsonl,
    append_missing,
    model_hash,
    read_jsonl,
    wilson_interval,
)


def row(value=0.1 + 0.2, **changes):
    columns = {
        "experiment": "test",
        "model": "voneresnet18",
        "model_hash": "0123456789abcdef",
        "data": "embedded/test 32px",
        "data_size": 2000,
        "metric": "accuracy",
        "condition": {"attack": "pgd", "norm": "linf", "epsilon": 1 / 255, "steps": 20},
        "value": value,
        "ci_low": 0.25,
        "ci_high": 0.35,
        "n": 250,
        "seed": 0,
        "flags": {"stochastic": True},
    }
    return Result(**(columns | changes))


def test_rows_come_back_as_they_were(tmp_path):
    path = tmp_path / "new" / "results.jsonl"
    rows = [row(), row(1 / 3, condition={})]
    append_jsonl(path, rows[:1])
    append_jsonl(path, rows[1:])
    assert read_jsonl(path) == rows


def test_versions_are_those_of_this_run():
    assert row().versions == {
        "python": ".".join(str(part) for part in sys.version_info[:3]),
        "torch": torch.__version__,
        "vonenet": vonenet.__version__,
    }


@pytest.mark.parametrize("cut", [2, 20, 200])
def test_unfinished_last_line_is_left_out_and_then_replaced(tmp_path, cut):
    path = tmp_path / "results.jsonl"
    append_jsonl(path, [row(0.1), row(0.2)])
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.warns(VOneNetWarning, match="last line of .* is unfinished"):
        assert read_jsonl(path) == [row(0.1)]
    append_jsonl(path, [row(0.3)])
    assert read_jsonl(path) == [row(0.1), row(0.3)]


def test_a_last_row_without_the_end_of_its_line_counts(tmp_path):
    path = tmp_path / "results.jsonl"
    append_jsonl(path, [row(0.1)])
    path.write_bytes(path.read_bytes()[:-1])
    assert read_jsonl(path) == [row(0.1)]
    append_jsonl(path, [row(0.2)])
    assert read_jsonl(path) == [row(0.1), row(0.2)]


def test_rows_are_there_once_though_several_write_what_is_missing(tmp_path):
    path = tmp_path / "results.jsonl"
    rows = [row(number, condition={"number": number}) for number in range(20)]
    writers = [Thread(target=append_missing, args=(path, rows)) for _ in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(timeout=60)
    assert read_jsonl(path) == rows


@pytest.mark.parametrize(
    "line", ["not json", 9999 * "[", "[1]", '{"experiment": "demo"}', '{"colour": 1}']
)
def test_another_broken_line_is_an_error(tmp_path, line):
    path = tmp_path / "results.jsonl"
    append_jsonl(path, [row()])
    path.write_text(path.read_text() + line + "\n")
    append_jsonl(path, [row()])
    with pytest.raises(InputError, match=r"line 2 of .*results\.jsonl is not a row"):
        read_jsonl(path)


@pytest.mark.parametrize(
    "changes",
    [
        *({"n": wrong} for wrong in (1.5, "5", True, None)),
        *({"value": wrong} for wrong in ("high", None, [1])),
        *({"flags": wrong} for wrong in (3, {"stochastic": None})),
        *({"condition": wrong} for wrong in ([1], {"severity": [3]})),
        *({"model": 7}, {"data": None}, {"seconds": "long"}, {"versions": {"torch": 2}}),
        {"condition": {"\n\x1b[31m": None}},
    ],
)
def test_a_column_of_another_type_is_named_in_one_line(tmp_path, changes):
    path = tmp_path / "results.jsonl"
    path.write_text(json.dumps(asdict(row()) | changes) + "\n")
    with pytest.raises(InputError, match=rf"line 1 .*\('{next(iter(changes))}'") as error:
        read_jsonl(path)
    assert str(error.value).isprintable()
    path.write_text("[" * 100_000 + "\n")
    with pytest.raises(InputError, match="line 1 .* is not a row"):
        read_jsonl(path)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_numbers_that_are_not_finite_are_no_rows(tmp_path, number):
    path = tmp_path / "results.jsonl"
    path.write_text(
        json.dumps(asdict(row(0.5))).replace('"value": 0.5', f'"value": {number}') + "\n"
    )
    with pytest.raises(InputError, match="line 1 of .* is not a row"):
        read_jsonl(path)


def test_other_records_come_back_too(tmp_path):
    question = {"check": "restarts", "expected": "at most 0.2", "explanation": "Do restarts help?"}
    model = {"model": "net", "model_hash": "01", "settings": {"seed": 0}}
    check = AuditRow(**model, **question, passed=True, value=0.1)
    append_jsonl(tmp_path / "audit.jsonl", [check])
    assert read_jsonl(tmp_path / "audit.jsonl", AuditRow) == [check]


def test_missing_file_is_an_error(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        read_jsonl(tmp_path / "results.jsonl")


def test_value_that_json_cannot_carry_is_not_written(tmp_path):
    path = tmp_path / "results.jsonl"
    append_jsonl(path, [row()])
    with pytest.raises(ValueError, match="JSON"):
        append_jsonl(path, [row(float("nan"))])
    assert [json.loads(line)["n"] for line in path.read_text().splitlines()] == [250]


def test_hash_belongs_to_the_weights():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)).to(torch.bfloat16)
    assert model_hash(model) == model_hash(copy.deepcopy(model))
    assert len(model_hash(model)) == 16
    others = [copy.deepcopy(model) for _ in range(3)]
    with torch.no_grad():
        others[0][0].bias[0] += 1
        others[1][1].running_mean[0] += 1
    others[2].to(torch.float32)
    # The bytes are the same in these three
    tall, wide = nn.Linear(1, 4, bias=False), nn.Linear(4, 1, bias=False)
    wide.weight.data = tall.weight.detach().T.clone()
    several = [model, *others, tall, wide, nn.Sequential(tall)]
    assert len({model_hash(each) for each in several}) == 7


def test_hash_sees_settings_but_not_the_printed_form(monkeypatch):
    small = {"image_size": 224, "simple_channels": 9, "complex_channels": 9}
    models = [
        nn.Sequential(nn.Conv2d(1, 1, 3), nn.ReLU()),
        nn.Sequential(nn.Conv2d(1, 1, 3, stride=2), nn.ReLU()),
        nn.Sequential(nn.Conv2d(1, 1, 3), nn.LeakyReLU(0.1)),
        nn.Sequential(nn.Conv2d(1, 1, 3), nn.LeakyReLU(0.2)),
        nn.TransformerEncoderLayer(1, 1, activation=nn.functional.relu),
        nn.TransformerEncoderLayer(1, 1, activation=nn.functional.gelu),
        vonenet.VOneBlock(**small),
        vonenet.VOneBlock(**small, noise=None),
        vonenet.VOneBlock(**small, k_exc=20.0),
    ]
    with torch.no_grad():
        for model in models:
            for parameter in model.parameters():
                parameter.zero_()
    found = [model_hash(model) for model in models]
    assert len(set(found)) == len(models)
    monkeypatch.setattr(nn.Conv2d, "extra_repr", lambda self: "printed in another way")
    assert [model_hash(model.eval()) for model in models] == found


def power_of(power):
    return lambda x: x**power


class Scaled(nn.Module):
    """A model of the user's, whose setting is whatever there is."""

    def __init__(self, setting):
        super().__init__()
        self.setting = setting


SETTINGS = [
    {"gain": 1.0},
    {"gain": 2.0},
    [{"gain": 1.0}],
    np.array([1.0, 2.0]),
    np.array([1.0, 3.0]),
    np.float64(2.0),
    torch.tensor([1.0, 2.0]),
    torch.tensor([1.0, 3.0]),
    SimpleNamespace(gain=1.0),
    SimpleNamespace(gain=2.0),
    partial(torch.pow, exponent=1.0),
    partial(torch.pow, exponent=2.0),
    [nn.Linear(1, 1).requires_grad_(False)],  # not registered, and yet asked
    *[lambda x, power=power: x**power for power in (1, 2)],
    *[lambda x: x + 1, lambda x: x + 2],
    *[power_of(power) for power in (1, 2)],
    {1, 2},
    {1, 3},
    nn.ReLU,
    nn.GELU,
    Path("a"),
    torch.float32,
]


def test_hash_sees_settings_of_any_kind_and_no_wheel_of_the_system():
    assert len({model_hash(Scaled(each)) for each in SETTINGS}) == len(SETTINGS)
    for each in SETTINGS:
        assert model_hash(Scaled(each)) == model_hash(Scaled(copy.deepcopy(each)))
    assert model_hash(Scaled(logging.getLogger("a"))) == model_hash(Scaled(logging.getLogger("b")))
    model = nn.Sequential(nn.ReLU())
    model.owner = [model]  # a circle
    assert len(model_hash(model)) == 16


def test_hash_of_a_pixel_model_covers_mean_std_and_classes():
    inner = nn.Linear(1, 1)
    models = [
        PixelModel(inner, 0.5, 0.5),
        PixelModel(inner, 0.5, 0.25),
        PixelModel(inner, 0.25, 0.5),
        PixelModel(inner, 0.5, 0.5, classes=["cat"]),
        PixelModel(inner, 0.5, 0.5, classes=["dog"]),
    ]
    assert len({model_hash(model) for model in models}) == len(models)
    assert model_hash(models[0]) == model_hash(PixelModel(inner, [0.5], [0.5]))


CODE = """
from torch import nn
GAIN = 1.0
class Net(nn.Module):
    def forward(self, x):
        return GAIN * x
"""


def test_hash_sees_the_file_that_a_model_of_the_users_is_in(tmp_path):
    def of(name, code):
        path = tmp_path / name
        path.write_text(code)
        return model_hash(runpy.run_path(str(path))["Net"]())

    assert of("a.py", CODE) == of("b.py", CODE)
    assert of("a.py", CODE) != of("a.py", CODE.replace("1.0", "2.0"))


def test_wilson_is_the_published_formula():
    """Newcombe 1998 (Stat Med 17:857), table I: 81 of 263."""
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)


def test_certain_outcomes_have_exact_ends():
    for n in range(1, 100, 7):
        assert wilson_interval(0, n)[0] == 0
        assert wilson_interval(n, n)[1] == 1


@pytest.mark.parametrize("arguments", [(1, 0), (-1, 5), (6, 5)])
def test_impossible_proportions_are_refused(arguments):
    with pytest.raises(InputError, match="no interval"):
        wilson_interval(*arguments)
