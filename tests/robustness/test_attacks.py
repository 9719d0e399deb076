"""PGD: inside ball and box, optimal where the optimum is known, exact projections."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from torch import Tensor, nn

from tests.robustness.toys import LinearModel
from vonenet.errors import InputError
from vonenet.robustness import pgd
from vonenet.robustness.attacks import BALLS, default_step_size, project_l1, step_l1, step_l2

NORM_ORDER = {"linf": float("inf"), "l2": 2.0, "l1": 1.0}
SHAPE = (3, 4, 5)


def lengths(change: Tensor, norm: str) -> Tensor:
    return torch.linalg.vector_norm(change.flatten(1).double(), ord=NORM_ORDER[norm], dim=1)


@settings(max_examples=200, deadline=None)
@given(
    norm=st.sampled_from(sorted(BALLS)),
    epsilon=st.floats(0, 100),
    steps=st.integers(1, 5),
    step_share=st.floats(0.01, 3),
    random_start=st.booleans(),
    extreme=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_always_inside_ball_and_box(
    norm: str,
    epsilon: float,
    steps: int,
    step_share: float,
    random_start: bool,
    extreme: bool,
    seed: int,
) -> None:
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(3, *SHAPE, generator=generator)
    images = images.round() if extreme else images
    adversarial = pgd(
        nn.Sequential(nn.Flatten(), nn.Linear(60, 3)),
        images,
        torch.tensor([0, 1, 2]),
        norm=norm,
        epsilon=epsilon,
        steps=steps,
        step_size=step_share * epsilon,
        gradient_samples=1,
        random_start=random_start,
        generator=generator,
    )
    assert adversarial.min() >= 0
    assert adversarial.max() <= 1
    assert (lengths(adversarial - images, norm) <= epsilon * (1 + 1e-5) + 1e-5).all()


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


@pytest.mark.parametrize("norm", BALLS)
def test_projection_keeps_what_is_inside_and_touches_the_ball_from_outside(norm: str) -> None:
    change = torch.randn(3, *SHAPE)
    project, length = BALLS[norm].project, lengths(change, norm)
    assert torch.equal(project(change, float(length.max()) * 1.01), change)
    radius = float(length.min()) / 2
    torch.testing.assert_close(
        lengths(project(change, radius), norm), torch.full((3,), radius).double()
    )


@pytest.mark.parametrize("epsilon", [0.0, 0.5, 3.0, 1000.0])
def test_l1_projection_agrees_with_a_root_finder(epsilon: float) -> None:
    change = torch.randn(4, *SHAPE, dtype=torch.float64)
    ours = project_l1(change, epsilon).flatten(1).numpy()
    for row, projected in zip(change.flatten(1).numpy(), ours, strict=True):
        size = np.abs(row)
        if size.sum() > epsilon:
            excess = lambda t, size=size: np.maximum(size - t, 0).sum() - epsilon  # noqa: E731
            threshold = brentq(excess, 0, size.max()) if epsilon > 0 else size.max()
            row = np.sign(row) * np.maximum(size - threshold, 0)
        np.testing.assert_allclose(projected, row, atol=1e-10)


def test_l1_step_passes_over_values_that_the_box_holds() -> None:
    gradient = torch.tensor([5.0, -4.0, 3.0]).reshape(1, 3, 1, 1)
    adversarial = torch.tensor([1.0, 0.0, 0.5]).reshape(1, 3, 1, 1)
    assert step_l1(gradient, adversarial, 0.2).flatten().tolist() == pytest.approx([0, 0, 0.2])
    assert step_l1(-gradient, adversarial, 0.2).flatten().tolist() == pytest.approx([-0.2, 0, 0])


def test_l2_step_has_its_length_for_any_gradient() -> None:
    direction = torch.randn(4, *SHAPE)
    scales = torch.tensor([1.0, 1e-30, 1e30, 0.0]).reshape(4, 1, 1, 1)
    steps = step_l2(direction * scales, direction, 0.25)
    assert lengths(steps, "l2").tolist() == pytest.approx([0.25, 0.25, 0.25, 0], rel=1e-5)


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
        ({"gradient_samples": 0}, "gradient_samples=0"),
        ({"images": torch.full((2, *SHAPE), 1.5)}, r"1.5; allowed: \[0, 1\]"),
    ],
)
def test_impossible_settings_are_refused(changes: dict[str, object], message: str) -> None:
    settings = {"images": torch.rand(2, *SHAPE), "norm": "l2", "epsilon": 1.0} | changes
    with pytest.raises(InputError, match=message):
        pgd(LinearModel(SHAPE), labels=torch.tensor([0, 1]), **settings)  # type: ignore[arg-type]
