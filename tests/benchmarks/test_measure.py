"""Turns are taken fairly, and memory is counted to the byte."""

import numpy as np
import pytest
import torch

from vonenet.benchmarks.measure import (
    MAX_ROUNDS,
    MIN_ROUNDS,
    Spread,
    interleaved_seconds,
    peak_bytes,
)

CPU = torch.device("cpu")
N = 1_000_000


class Clock:
    """Time that passes only in the calls that it makes."""

    def __init__(self):
        self.now = 0.0
        self.order = []

    def __call__(self):
        return self.now

    def call(self, name, seconds):
        def run():
            self.order.append(name)
            self.now += seconds

        return run


@pytest.mark.parametrize(
    ("seconds", "budget_s", "rounds"),
    [(100, 1, MIN_ROUNDS), (1, 24.5, 9), (1, 1e6, MAX_ROUNDS)],
)
def test_rounds_follow_the_budget(seconds, budget_s, rounds):
    clock = Clock()
    calls = {name: clock.call(name, seconds) for name in "abc"}
    measured = interleaved_seconds(calls, budget_s=budget_s, clock=clock)
    assert measured == {name: [seconds] * rounds for name in "abc"}
    turns = ["".join(clock.order[i : i + 3]) for i in range(0, len(clock.order), 3)]
    assert turns[:4] == ["abc", "bca", "cab", "abc"]


def test_the_device_is_waited_for_within_the_measured_time():
    clock = Clock()
    call, wait = clock.call("call", 1), clock.call("wait", 10)
    measured = interleaved_seconds({"a": call}, budget_s=0, synchronize=wait, clock=clock)
    assert measured == {"a": [11] * MIN_ROUNDS}
    assert clock.order[:3] == ["wait", "call", "wait"]


def test_spread_is_median_and_quartiles():
    values = np.random.default_rng(0).random(11).tolist()
    spread = Spread.of(values)
    expected = np.quantile(values, [0.25, 0.5, 0.75])
    assert [spread.low, spread.median, spread.high] == pytest.approx(expected)
    assert Spread.of([3.0]) == Spread(3.0, 3.0, 3.0)


def two_then_one():
    first = torch.empty(N)
    second = torch.empty(N)
    del first
    return second, torch.empty(N // 2)


@pytest.mark.parametrize(
    ("call", "expected"),
    [(two_then_one, 8 * N), (lambda: torch.empty(N), 4 * N), (lambda: None, 0)],
)
def test_peak_memory_is_exact(call, expected):
    assert peak_bytes(call, CPU) == expected


def test_scratch_inside_one_operation_counts():
    """What an operation allocates and frees before it returns: here sorted values and indices."""
    x = torch.rand(N)
    assert peak_bytes(lambda: x.median(), CPU) >= 4 * N


def test_memory_held_before_does_not_count():
    held = torch.ones(N)
    assert peak_bytes(lambda: held.neg_(), CPU) == 0


def test_gradients_count():
    x = torch.ones(N, requires_grad=True)
    # What exp keeps for its gradient, and x's own.
    assert peak_bytes(lambda: x.exp().sum().backward(), CPU) >= 2 * 4 * N
