"""Attacks: inside ball and box, optimal where the optimum is known, restarts, early stopping."""

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.robustness.test_norms import SHAPE, lengths
from tests.robustness.toys import CoinModel, LinearModel, small_net
from vonenet.errors import InputError
from vonenet.robustness import apgd, fgsm, pgd, square
from vonenet.robustness.norms import ORDERS, Region
from vonenet.robustness.sampling import decision_margin, sample_logits

ATTACKS = {
    "pgd": partial(pgd, gradient_samples=1),
    "fgsm": lambda *a, steps, **k: fgsm(*a, gradient_samples=1, **k),
    "apgd": partial(apgd, gradient_samples=1),
    "dlr": partial(apgd, gradient_samples=1, loss="dlr"),
    "square": lambda *a, steps, **k: square(*a, queries=steps, decision_samples=1, **k),
}
IN_ALL_NORMS = [(attack, norm) for attack in ATTACKS for norm in ORDERS]
ATTACKS["dense"] = partial(pgd, gradient_samples=1, step_rule="dense")
IN_ALL_NORMS += [("dense", "l1")]
IMAGES = torch.rand(40, *SHAPE, generator=torch.Generator().manual_seed(5))
RADIUS = {"linf": 0.03, "l2": 0.15, "l1": 0.6}


def own_labels(model):
    """What the model says of the images: all of them are decided right."""
    with torch.no_grad():
        return model(IMAGES).argmax(dim=1)


def accuracy(model, images, labels):
    with torch.no_grad():
        return float((model(images).argmax(dim=1) == labels).float().mean())


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@settings(max_examples=100, deadline=None)
@given(
    kind=st.sampled_from(IN_ALL_NORMS),
    epsilon=st.just(0.0) | st.floats(0, 100),
    steps=st.integers(1, 30),
    shape=st.tuples(st.sampled_from([1, 3]), st.integers(1, 6), st.integers(1, 6)),
    targeted=st.booleans(),
    extreme=st.booleans(),
    restarts=st.integers(1, 2),
    seed=st.integers(0, 2**32),
)
def test_always_inside_ball_and_box(kind, epsilon, steps, shape, targeted, extreme, restarts, seed):
    attack, norm = kind
    source = generator(seed)
    images = torch.rand(3, *shape, generator=source)
    images = images.round() if extreme else images
    model = nn.Sequential(nn.Flatten(), nn.Linear(images[0].numel(), 4))
    shared = {"norm": norm, "epsilon": epsilon, "steps": steps, "restarts": restarts}
    targets = torch.tensor([3, 2, 0]) if targeted else None
    labels = torch.tensor([0, 1, 2])
    found = ATTACKS[attack](model, images, labels, **shared, targets=targets, generator=source)
    assert 0 <= found.min() <= found.max() <= 1
    assert (lengths(found - images, norm) <= epsilon * (1 + 1e-5) + 1e-5).all()


