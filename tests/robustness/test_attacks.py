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
from vonenet.robustness.attacks import default_step_size
from vonenet.robustness.norms import ORDERS, STEPS, Region
from vonenet.robustness.sampling import averaged_gradient, decision_margin, sample_logits

ATTACKS: dict[str, Callable[..., Tensor]] = {
    "pgd": lambda *a, steps, **k: pgd(*a, steps=steps, gradient_samples=1, **k),
    "dense": lambda *a, steps, norm, **k: pgd(
        *a,
        steps=steps,
        norm=norm,
        step_rule="dense" if norm == "l1" else None,
        gradient_samples=1,
        **k,
    ),
    "fgsm": lambda *a, steps, **k: fgsm(*a, gradient_samples=1, **k),
    "apgd": lambda *a, steps, **k: apgd(*a, steps=steps, gradient_samples=1, **k),
    "dlr": lambda *a, steps, **k: apgd(*a, steps=steps, gradient_samples=1, loss="dlr", **k),
    "square": lambda *a, steps, **k: square(*a, queries=steps, decision_samples=1, **k),
}


@settings(max_examples=150, deadline=None)
@given(
    attack=st.sampled_from(sorted(ATTACKS)),
    norm=st.sampled_from(sorted(ORDERS)),
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
@pytest.mark.parametrize("norm", ORDERS)
def test_no_radius_gives_the_image_back_from_any_attack(attack: str, norm: str) -> None:
    images = torch.rand(2, *SHAPE)
    model = small_net()
    found = ATTACKS[attack](model, images, torch.tensor([0, 1]), norm=norm, epsilon=0.0, steps=5)
    torch.testing.assert_close(found, images, rtol=0, atol=1e-6)


@pytest.mark.parametrize("norm", ORDERS)
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


@pytest.mark.parametrize("norm", ORDERS)
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
        ({"step_rule": "dense"}, "step_rule='dense' is unknown for l2; allowed: normalized"),
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
@pytest.mark.parametrize("norm", ORDERS)
def test_attacks_work(attack: str, norm: str) -> None:
    model = small_net()
    labels = own_labels(model)
    found = ATTACKS[attack](model, IMAGES, labels, norm=norm, epsilon=2 * RADIUS[norm], steps=100)
    assert accuracy(model, found, labels) < 0.8
    noise = Region(norm, 2 * RADIUS[norm]).random_point(IMAGES)
    assert accuracy(model, found, labels) < accuracy(model, noise, labels)


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("norm", ORDERS)
def test_early_stopping_leaves_the_same_accuracy(attack: str, norm: str) -> None:
    """Broken is broken; only for PGD may a later step undo an earlier one."""
    model = small_net()
    labels = own_labels(model)

    def left(stop_samples: int | None) -> float:
        found = ATTACKS[attack](
            model,
            IMAGES,
            labels,
            norm=norm,
            epsilon=RADIUS[norm],
            steps=60,
            stop_samples=stop_samples,
            generator=torch.Generator().manual_seed(0),
        )
        return accuracy(model, found, labels)

    undone = 0.05 if attack in ("pgd", "dense") else 0.0
    assert left(1) <= left(None) <= left(1) + undone


@pytest.mark.parametrize("attack", ["pgd", "apgd", "dlr"])
@pytest.mark.parametrize("stop", [None, 1])
def test_images_are_attacked_independently(attack: str, stop: int | None) -> None:
    model = small_net().double()
    labels = own_labels(small_net())

    def found(batch_size: int) -> Tensor:
        options = {"norm": "l2", "epsilon": 0.1, "steps": 12, "stop_samples": stop}
        generator = torch.Generator().manual_seed(0)
        batches = zip(IMAGES.double().split(batch_size), labels.split(batch_size), strict=True)
        return torch.cat(
            [ATTACKS[attack](model, x, y, generator=generator, **options) for x, y in batches]
        )

    torch.testing.assert_close(found(7), found(40), rtol=0, atol=1e-9)


def test_images_that_stopped_are_not_computed() -> None:
    class Counting(LinearModel):
        images = 0

        def forward(self, pixels: Tensor) -> Tensor:
            self.images += len(pixels)
            return super().forward(pixels)

    model = Counting(SHAPE)
    images = 0.5 + 0.1 * model.slope * torch.tensor([1.0, -1.0]).view(2, 1, 1, 1)
    labels = torch.tensor([1, 1])  # the second is wrong from the start
    pgd(
        model,
        images,
        labels,
        norm="l2",
        epsilon=0.01,
        steps=10,
        gradient_samples=1,
        stop_samples=1,
    )
    assert model.images == 2 + 9


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


@pytest.mark.parametrize("norm", ORDERS)
def test_momentum_accumulates_normalised_gradients(norm: str) -> None:
    model, images, labels = small_net().double(), IMAGES[:5].double(), own_labels(small_net())[:5]
    region, rule = Region(norm, 0.2), next(iter(STEPS[norm].values()))
    expected, velocity = images, torch.zeros_like(images)
    for _ in range(4):
        gradient = averaged_gradient(model, expected, labels, 1)
        velocity = 0.5 * velocity + gradient / gradient.abs().mean(dim=(1, 2, 3), keepdim=True)
        expected = region.moved(images, expected - images + 0.05 * rule(velocity, expected))
    found = pgd(
        model,
        images,
        labels,
        norm=norm,
        epsilon=0.2,
        steps=4,
        step_size=0.05,
        gradient_samples=1,
        momentum=0.5,
    )
    torch.testing.assert_close(found, expected)


def test_gradients_that_are_no_numbers_move_nothing() -> None:
    class Broken(LinearModel):
        def forward(self, pixels: Tensor) -> Tensor:
            return super().forward(pixels) + 0 * (pixels - pixels.detach()).sqrt().sum()

    images = torch.full((2, *SHAPE), 0.5)
    for norm in ORDERS:
        found = pgd(Broken(SHAPE), images, torch.tensor([0, 1]), norm=norm, epsilon=0.1, steps=2)
        assert found.isfinite().all()


# --- stochastic models -------------------------------------------------------------------------


def noisy_attack(
    model: nn.Module, images: Tensor, stop_samples: int | None, steps: int = 20
) -> Tensor:
    return pgd(
        model,
        images,
        torch.ones(len(images), dtype=torch.int64),
        norm="linf",
        epsilon=0.1,
        steps=steps,
        gradient_samples=4,
        stop_samples=stop_samples,
    )


def test_one_lucky_draw_breaks_nothing() -> None:
    """Four in ten of the model's single decisions are wrong, but no image may leave for that."""
    found = noisy_attack(CoinModel(noise=0.8), torch.full((30, 1, 4, 4), 0.55), 20)
    # The boundary is at 0.5, steps are 0.0125 long: those that left did so there or beyond.
    assert (found.mean(dim=(1, 2, 3)) < 0.52).all()
    found = noisy_attack(CoinModel(noise=0.05), torch.full((30, 1, 4, 4), 0.55), 20)
    assert (found.mean(dim=(1, 2, 3)) > 0.451).any()  # and some did leave


def test_images_that_stop_stay_broken_under_fresh_draws() -> None:
    """Stopping at the boundary would read high, because later draws decide right again."""
    model = CoinModel(noise=0.1)
    images = torch.linspace(0.51, 0.58, 200).view(-1, 1, 1, 1).expand(-1, 1, 4, 4)
    labels = torch.ones(200, dtype=torch.int64)

    def left(stop_samples: int | None) -> tuple[float, float]:
        found = noisy_attack(model, images, stop_samples, steps=64)
        logits = sample_logits(model, found, 400)
        tens = logits.softmax(dim=2).view(40, 10, 200, 2).mean(dim=1)
        decisions = (logits.argmax(dim=2) == labels, tens.argmax(dim=2) == labels)
        return float(decisions[0].float().mean()), float(decisions[1].float().mean())

    (single, averaged), (single_of_all, averaged_of_all) = left(20), left(None)
    assert averaged - averaged_of_all < 0.005  # over ten draws each
    assert single - single_of_all < 1 / 20  # as `Options` says


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
