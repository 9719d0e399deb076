"""Every row of docs/coming-from-vonenet.md: what the original's line gives, and what ours does."""

import ast
import dataclasses
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import vonenet
from tests.published import write_published
from vonenet.frontends.subcortical import SubcorticalConfig

GUIDE = Path(__file__).parents[2] / "docs" / "coming-from-vonenet.md"
ROW = re.compile(r"\| `(.+?)` \| `(.+?)` \| (.*)\|")
ROWS = [match.groups() for line in GUIDE.read_text().splitlines() if (match := ROW.match(line))]


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    model = vonenet.create_model(
        "voneresnet18", simple_channels=8, complex_channels=8, filters="legacy"
    )
    return write_published(tmp_path_factory.mktemp("published") / "w.pth.tar", model)


@pytest.fixture
def names(published, tmp_path, monkeypatch):
    """Return a function that makes what the rows of the guide speak of."""
    monkeypatch.setattr("vonenet.zoo.registry.fetch", lambda _: published)
    path = tmp_path / published.name
    path.write_bytes(published.read_bytes())

    def make():
        torch.manual_seed(0)
        model = vonenet.create_model("voneresnet_small", filters="legacy", image_size=64).eval()
        images = torch.rand(2, 3, 64, 64) * 2 - 1
        here = {name: getattr(vonenet, name) for name in vonenet.__all__}
        modules = {
            "vonenet": vonenet,
            "torch": torch,
            "nn": nn,
            "np": np,
            "dataclasses": dataclasses,
            "SubcorticalConfig": SubcorticalConfig,
        }
        return (
            here
            | modules
            | {"model": model, "block": model.vone_block, "images": images, "path": path}
        )

    return make


def value_of(code, names):
    """Run lines and return the value of the last one: an expression, an import, an assignment."""
    *before, last = ast.parse(code).body
    if isinstance(last, ast.Expr):
        exec(ast.unparse(before), names)
        return eval(ast.unparse(last), names)
    exec(code, names)
    last = last.body[-1] if isinstance(last, ast.With) else last
    return names[last.names[0].name if isinstance(last, ast.ImportFrom) else last.targets[0].id]


def same(a, b):
    """Whether two results are one: models by their settings and V1's weights, numbers by value."""
    if isinstance(a, vonenet.VOneNet | vonenet.VOneBlock):
        ours, theirs = (getattr(x, "vone_block", x) for x in (a, b))
        return type(a) is type(b) and ours.config == theirs.config and same_v1(ours, theirs)
    if isinstance(a, torch.Tensor | np.ndarray):
        a, b = (torch.as_tensor(x).detach() for x in (a, b))
        return torch.allclose(a, b, rtol=1e-6)
    return a == b


def same_v1(one, other):
    state = other.state_dict()
    return all(torch.equal(value, state[key]) for key, value in one.state_dict().items())


def test_the_guide_has_rows():
    assert len(ROWS) > 40


@pytest.mark.parametrize(("old", "new", "differs"), ROWS, ids=[row[0][:60] for row in ROWS])
def test_both_lines_of_a_row(names, old, new, differs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours = value_of(new, names())
        if refused := re.match('Refused: "(.+?)"', differs):
            with pytest.raises((vonenet.InputError, AttributeError)) as caught:
                value_of(old, names())
            assert refused[1] in str(caught.value)
            assert "\n" not in str(caught.value)
        else:
            theirs = value_of(old, names())
            assert same(theirs, ours) is not differs.startswith("Other numbers")