@pytest.mark.parametrize("norm", ORDERS)
@pytest.mark.parametrize(
    ("attack", "steps", "random_start"),
    [
        *[("pgd", 1, False), ("pgd", 20, False), ("pgd", 64, False), ("pgd", 300, True)],
        *[("apgd", 100, False), ("apgd", 100, True)],
    ],
)
def test_reaches_the_optimum_on_a_linear_model(attack, norm, steps, random_start):
    """The largest change of a linear score within a ball is epsilon times the dual norm."""
    model, images = LinearModel(SHAPE), torch.full((2, *SHAPE), 0.5)  # far from the box's walls
    epsilon = {"linf": 0.02, "l2": 0.1, "l1": 0.3}[norm]
    shared = {"norm": norm, "epsilon": epsilon, "steps": steps, "random_start": random_start}
    labels = torch.tensor([0, 1])
    adversarial = ATTACKS[attack](model, images, labels, **shared, generator=generator())
    dual = {"linf": 1.0, "l2": 2.0, "l1": float("inf")}[norm]
    best = epsilon * torch.linalg.vector_norm(model.slope.flatten(), ord=dual)
    scores = model(adversarial)[:, 1] - model(images)[:, 1]
    # The best L1 change is of one value: APGD's search for their number nears it step by step.
    tolerance = 1e-5 if attack == "pgd" else 0.15 if norm == "l1" else 0.02
    torch.testing.assert_close(scores, torch.stack([best, -best]), rtol=tolerance, atol=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"norm": "l3"}, "norm='l3' is unknown; allowed: linf, l2, l1"),
        ({"epsilon": -1.0}, "epsilon=-1.0"),
        ({"epsilon": float("nan")}, "epsilon=nan"),
        ({"steps": 0}, "steps=0"),
        ({"gradient_samples": 0}, "samples=0"),
        ({"restarts": 0}, "restarts=0"),
        ({"loss": "hinge"}, "loss='hinge' is unknown; allowed: ce, dlr, margin"),
        ({"loss": "dlr"}, "DLR loss needs 3 or more classes; got 2"),
        ({"stop_samples": 1}, "stop_samples=1 with 10 noise draws"),
        ({"stop_samples": 5, "draws_seed": 1}, "draws_seed=1 belong to places"),
        ({"step_rule": "dense"}, "step_rule='dense' is unknown for l2; allowed: normalized"),
        ({"images": torch.full((2, *SHAPE), 1.5)}, r"1.5; allowed: \[0, 1\]"),
    ],
)
def test_impossible_settings_are_refused(changes, message):
    settings = {"images": torch.rand(2, *SHAPE), "norm": "l2", "epsilon": 1.0} | changes
    with pytest.raises(InputError, match=message):
        pgd(LinearModel(SHAPE), labels=torch.tensor([0, 1]), **settings)


@pytest.mark.parametrize(("attack", "norm"), IN_ALL_NORMS)
def test_attacks_work(attack, norm):
    model = small_net()
    labels = own_labels(model)
    found = ATTACKS[attack](model, IMAGES, labels, norm=norm, epsilon=2 * RADIUS[norm], steps=100)
    assert accuracy(model, found, labels) < 0.8
    noise = Region(norm, 2 * RADIUS[norm]).random_point(IMAGES)
    assert accuracy(model, found, labels) < accuracy(model, noise, labels)


@pytest.mark.parametrize(("attack", "norm"), IN_ALL_NORMS)
def test_early_stopping_leaves_the_same_accuracy(attack, norm):
    """Broken is broken; only for PGD may a later step undo an earlier one."""
    model = small_net()
    labels = own_labels(model)
    shared = {"norm": norm, "epsilon": RADIUS[norm], "steps": 60}

    def left(stop):
        settings = shared | {"stop_samples": stop, "generator": generator()}
        return accuracy(model, ATTACKS[attack](model, IMAGES, labels, **settings), labels)

    undone = 0.05 if attack in ("pgd", "dense") else 0.0
    assert left(1) <= left(None) <= left(1) + undone


@pytest.mark.parametrize("attack", ["pgd", "apgd", "dlr"])
@pytest.mark.parametrize("stop", [None, 1])
def test_images_are_attacked_independently(attack, stop):
    model = small_net().double()
    labels = own_labels(small_net())

    def found(batch_size):
        source = generator()
        shared = {"norm": "l2", "epsilon": 0.1, "steps": 12, "stop_samples": stop}
        batches = zip(IMAGES.double().split(batch_size), labels.split(batch_size), strict=True)
        return torch.cat([ATTACKS[attack](model, *b, generator=source, **shared) for b in batches])

    torch.testing.assert_close(found(7), found(40), rtol=0, atol=1e-9)


