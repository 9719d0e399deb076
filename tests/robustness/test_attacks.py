"""Attacks: inside ball and box, optimal where the optimum is known, restarts, early stopping."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.robustness.test_norms import SHAPE, lengths
from tests.robustness.toys import CoinModel, LinearModel, small_net
from vonenet.errors import InputError
from vonenet.robustness import apgd, fgsm, pgd, square
from vonenet.robustness.attacks import PGD, default_step_size
from vonenet.robustness.norms import BALLS, Region
from vonenet.robustness.sampling import Estimate, decision_margin

ATTACKS: dict[str, Callable[..., Tensor]] = {
    "pgd": lambda *a, steps, **k: pgd(*a, steps=steps, gradient_samples=1, **k),
    "fgsm": lambda *a, steps, **k: fgsm(*a, gradient_samples=1, **k),
    "apgd": lambda *a, steps, **k: apgd(*a, steps=steps, gradient_samples=1, **k),
    "dlr": lambda *a, steps, **k: apgd(*a, steps=steps, gradient_samples=1, loss="dlr", **k),
    "square": lambda *a, steps, **k: square(*a, queries=steps, decision_samples=1, **k),
}


@settings(max_examples=150, deadline=None)
@given(
    attack=st.sampled_from(sorted(ATTACKS)),
    norm=st.sampled_from(sorted(BALLS)),
    epsilon=st.floats(0, 100),
    steps=st.integers(1, 30),
    shape=st.tuples(st.sampled_from([1, 3]), st.integers(1, 6), st.integers(1, 6)),
    targeted=st.booleans(),
    extreme=st.booleans(),
    restarts=st.integers(1, 2),
    seed=st.integers(0, 2**32),
)
def test_always_inside_ball_and_box(
    attack: str,
    norm: str,
    epsilon: float,
    steps: int,
    shape: tuple[int, int, int],
    targeted: bool,
    extreme: bool,
    restarts: int,
    seed: int,
) -> None:
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(3, *shape, generator=generator)
    images = images.round() if extreme else images
    adversarial = ATTACKS[attack](
        nn.Sequential(nn.Flatten(), nn.Linear(images[0].numel(), 4)),
        images,
        torch.tensor([0, 1, 2]),
        norm=norm,
        epsilon=epsilon,
        steps=steps,
        targets=torch.tensor([3, 2, 0]) if targeted else None,
        restarts=restarts,
        generator=generator,
    )
    assert adversarial.min() >= 0
    assert adversarial.max() <= 1
    assert (lengths(adversarial - images, norm) <= epsilon * (1 + 1e-5) + 1e-5).all()


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("norm", BALLS)
def test_no_radius_gives_the_image_back_from_any_attack(attack: str, norm: str) -> None:
    images = torch.rand(2, *SHAPE)
    model = small_net()
    found = ATTACKS[attack](model, images, torch.tensor([0, 1]), norm=norm, epsilon=0.0, steps=5)
    torch.testing.assert_close(found, images, rtol=0, atol=1e-6)


@pytest.mark.parametrize("norm", BALLS)
@pytest.mark.parametrize("random_start", [True, False])
def test_no_radius_gives_the_image_back(norm: str, random_start: bool) -> None:
    images = torch.rand(2, *SHAPE)
    adversarial = pgd(
        LinearModel(SHAPE),
        images,
        torch.tensor([0, 1]),
        norm=norm,
        epsilon=0.0,
        steps=3,
        random_start=random_start,
    )
    assert torch.equal(adversarial, images)


@pytest.mark.parametrize("norm", BALLS)
@pytest.mark.parametrize(
    ("steps", "random_start"), [(1, False), (20, False), (64, False), (300, True)]
)
def test_reaches_the_optimum_on_a_linear_model(norm: str, steps: int, random_start: bool) -> None:
    """The largest change of a linear score within a ball is epsilon times the dual norm."""
    model = LinearModel(SHAPE)
    images = torch.full((2, *SHAPE), 0.5)  # far from the box's walls
    epsilon = {"linf": 0.02, "l2": 0.1, "l1": 0.3}[norm]
    adversarial = pgd(
        model,
        images,
        torch.tensor([0, 1]),
        norm=norm,
        epsilon=epsilon,
        steps=steps,
        gradient_samples=1,
        random_start=random_start,
        generator=torch.Generator().manual_seed(0),
    )
    dual = {"linf": 1.0, "l2": 2.0, "l1": float("inf")}[norm]
    best = epsilon * torch.linalg.vector_norm(model.slope.flatten(), ord=dual)
    scores = model(adversarial)[:, 1] - model(images)[:, 1]
    torch.testing.assert_close(scores, torch.stack([best, -best]), rtol=1e-5, atol=0)


def test_one_step_is_fgsm() -> None:
    model = LinearModel(SHAPE)
    images = torch.rand(2, *SHAPE)
    adversarial = pgd(model, images, torch.tensor([0, 1]), norm="linf", epsilon=0.1, steps=1)
    sign = model.slope.sign() * torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1)
    torch.testing.assert_close(adversarial, (images + 0.1 * sign).clamp(0, 1))


def test_default_step_sizes() -> None:
    assert default_step_size(0.32, 64) == pytest.approx(0.01)
    assert default_step_size(0.32, 20) == pytest.approx(0.04)
    assert default_step_size(0.32, 1) == pytest.approx(0.8)


def test_random_start_is_the_generators() -> None:
    images = torch.full((2, *SHAPE), 0.5)

    def attack(seed: int) -> Tensor:
        return pgd(
            LinearModel(SHAPE),
            images,
            torch.tensor([0, 1]),
            norm="linf",
            epsilon=0.1,
            steps=1,
            step_size=0.01,
            random_start=True,
            generator=torch.Generator().manual_seed(seed),
        )

    assert torch.equal(attack(1), attack(1))
    assert not torch.equal(attack(1), attack(2))


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
        ({"images": torch.full((2, *SHAPE), 1.5)}, r"1.5; allowed: \[0, 1\]"),
    ],
)
def test_impossible_settings_are_refused(changes: dict[str, object], message: str) -> None:
    settings = {"images": torch.rand(2, *SHAPE), "norm": "l2", "epsilon": 1.0} | changes
    with pytest.raises(InputError, match=message):
        pgd(LinearModel(SHAPE), labels=torch.tensor([0, 1]), **settings)  # type: ignore[arg-type]


def test_unknown_keyword_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="restart"):
        pgd(
            LinearModel(SHAPE),
            torch.rand(1, *SHAPE),
            torch.tensor([0]),
            norm="l2",
            epsilon=1.0,
            restart=2,
        )  # type: ignore[call-arg]


# --- on a small net ----------------------------------------------------------------------------


IMAGES = torch.rand(40, *SHAPE, generator=torch.Generator().manual_seed(5))


def own_labels(model: nn.Module) -> Tensor:
    """What the model says of the images: all of them are decided right."""
    with torch.no_grad():
        return model(IMAGES).argmax(dim=1)


def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    with torch.no_grad():
        return float((model(images).argmax(dim=1) == labels).float().mean())


RADIUS = {"linf": 0.03, "l2": 0.15, "l1": 0.6}


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("norm", BALLS)
def test_attacks_work(attack: str, norm: str) -> None:
    model = small_net()
    labels = own_labels(model)
    found = ATTACKS[attack](model, IMAGES, labels, norm=norm, epsilon=2 * RADIUS[norm], steps=100)
    assert accuracy(model, found, labels) < 0.8
    noise = Region(norm, 2 * RADIUS[norm]).random_point(IMAGES)
    assert accuracy(model, found, labels) < accuracy(model, noise, labels)


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("norm", BALLS)
def test_early_stopping_leaves_the_same_accuracy(attack: str, norm: str) -> None:
    """Broken is broken; only for FGSM and PGD may a later step undo an earlier one."""
    model = small_net()
    labels = own_labels(model)
    setting = {"norm": norm, "epsilon": RADIUS[norm], "steps": 60}
    whole = ATTACKS[attack](
        model, IMAGES, labels, **setting, generator=torch.Generator().manual_seed(0)
    )
    stopped = ATTACKS[attack](
        model,
        IMAGES,
        labels,
        **setting,
        stop_samples=1,
        generator=torch.Generator().manual_seed(0),
    )
    left = accuracy(model, stopped, labels)
    if attack == "square":  # its proposals then go to other images
        assert left == pytest.approx(accuracy(model, whole, labels), abs=0.1)
    elif attack == "pgd":
        assert left <= accuracy(model, whole, labels) <= left + 0.05
    else:
        assert left == accuracy(model, whole, labels)


@pytest.mark.parametrize("attack", ["pgd", "apgd", "dlr"])
@pytest.mark.parametrize("stop", [None, 1])
def test_refilled_batches_change_nothing(attack: str, stop: int | None) -> None:
    model = small_net().double()
    labels = own_labels(small_net())

    def found(batch_size: int | None) -> Tensor:
        return ATTACKS[attack](
            model,
            IMAGES.double(),
            labels,
            norm="l2",
            epsilon=0.1,
            steps=12,
            batch_size=batch_size,
            stop_samples=stop,
            generator=torch.Generator().manual_seed(0),
        )

    torch.testing.assert_close(found(7), found(None), rtol=0, atol=1e-9)


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("stop", [None, 1])
def test_restarts_never_raise_accuracy(attack: str, stop: int | None) -> None:
    model = small_net()
    labels = own_labels(model)
    margins = []
    for restarts in (1, 2, 4):
        found = ATTACKS[attack](
            model,
            IMAGES,
            labels,
            norm="linf",
            epsilon=0.02,
            steps=4,
            restarts=restarts,
            stop_samples=stop,
            generator=torch.Generator().manual_seed(0),
        )
        margins.append(decision_margin(model, found, labels, 1))
    kept = [float((each >= 0).float().mean()) for each in margins]
    assert kept[2] <= kept[1] <= kept[0]
    assert (margins[1] <= margins[0]).all()
    if attack != "fgsm":  # whose one step ends in the same corner from anywhere
        assert (margins[2] < margins[0]).any()


@pytest.mark.parametrize("attack", ["pgd", "apgd", "dlr", "square"])
def test_targeted_attacks_reach_their_class(attack: str) -> None:
    model = small_net()
    labels = own_labels(model)
    targets = (labels + 1) % 4
    found = ATTACKS[attack](
        model, IMAGES, labels, norm="linf", epsilon=0.3, steps=100, targets=targets
    )
    assert accuracy(model, found, targets) > 0.9


def test_momentum_accumulates_normalised_gradients() -> None:
    method = PGD(Region("linf", 1.0), 2, 0.1, 0.5, lambda images: images)
    images = torch.full((1, 1, 1, 2), 0.5)
    state = method.start(torch.arange(1), images, torch.zeros(1, dtype=torch.int64))
    first, second = torch.tensor([3.0, -1.0]), torch.tensor([-0.001, -0.001])
    for gradient in (first, second):
        estimate = Estimate(gradient.view(1, 1, 1, 2), torch.zeros(1), torch.zeros(1, 1, 2))
        method.step(state, estimate)
    # Mean sizes 2 and 0.001: 0.5 * (1.5, -0.5) + (-1, -1) = (-0.25, -1.25).
    assert state.velocity.flatten().tolist() == pytest.approx([-0.25, -1.25])
    assert state.adversarial.flatten().tolist() == pytest.approx([0.5, 0.3])


def test_gradients_that_are_no_numbers_move_nothing() -> None:
    class Broken(LinearModel):
        def forward(self, pixels: Tensor) -> Tensor:
            return super().forward(pixels) + 0 * (pixels - pixels.detach()).sqrt().sum()

    images = torch.full((2, *SHAPE), 0.5)
    for norm in BALLS:
        found = pgd(Broken(SHAPE), images, torch.tensor([0, 1]), norm=norm, epsilon=0.1, steps=2)
        assert found.isfinite().all()


# --- stochastic models -------------------------------------------------------------------------


def test_one_lucky_draw_breaks_nothing() -> None:
    """Four in ten of the model's single decisions are wrong, but no image may leave for that."""
    images = torch.full((30, 1, 4, 4), 0.55)
    labels = torch.ones(30, dtype=torch.int64)
    found = pgd(
        CoinModel(noise=0.8),
        images,
        labels,
        norm="linf",
        epsilon=0.1,
        steps=20,
        gradient_samples=4,
        stop_samples=20,
    )
    # The boundary is at 0.5, steps are 0.0125 long: those that left did so there or beyond.
    brightness = found.mean(dim=(1, 2, 3))
    assert (brightness < 0.52).all()
    assert (brightness > 0.451).any()  # and some did leave


