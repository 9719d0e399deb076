"""Ten programs as users of the original write them, and as ours: the same numbers."""

import importlib
from pathlib import Path

import numpy as np
import pytest
import torch

CLIENTS = sorted(path.stem for path in Path(__file__).parent.glob("[!_]*.py"))
CLIENTS = [name for name in CLIENTS if not name.startswith("test_")]


@pytest.mark.filterwarnings("ignore::vonenet.VOneNetWarning")
@pytest.mark.parametrize("client", CLIENTS)
def test_the_old_style_and_ours_give_the_same_numbers(client):
    module = importlib.import_module(f"tests.clients.{client}")
    images = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    old, new = module.old(images), module.new(images)
    assert old.keys() == new.keys()
    for name, value in old.items():
        ours = torch.as_tensor(np.asarray(torch.as_tensor(new[name]).detach()))
        theirs = torch.as_tensor(np.asarray(torch.as_tensor(value).detach()))
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6, msg=name)
        assert theirs.double().abs().sum() > 0