@pytest.mark.parametrize("attack", sorted(set(ATTACKS) - {"dense"}))
@pytest.mark.parametrize("stop", [None, 1])
def test_restarts_never_raise_accuracy(attack, stop):
    model = small_net()
    labels = own_labels(model)
    margins = []
    for restarts in (1, 2, 4):
        shared = {"norm": "linf", "epsilon": 0.02, "steps": 4, "restarts": restarts}
        settings = shared | {"stop_samples": stop, "generator": generator()}
        found = ATTACKS[attack](model, IMAGES, labels, **settings)
        margins.append(decision_margin(model, found, labels, 1))
    kept = [float((each >= 0).float().mean()) for each in margins]
    assert kept[2] <= kept[1] <= kept[0]
    assert (margins[1] <= margins[0]).all()
    if attack != "fgsm":  # whose one step ends in the same corner from anywhere
        assert (margins[2] < margins[0]).any()


@pytest.mark.parametrize("attack", ["pgd", "apgd", "dlr", "square"])
def test_targeted_attacks_reach_their_class(attack):
    model = small_net()
    labels = own_labels(model)
    targets = (labels + 1) % 4
    shared = {"norm": "linf", "epsilon": 0.3, "steps": 100}
    found = ATTACKS[attack](model, IMAGES, labels, **shared, targets=targets)
    assert accuracy(model, found, targets) > 0.9


def test_gradients_that_are_no_numbers_move_nothing():
    class Broken(LinearModel):
        def forward(self, pixels):
            return super().forward(pixels) + 0 * (pixels - pixels.detach()).sqrt().sum()

    images = torch.full((2, *SHAPE), 0.5)
    for norm in ORDERS:
        found = pgd(Broken(SHAPE), images, torch.tensor([0, 1]), norm=norm, epsilon=0.1, steps=2)
        assert found.isfinite().all()


def noisy_attack(noise, images, stop_samples, steps=20):
    labels = torch.ones(len(images), dtype=torch.int64)
    shared = {"norm": "linf", "epsilon": 0.1, "steps": steps, "gradient_samples": 4}
    return pgd(CoinModel(noise), images, labels, **shared, stop_samples=stop_samples)


def test_one_lucky_draw_breaks_nothing():
    """Four in ten of the model's single decisions are wrong, but no image may leave for that."""
    images = torch.full((30, 1, 4, 4), 0.55)
    # The boundary is at 0.5, steps are 0.0125 long: those that left did so there or beyond.
    assert (noisy_attack(0.8, images, 20).mean(dim=(1, 2, 3)) < 0.52).all()
    assert (noisy_attack(0.05, images, 20).mean(dim=(1, 2, 3)) > 0.451).any()  # some did leave


def test_images_that_stop_stay_broken_under_fresh_draws():
    """Stopping at the boundary would read high, because later draws decide right again."""
    images = torch.linspace(0.51, 0.58, 200).view(-1, 1, 1, 1).expand(-1, 1, 4, 4)

    def left(stop_samples):
        found = noisy_attack(0.1, images, stop_samples, steps=64)
        logits = sample_logits(CoinModel(0.1), found, 400)
        tens = logits.softmax(dim=2).view(40, 10, 200, 2).mean(dim=1)
        return [float((each.argmax(dim=2) == 1).float().mean()) for each in (logits, tens)]

    (single, averaged), (single_of_all, averaged_of_all) = left(20), left(None)
    assert averaged - averaged_of_all < 0.005  # over ten draws each
    assert single - single_of_all < 1 / 20  # as `Options` says


def test_fixed_draws_are_optimised_and_the_same_at_every_step():
    seen = []

    class Recording(CoinModel):
        def forward(self, pixels):
            logits = super().forward(pixels)
            seen.append((logits - 0 * pixels.sum())[:, 1].detach())
            return logits

    images, labels = torch.full((3, 1, 4, 4), 0.5), torch.tensor([0, 1, 1])
    state = torch.get_rng_state()
    shared = {"norm": "linf", "epsilon": 0.0, "steps": 3, "gradient_samples": 2}
    pgd(Recording(noise=1.0), images, labels, **shared, draws_seed=4)
    assert torch.equal(torch.stack(seen[:2]), torch.stack(seen[2:4]))
    assert not torch.equal(seen[0], seen[1])
    assert torch.equal(torch.get_rng_state(), state)
