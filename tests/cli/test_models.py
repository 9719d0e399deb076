"""`vonenet models` for programs."""

import json

import pytest

from vonenet.cli.models import Models
from vonenet.errors import InputError


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
