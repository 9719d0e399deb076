"""Every case runs, and its lower bound counts what other ways of counting give."""

from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import cases
from benchmarks.cases import CASES, OURS, Size, back_end_operations
from vonenet import VOneBlock, create_model

SIZE = Size(image_px=33, batch=2, cells=16)


def operations(call):
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


@pytest.mark.parametrize("settings", [{}, {"simple_channels": 3}, {"complex_channels": 0}])
def test_filters_count_each_weight_on_its_colour_once_per_position(settings):
    block, x = VOneBlock(**{**SIZE.geometry, **settings}), torch.zeros(2, 3, 33, 33)
    banks = (block.simple_conv_q0, block.simple_conv_q1)
    q0, q1 = (bank.weight.flatten(2).any(2) for bank in banks)
    planes = q0.sum() + q1[block.config.simple_channels :].sum()
    positions, kernel = block(x)[:, 0].numel(), block.config.kernel_size
    assert cases.filter_operations(block, SIZE) == 2 * planes * kernel**2 * positions
    if not settings:
        dense = operations(lambda: cases.PublishedBlock(block).mean_response(x))
        assert cases.filter_operations(block, SIZE) == dense / 4


def test_back_propagation_costs_twice_the_forward_pass():
    model = create_model("voneresnet18", **SIZE.geometry).eval()
    responses = model.vone_block(2 * SIZE.pixels() - 1)
    forward = operations(lambda: model.model(model.bottleneck(responses)))
    bottleneck = operations(lambda: model.bottleneck(responses))
    assert back_end_operations(model, SIZE) == forward
    # The bottleneck's input needs no gradient in training, and no weight does in an attack.
    assert back_end_operations(model, SIZE, "weights") == 3 * forward - bottleneck
    assert back_end_operations(model, SIZE, "responses") == 2 * forward
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of other libraries, on import
@pytest.mark.parametrize("key", CASES)
def test_every_implementation_runs(key, monkeypatch):
    monkeypatch.setattr(cases, "LOOP_STEPS", 2)
    size = cases.sizes_of(CASES[key], torch.device("cpu"), quick=True)[0]
    calls = CASES[key].prepare(replace(size, samples=min(size.samples, 2))).calls
    assert OURS in calls
    for call in calls.values():
        call()


@pytest.mark.filterwarnings("ignore::vonenet.VOneNetWarning")
@pytest.mark.parametrize(
    ("name", "others", "cells", "default"),
    [
        ("vonenet", set(), (16, 16), None),
        ("vonenet2021_simple", {"vonenet"}, (32, 0), 32),
        ("vonenet_push_pull", {"vonenet", "V1 alone"}, (16, 16), 32),
        ("vonenetdn2022", {"vonenet", "V1 alone"}, (2, 2), 32),
    ],
)
def test_front_ends_are_measured_with_their_own_cells_beside_vonenet(name, others, cells, default):
    case, cpu = CASES[f"front-end-{name}"], torch.device("cpu")
    (size,) = cases.sizes_of(case, cpu, quick=True)
    calls = case.prepare(size).calls
    assert set(calls) == {OURS} | others
    found = calls[OURS].args[0].stages[-1].config
    assert (found.simple_channels, found.complex_channels) == cells
    assert sum(cells) == size.cells == cases.sizes_of(case, cpu, quick=False)[0].cells / 16
    if default:
        assert calls["vonenet"]().shape[1] == default
