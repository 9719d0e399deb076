"""The worked examples of CONTRIBUTING.md run as they are."""

import re
from pathlib import Path

import pytest

from vonenet import backbones
from vonenet.robustness import corruptions
from vonenet.zoo import registry

TEXT = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text()
EXAMPLES = re.findall(r"## (Add [^\n]*)\n.*?```python\n(.*?)```", TEXT, flags=re.DOTALL)
TABLES = ((backbones, "NATIVE"), (registry, "NAMED_MODELS"), (corruptions, "OTHERS"))


@pytest.mark.parametrize("code", [pytest.param(code, id=title) for title, code in EXAMPLES])
def test_the_example_runs(code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for module, table in TABLES:  # what an example adds is gone after it
        monkeypatch.setattr(module, table, dict(getattr(module, table)))
    exec(code, {})


def test_every_promised_example_is_there():
    titles = [title for title, _ in EXAMPLES]
    assert titles == ["Add a back-end", "Add a corruption"]
