"""Every task runs every contestant, on the same work."""

import pytest
import torch

from vonenet.benchmarks import cases, robustness_tasks, tasks, training_tasks
from vonenet.benchmarks.cases import CASES, QUICK_CASES, TASKS
from vonenet.benchmarks.robustness_tasks import ART, FOOLBOX, IMAGECORRUPTIONS, TORCHATTACKS
from vonenet.benchmarks.setting import Setting
from vonenet.benchmarks.tasks import BASE, BASE_CHANNELS_LAST, OURS, PUBLISHED
from vonenet.benchmarks.training_tasks import BARE_DECODING, BARE_STEPS

SETTING = Setting(batch=2, image_px=32, device=torch.device("cpu"))
MIXED = Setting(batch=2, image_px=32, device=torch.device("cpu"), mixed=True)
NETWORKS = {"model": "voneresnet18", "base": "resnet18"}


@pytest.mark.parametrize("setting", [SETTING, MIXED], ids=["float32", "mixed"])
def test_blocks_give_responses_and_gradients_of_one_shape(setting):
    forward = tasks.block_forward(setting, noise=None).contestants
    assert list(forward) == [PUBLISHED, OURS]
    published, ours = (contestant.call() for contestant in forward.values())
    tolerance = {"rtol": 0.05, "atol": 0.2} if setting.mixed else {"rtol": 1e-5, "atol": 1e-5}
    torch.testing.assert_close(published.float(), ours.float(), **tolerance)
    for contestant in tasks.block_gradient(setting).contestants.values():
        (gradient,) = contestant.call()
        assert gradient.shape == (2, 3, 32, 32)
        assert gradient.isfinite().all()


@pytest.mark.parametrize("setting", [SETTING, MIXED], ids=["float32", "mixed"])
def test_networks_give_logits(setting):
    contestants = tasks.inference(setting, **NETWORKS).contestants
    expected = [PUBLISHED, OURS, BASE, BASE_CHANNELS_LAST][: 3 if setting.mixed else 4]
    assert list(contestants) == expected
    logits = {name: contestant.call() for name, contestant in contestants.items()}
    assert all(each.shape == (2, 1000) for each in logits.values())
    if not setting.mixed:
        torch.testing.assert_close(logits[BASE], logits[BASE_CHANNELS_LAST], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("adversarial", [False, True])
def test_a_training_step_moves_each_contestants_own_weights(adversarial, monkeypatch):
    optimizers = []

    def spy(parameters, **settings):
        optimizers.append(sgd(parameters, **settings))
        return optimizers[-1]

    sgd = torch.optim.SGD
    monkeypatch.setattr(torch.optim, "SGD", spy)
    prepared = tasks.training_step(SETTING, **NETWORKS, adversarial=adversarial)
    weights = [optimizer.param_groups[0]["params"] for optimizer in optimizers]
    for index, contestant in enumerate(prepared.contestants.values()):
        before = [[p.detach().clone() for p in group] for group in weights]
        contestant.call()
        moved = [
            any(not torch.equal(p, q) for p, q in zip(now, then, strict=True))
            for now, then in zip(weights, before, strict=True)
        ]
        assert moved == [position == index for position in range(4)]
        assert all(p.grad is None for group in weights for p in group)


@pytest.mark.parametrize("setting", [SETTING, MIXED], ids=["float32", "mixed"])
def test_an_averaged_gradient_counts_the_published_pass_so_often(setting):
    prepared = tasks.sampled_gradient(setting, model="voneresnet18", samples=3)
    assert [each.times for each in prepared.contestants.values()] == [3, 1]
    for contestant in prepared.contestants.values():
        gradient = contestant.call()
        assert gradient.shape == (2, 3, 32, 32)
        assert gradient.isfinite().all()
        assert gradient.abs().sum() > 0


def test_torchvisions_own_networks_are_the_base(monkeypatch):
    class FoundError(Exception):
        pass

    def get_model(name, weights):
        assert (name, weights) == ("resnet18", None)
        raise FoundError

    monkeypatch.setattr(tasks.torchvision.models, "get_model", get_model)
    with pytest.raises(FoundError):
        tasks.inference(Setting(1, 128, SETTING.device), **NETWORKS)


@pytest.mark.parametrize("table", [*CASES.values(), *QUICK_CASES.values()])
def test_cases_are_of_known_tasks_and_each_stands_once(table):
    keys = [(case.task, case.batch, case.image_px) for case in table]
    assert len(keys) == len(set(keys))
    assert {task for task, _, _ in keys} <= set(TASKS)
    contestants = {PUBLISHED, OURS, BASE, TORCHATTACKS, FOOLBOX, ART, IMAGECORRUPTIONS}
    contestants |= {BARE_STEPS, BARE_DECODING}
    for goal in (goal for case in table for goal in case.goals):
        assert {goal.numerator, goal.denominator} < contestants


def test_goals_are_met_from_the_right_side():
    faster = cases.faster_than_published(8, 5)
    assert [faster.reached(ratio) for ratio in (8, 7.9, 5, 4.9)] == [
        "yes",
        "at least",
        "at least",
        "no",
    ]
    slower = cases.slower_than_base(1.2, 1.4)
    assert [slower.reached(r) for r in (1.2, 1.3, 1.4, 1.5)] == [
        "yes",
        "at least",
        "at least",
        "no",
    ]
    throughput = cases.throughput_of_base(0.9)
    assert [throughput.reached(ratio) for ratio in (0.9, 0.8)] == ["yes", "no"]


@pytest.mark.filterwarnings("ignore")  # of the libraries, on import
@pytest.mark.parametrize("setting", [SETTING, MIXED], ids=["float32", "mixed"])
def test_attacks_stay_in_one_ball(setting):
    on_base = robustness_tasks.attack_on_base(setting, base="resnet18", steps=2)
    on_vonenet = robustness_tasks.attack_on_vonenet(
        setting, model="voneresnet18", steps=2, samples=2
    )
    torch.manual_seed(0)
    for prepared in (on_base, on_vonenet):
        assert next(iter(prepared.contestants)) == OURS
        first, *others = (each.call().float() for each in prepared.contestants.values())
        for other in others:
            assert (first - other).abs().max() <= 2 * 4 / 255 + 1e-5


def test_both_make_all_corruptions():
    pytest.importorskip("imagecorruptions", reason="needs pip install imagecorruptions-imaug")
    setting = Setting(batch=2, image_px=64, device=torch.device("cpu"))
    contestants = robustness_tasks.corruptions(setting).contestants
    assert len(contestants[OURS].call()) == 19
    assert len(contestants[IMAGECORRUPTIONS].call()) == 19 * 2


def test_the_loop_and_the_loader_do_their_work():
    loop = training_tasks.training_loop(SETTING, model="voneresnet_small").contestants
    assert list(loop) == [OURS, BARE_STEPS]
    for contestant in loop.values():
        contestant.call()
    loader = training_tasks.loading(SETTING).contestants
    (pixels,) = loader[OURS].call()
    assert pixels.shape == (2, 3, 32, 32)
    assert [image.shape for image in loader[BARE_DECODING].call()] == [(375, 500, 3)] * 2
