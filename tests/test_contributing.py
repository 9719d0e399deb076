"""The worked examples of CONTRIBUTING.md run as they are."""

import re
from pathlib import Path

import pytest

from vonenet import backbones
from vonenet.physiology import experiments
from vonenet.robustness import corruptions, suites
from vonenet.zoo import registry

TEXT = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text()
EXAMPLES = re.findall(r"## (Add [^\n]*)\n.*?```python\n(.*?)```", TEXT, flags=re.DOTALL)
TABLES = (
    backbones.NATIVE,
    registry.NAMED_MODELS,
    corruptions.OTHERS,
    suites.METHODS,
    suites.OWN,
    experiments.EXPERIMENTS,
)


@pytest.fixture(autouse=True)
def tables_as_before():
    """What an example adds to a table is gone after it."""
    before = [dict(table) for table in TABLES]
    yield
    for table, rows in zip(TABLES, before, strict=True):
        table.clear()
        table.update(rows)


@pytest.mark.parametrize("code", [pytest.param(code, id=title) for title, code in EXAMPLES])
def test_the_example_runs(code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(code, {})


def test_every_promised_example_is_there():
    titles = [title for title, _ in EXAMPLES]
    assert titles == ["Add a back-end", "Add a corruption", "Add an attack", "Add an experiment"]
