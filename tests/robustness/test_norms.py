"""Balls and boxes: steps of the right length, nearest points, starts inside."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from vonenet.robustness.norms import (
    ORDERS,
    STEPS,
    Region,
    length,
    project_l1,
    steepest_few,
)

SHAPE = (3, 4, 5)
GREY = torch.full((4, *SHAPE), 0.5)


def lengths(change, norm):
    return torch.linalg.vector_norm(change.flatten(1).double(), ord=ORDERS[norm], dim=1)


@pytest.mark.parametrize("norm", ORDERS)
def test_projection_keeps_what_is_inside_and_touches_the_ball_from_outside(norm):
    change = torch.randn(4, *SHAPE) / 10
    size = lengths(change, norm)
    assert size.tolist() == pytest.approx(length(change, norm).flatten())
    assert torch.equal(Region(norm, float(size.max()) * 1.01).project(change, GREY), change)
    radius = float(size.min()) / 2
    touching = lengths(Region(norm, radius).project(change, GREY), norm)
    torch.testing.assert_close(touching, torch.full((4,), radius).double())


@pytest.mark.parametrize("epsilon", [0.0, 0.7, 1.5, 1000.0])
def test_l1_projection_is_the_nearest_point_of_ball_and_box(epsilon):
    """Against a general solver, with each value split into its rise and its fall."""
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, 1, 2, 3, dtype=torch.float64, generator=generator)
    change = 2 * torch.rand(1, 1, 2, 3, dtype=torch.float64, generator=generator) - 1
    point, pixel = change.flatten().numpy(), image.flatten().numpy()
    solution = minimize(
        lambda z: ((z[:6] - z[6:] - point) ** 2).sum(),
        np.zeros(12),
        bounds=[(0, r) for r in 1 - pixel] + [(0, r) for r in pixel],
        constraints={"type": "ineq", "fun": lambda z: epsilon - z.sum()},
        options={"ftol": 1e-14, "maxiter": 500},
    )
    nearest = solution.x[:6] - solution.x[6:]
    ours = project_l1(change, image, epsilon).flatten().numpy()
    np.testing.assert_allclose(ours, nearest, atol=1e-5)


def test_l1_step_passes_over_values_that_the_box_holds():
    gradient = torch.tensor([5.0, -4.0, 3.0]).reshape(1, 3, 1, 1)
    adversarial = torch.tensor([1.0, 0.0, 0.5]).reshape(1, 3, 1, 1)
    assert STEPS["l1"]["sparse"](gradient, adversarial).flatten().tolist() == [0, 0, 1]
    assert STEPS["l1"]["sparse"](-gradient, adversarial).flatten().tolist() == [-1, 0, 0]


def test_each_image_steps_along_its_own_number_of_values():
    gradient = torch.tensor([[4.0, -3.0, 2.0, 1.0]] * 3).reshape(3, 1, 2, 2)
    direction = steepest_few(gradient, torch.full_like(gradient, 0.5), torch.tensor([1, 2, 4]))
    expected = [[1, 0, 0, 0], [0.5, -0.5, 0, 0], [0.25, -0.25, 0.25, 0.25]]
    assert direction.flatten(1).tolist() == expected


@pytest.mark.parametrize(("norm", "rule"), [("l2", "normalized"), ("l1", "dense")])
def test_dense_steps_have_length_one_along_any_gradient(norm, rule):
    direction = torch.randn(4, *SHAPE)
    scales = torch.tensor([1.0, 1e-30, 1e30, 0.0]).reshape(4, 1, 1, 1)
    steps = STEPS[norm][rule](direction * scales, direction)
    assert lengths(steps, norm).tolist() == pytest.approx([1, 1, 1, 0], rel=1e-5)
    along = direction / lengths(direction, norm).view(4, 1, 1, 1).float()
    torch.testing.assert_close(steps[:3], along[:3])


@pytest.mark.parametrize("norm", ORDERS)
def test_random_points_are_inside_and_belong_to_images_not_to_batches(norm):
    images = torch.rand(5, *SHAPE).round(decimals=1)
    region = Region(norm, 0.3)
    points = region.random_point(images, torch.Generator().manual_seed(1))
    assert points.min() >= 0
    assert points.max() <= 1
    distances = lengths(points - images, norm)
    assert (distances <= 0.3 + 1e-5).all()
    assert (distances > 0.1).all()
    generator = torch.Generator().manual_seed(1)
    parts = [region.random_point(part, generator) for part in images.split([2, 3])]
    assert torch.equal(torch.cat(parts), points)
