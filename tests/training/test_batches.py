"""The plan: every image once an epoch, in an order of its own, from any step on."""

from itertools import chain, islice

import pytest

from tests.training.toys import DESCENT
from vonenet.errors import InputError
from vonenet.training.batches import Plan, plan_batches

PLAN = Plan(images=22, batch_size=4, micro_batches=2, epochs=3, seed=7)


def test_an_epoch_has_each_image_at_most_once() -> None:
    batches = list(PLAN.batches(0, 0))
    assert len(batches) == 3 * 5 * 2
    assert all(len(batch) == 2 for batch in batches)
    orders = []
    for epoch in range(3):
        pairs = [pair for pair in chain.from_iterable(batches) if pair[0] == epoch]
        indices = [index for _, index in pairs]
        assert len(set(indices)) == len(indices) == 20
        assert set(indices) <= set(range(22))
        orders.append(indices)
    assert orders[0] != orders[1] != orders[2]


@pytest.mark.parametrize(("epoch", "step"), [(0, 0), (0, 3), (1, 0), (2, 4), (1, 5), (3, 0)])
def test_a_run_goes_on_in_the_middle(epoch: int, step: int) -> None:
    done = 2 * (epoch * PLAN.steps + step)
    assert list(PLAN.batches(epoch, step)) == list(islice(PLAN.batches(0, 0), done, None))


def test_processes_share_the_micro_batches_of_each_step() -> None:
    whole = list(Plan(24, 12, 4, 2, 7).batches(0, 0))
    parts = [list(Plan(24, 12, 4, 2, 7, rank, 2).batches(0, 0)) for rank in (0, 1)]
    together = [batch for pair in zip(*parts, strict=True) for batch in pair]
    assert together == whole


def test_a_seed_sets_the_order() -> None:
    one, other = (list(Plan(22, 4, 2, 3, seed).batches(0, 0)) for seed in (7, 8))
    assert one != other


def test_few_images_are_one_batch() -> None:
    plan = Plan(images=3, batch_size=8, micro_batches=1, epochs=1, seed=0)
    (batch,) = plan.batches(0, 0)
    assert sorted(index for _, index in batch) == [0, 1, 2]
    assert plan.step_images == 3


@pytest.mark.parametrize(
    ("micro", "processes", "count"), [(None, 1, 1), (None, 4, 4), (8, 1, 4), (8, 2, 4), (8, 4, 4)]
)
def test_micro_batches_are_the_recipes_or_one_for_each_process(
    micro: int | None, processes: int, count: int
) -> None:
    descent = type(DESCENT)(batch_size=32, micro_batch_size=micro)
    plan = plan_batches(100, descent, 0, processes)
    assert plan.micro_batches == count
    assert len(plan.own) == count // processes


@pytest.mark.parametrize(
    ("micro", "processes", "message"),
    [
        (None, 3, r"3 processes cannot share optimization.batch_size=32; allowed: a multiple of 3"),
        (8, 3, r"3 processes cannot share the 4 micro-batches that .*micro_batch_size=8"),
        (8, 8, r"8 processes cannot share the 4 micro-batches"),
    ],
)
def test_what_cannot_be_shared_is_refused(micro: int | None, processes: int, message: str) -> None:
    descent = type(DESCENT)(batch_size=32, micro_batch_size=micro)
    with pytest.raises(InputError, match=message):
        plan_batches(100, descent, 0, processes)
