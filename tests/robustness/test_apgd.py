"""APGD: its schedule, its optimum, and no weaker than PGD at the same budget."""

import pytest
import torch
from torch import nn

from tests.robustness.test_attacks import IMAGES, RADIUS, accuracy, own_labels
from tests.robustness.toys import small_net
from vonenet.data import load_embedded
from vonenet.robustness import apgd, autoattack, pgd, square
from vonenet.robustness.apgd import checkpoints
from vonenet.robustness.norms import ORDERS
from vonenet.robustness.sampling import dlr, margin_loss


def test_checkpoints_are_the_papers():
    """p = 0, 0.22, 0.41, 0.57, 0.70, 0.80, 0.87, 0.93, 0.99 (section 3 of the paper)."""
    windows = checkpoints(100)
    # 0.22 + 0.19 + 0.16 is a little above 0.57 in floating point, and so are others.
    assert list(windows) == pytest.approx([22, 41, 57, 70, 80, 87, 93, 99], abs=1)
    assert sum(windows.values()) == max(windows)
    assert windows[22] == 22


@pytest.mark.parametrize("norm", ORDERS)
def test_no_weaker_than_pgd(norm):
    model = small_net()
    labels = own_labels(model)
    shared = {"norm": norm, "epsilon": RADIUS[norm], "steps": 50, "gradient_samples": 1}
    by_pgd, by_apgd = (
        accuracy(model, attack(model, IMAGES, labels, random_start=False, **shared), labels)
        for attack in (pgd, apgd)
    )
    assert by_apgd <= by_pgd < 1


def test_dlr_ignores_scale_and_shift_and_tells_right_from_wrong():
    logits, labels = torch.randn(50, 5), torch.randint(5, (50,))
    values = dlr(logits, labels)
    torch.testing.assert_close(dlr(1000 * logits + 3, labels), values, rtol=1e-3, atol=1e-3)
    wrong = logits.argmax(dim=1) != labels
    assert torch.equal(values > 0, wrong)
    assert torch.equal(margin_loss(logits, labels) > 0, wrong)
    first, second, third = logits[0].sort(descending=True).values[:3]
    top = logits[:1].argmax(dim=1)
    assert float(dlr(logits[:1], top)) == pytest.approx(
        float(-(first - second) / (first - third)), rel=1e-4
    )


RADII = {"linf": 0.02, "l2": 0.4, "l1": 3.0}


@pytest.fixture(scope="module")
def trained():
    """A little net that knows Fashion-MNIST a bit, and 60 images that it decides right."""
    torch.manual_seed(0)
    data = load_embedded("train", in_chans=1)
    images = torch.stack([data[index][0] for index in range(1500)])
    labels = data.labels[:1500]
    first, second = nn.Conv2d(1, 8, 5, stride=2), nn.Conv2d(8, 8, 5, stride=2)
    net = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), nn.Flatten(), nn.Linear(200, 10))
    optimizer = torch.optim.Adam(net.parameters(), 0.004)
    for step in range(150):
        part = slice(50 * step % 1500, 50 * step % 1500 + 50)
        loss = nn.functional.cross_entropy(net(images[part]), labels[part])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.eval().requires_grad_(False)
    right = (net(images).argmax(dim=1) == labels).nonzero().flatten()[:60]
    return net, images[right], labels[right]


def left(trained, found):
    """How many images are still decided right."""
    model, _, labels = trained
    return int((model(found).argmax(dim=1) == labels[: len(found)]).sum())


@pytest.mark.oracle
@pytest.mark.parametrize("loss", ["ce", "dlr"])
@pytest.mark.parametrize("norm", ORDERS)
def test_as_strong_as_pyautoattack(trained, norm, loss):
    base = pytest.importorskip("pyautoattack.autopgd_base")
    shared = {"norm": norm.replace("l", "L"), "eps": RADII[norm], "device": "cpu"}
    theirs = base.APGDAttack(trained[0], n_iter=50, loss=loss, **shared).perturb(*trained[1:])
    shared = {"norm": norm, "epsilon": RADII[norm]}
    ours = apgd(*trained, steps=50, gradient_samples=1, loss=loss, **shared)
    assert left(trained, ours) <= left(trained, theirs) + 1
    assert left(trained, theirs) < 55


@pytest.mark.oracle
@pytest.mark.parametrize(
    ("norm", "step_rule"),
    [("linf", "sign"), ("l2", "normalized"), ("l1", "sparse"), ("l1", "dense")],
)
def test_pgd_is_as_strong_as_foolboxs(trained, norm, step_rule):
    foolbox = pytest.importorskip("foolbox")
    model, images, labels = trained
    kind = {"linf": "LinfPGD", "l2": "L2PGD", "l1": "L1PGD"}[norm]
    size = RADII[norm] / 10
    attack = getattr(foolbox.attacks, kind)(abs_stepsize=size, steps=30, random_start=False)
    target = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    _, theirs, _ = attack(target, images, labels, epsilons=RADII[norm])
    shared = {"norm": norm, "epsilon": RADII[norm], "steps": 30, "step_size": size}
    ours = pgd(*trained, **shared, step_rule=step_rule, gradient_samples=1)
    assert left(trained, ours) <= left(trained, theirs)
    if norm != "l1":  # the same but for rounding; for L1 ours comes back to the ball inside the box
        torch.testing.assert_close(ours, theirs, rtol=0, atol=5e-3)


@pytest.mark.oracle
@pytest.mark.parametrize("norm", ORDERS)
def test_square_is_as_strong_as_pyautoattacks(trained, norm):
    package = pytest.importorskip("pyautoattack.square")
    shared = {"norm": norm.replace("l", "L"), "eps": RADII[norm], "device": "cpu"}
    with torch.random.fork_rng():
        theirs = package.SquareAttack(trained[0], n_queries=150, **shared).perturb(*trained[1:])
    shared = {"norm": norm, "epsilon": RADII[norm]}
    ours = square(*trained, queries=150, decision_samples=1, **shared)
    assert left(trained, ours) <= left(trained, theirs) + 2
    assert left(trained, ours) < 60


@pytest.mark.slow
@pytest.mark.oracle
def test_autoattack_runs_behind_its_extra(trained):
    pytest.importorskip("pyautoattack")
    model, images, labels = trained[0], trained[1][:12], trained[2][:12]
    state = torch.get_rng_state()
    found = autoattack(model, images, labels, norm="linf", epsilon=0.02, stochastic=True)
    assert torch.equal(torch.get_rng_state(), state)
    assert (found - images).abs().max() <= 0.02 + 1e-6
    ours = apgd(model, images, labels, norm="linf", epsilon=0.02, gradient_samples=1)
    assert abs(left(trained, found) - left(trained, ours)) <= 1
