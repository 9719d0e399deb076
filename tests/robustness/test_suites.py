"""Suites and the attack condition: published radii, scaling, columns, every method."""

from math import sqrt

import pytest
import torch

from tests.robustness.test_attacks import IMAGES, own_labels
from tests.robustness.test_norms import SHAPE
from tests.robustness.toys import LinearModel, small_net
from vonenet.errors import InputError
from vonenet.robustness import Attack, attack_suite
from vonenet.robustness.sampling import decision_margin
from vonenet.robustness.suites import METHODS


def test_paper_suite_is_the_papers():
    suite = attack_suite("paper")
    assert [a.norm for a in suite] == ["linf", "linf", "l2", "l2", "l1", "l1"]
    assert [a.epsilon for a in suite] == [1 / 1020, 1 / 255, 0.15, 0.6, 40.0, 160.0]
    for attack in suite:
        columns = attack.columns((224, 224))
        assert columns["steps"] == 64
        assert columns["step_size"] == pytest.approx(attack.epsilon / 32)
        assert columns["gradient_samples"] == 10
        assert columns["attack"] == "pgd"
        rules = {"linf": "sign", "l2": "normalized", "l1": "dense"}
        assert columns["step_rule"] == rules[attack.norm]


def test_evnets_suite_goes_on_by_powers_of_four():
    for norm in ("linf", "l2", "l1"):
        radii = [attack.epsilon for attack in attack_suite("evnets") if attack.norm == norm]
        assert radii == pytest.approx([radii[0] * 4**power for power in range(4)])


def test_radii_scale_with_the_image():
    """A change that repeats in every quarter of the larger image is as large in both."""
    change = torch.rand(1, 3, 112, 56).double()
    tiled = change.repeat(1, 1, 2, 4)
    for small, large in zip(
        attack_suite("paper", (112, 56)), attack_suite("paper", (224, 224)), strict=True
    ):
        order = {"linf": float("inf"), "l2": 2.0, "l1": 1.0}[small.norm]
        lengths = [torch.linalg.vector_norm(each.flatten(), ord=order) for each in (change, tiled)]
        assert small.epsilon / large.epsilon == pytest.approx(float(lengths[0] / lengths[1]))
    assert attack_suite("paper", (224, 224)) == attack_suite("paper")
    assert attack_suite("quick", (56, 56))[1].epsilon == pytest.approx(0.6 * sqrt(1 / 16))


def test_unknown_suites_and_sizes_are_refused():
    with pytest.raises(InputError, match="suite 'hard' is unknown; allowed: paper, evnets, quick"):
        attack_suite("hard")
    with pytest.raises(InputError, match=r"image_size=\(0, 5\)"):
        attack_suite("paper", (0, 5))


@pytest.mark.parametrize("method", sorted(set(METHODS) - {"autoattack"}))
@pytest.mark.parametrize("target_classes", [0, 2])
def test_every_method_attacks(method, target_classes):
    model = small_net()
    labels = own_labels(model)
    attack = Attack(
        "linf", 0.06, steps=60, method=method, target_classes=target_classes, gradient_samples=1
    )
    found = [attack.perturb(model, IMAGES, labels, seed=3, first_index=8) for _ in range(2)]
    assert torch.equal(*found)  # the seed's
    assert (decision_margin(model, found[0], labels, 1) < 0).float().mean() > 0.2


def test_more_target_classes_break_no_less():
    model = small_net()
    labels = own_labels(model)
    margins = []
    for count in (1, 3, 9):
        attack = Attack("linf", 0.02, steps=10, target_classes=count, gradient_samples=1)
        found = attack.perturb(model, IMAGES, labels, seed=0, first_index=0)
        margins.append(decision_margin(model, found, labels, 1))
    assert (margins[1] <= margins[0]).all()
    assert (margins[1] < margins[0]).any()
    assert torch.equal(margins[1], margins[2])  # there are three wrong classes


def test_columns_name_what_is_not_default():
    plain = Attack("l2", 0.5, method="apgd").columns((32, 32))
    shared = {"attack": "apgd", "norm": "l2", "epsilon": 0.5, "steps": 64}
    assert plain == shared | {"step_rule": "normalized", "gradient_samples": 10}
    special = Attack("l2", 0.5, method="apgd", restarts=3, stop_samples=20, target_classes=9)
    stop = {"stop_samples": 20, "stop_rule": "unanimous"}
    assert special.columns((32, 32)) == plain | stop | {"restarts": 3, "target_classes": 9}
    assert "steps" not in Attack("l2", 0.5, method="autoattack").columns((32, 32))
    sparse, dense = Attack("l1", 4.0), Attack("l1", 4.0, step_rule="dense")
    assert [a.columns((32, 32))["step_rule"] for a in (sparse, dense)] == ["sparse", "dense"]
    assert [a.label for a in (special, dense)] == ["apgd l2 0.5", "l1 4 dense"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "cw"}, "method='cw' is unknown; allowed: pgd, fgsm, apgd"),
        ({"target_classes": -1}, "target_classes=-1"),
        ({"restarts": 0}, "restarts=0"),
        ({"norm": "l0"}, "norm='l0'"),
        ({"method": "square", "step_rule": "normalized"}, "step_rule='normalized' is of pgd"),
    ],
)
def test_impossible_attacks_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        Attack(**({"norm": "l2", "epsilon": 1.0} | changes))


def test_autoattack_says_what_it_misses(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyautoattack", None)
    attack = Attack("linf", 0.1, method="autoattack")
    with pytest.raises(InputError, match=r"install vonenet\[autoattack\]"):
        attack.perturb(LinearModel(SHAPE), IMAGES, torch.zeros(40), seed=0, first_index=0)