def test_fixed_draws_are_optimised_and_the_same_at_every_step() -> None:
    class Counting(CoinModel):
        seen: list[Tensor] = []  # noqa: RUF012

        def forward(self, pixels: Tensor) -> Tensor:
            logits = super().forward(pixels)
            self.seen.append((logits - 0 * pixels.sum())[:, 1].detach())
            return logits

    model = Counting(noise=1.0)
    state = torch.get_rng_state()
    pgd(
        model,
        torch.full((3, 1, 4, 4), 0.5),
        torch.tensor([0, 1, 1]),
        norm="linf",
        epsilon=0.0,
        steps=3,
        gradient_samples=2,
        draws_seed=4,
    )
    assert torch.equal(torch.stack(model.seen[:2]), torch.stack(model.seen[2:4]))
    assert not torch.equal(model.seen[0], model.seen[1])
    assert torch.equal(torch.get_rng_state(), state)


def test_mixed_precision_attacks_as_well() -> None:
    model = small_net()
    labels = own_labels(model)
    left = [
        accuracy(
            model,
            pgd(
                model,
                IMAGES,
                labels,
                norm="linf",
                epsilon=0.03,
                steps=20,
                gradient_samples=1,
                mixed_precision=mixed,
            ),
            labels,
        )
        for mixed in (False, True)
    ]
    assert left[1] == pytest.approx(left[0], abs=0.08)
