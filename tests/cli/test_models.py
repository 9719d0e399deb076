"""`vonenet models` for programs."""

import json

from vonenet.cli.models import Models


def test_models_as_json_are_the_rows_of_the_table(capsys):
    Models("vonealex*").run()
    table = capsys.readouterr().out
    Models("vonealex*", json=True).run()
    (row,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert list(row) == ["name", "trained", "front-end", "weights"]
    assert row["name"] == "vonealexnet"
    assert all(value in table for value in row.values())
