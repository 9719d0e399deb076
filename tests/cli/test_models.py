"""`vonenet models` for programs."""

import dataclasses
import json
import subprocess
import sys

import pytest

from vonenet.cli.models import Models, _model_row
from vonenet.errors import InputError
from vonenet.names import NAMED_MODELS


def test_models_as_json_are_the_rows_of_the_table(capsys):
    Models("vonealex*").run()
    table = capsys.readouterr().out
    Models("vonealex*", json=True).run()
    (row,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert list(row) == ["name", "trained", "front-end", "weights"]
    assert row["name"] == "vonealexnet"
    assert all(value in table for value in row.values())


def test_front_ends_are_listed_with_stages_and_papers(capsys):
    Models(front_ends=True).run()
    table = capsys.readouterr().out
    Models("evnet2025*", front_ends=True, json=True).run()
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert all(value in table for row in rows for value in row.values())
    assert rows[0]["stages"] == "subcortical, vone_block"
    assert "vonenet2020 " in table
    with pytest.raises(InputError, match="no front-end matches 'x'; try"):
        Models("x", front_ends=True).run()


@pytest.mark.parametrize("entry", NAMED_MODELS.values(), ids=list(NAMED_MODELS))
def test_sizes_of_named_models_are_those_of_models_that_are_built(entry):
    assert _model_row(entry) == _model_row(dataclasses.replace(entry, trained=None, stride=0))


@pytest.mark.parametrize("of", ["", "front_ends=True"])
def test_named_models_are_listed_without_the_seconds_that_timm_and_torchvision_take(of):
    code = (
        f"import sys; from vonenet.cli.models import Models; Models({of}).run()\n"
        "assert not {'timm', 'torchvision', 'torch._dynamo'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
