"""Square: it needs no gradient, keeps what is better, and its squares are where they should be."""

import pytest
import torch
from torch import Tensor, nn

from tests.robustness.test_attacks import IMAGES, RADIUS, own_labels
from tests.robustness.test_norms import lengths
from tests.robustness.toys import CoinModel, small_net
from vonenet.robustness import square
from vonenet.robustness.norms import BALLS, Region
from vonenet.robustness.sampling import Estimate, decision_margin
from vonenet.robustness.square_attack import Square


class Masked(nn.Module):
    """A model without gradient."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> Tensor:
        return self.model(pixels).detach()


@pytest.mark.parametrize("norm", BALLS)
def test_needs_no_gradient_and_more_queries_break_more(norm: str) -> None:
    model = Masked(small_net())
    labels = own_labels(model)

    def margins(queries: int) -> Tensor:
        found = square(
            model,
            IMAGES,
            labels,
            norm=norm,
            epsilon=2 * RADIUS[norm],
            queries=queries,
            decision_samples=1,
            generator=torch.Generator().manual_seed(0),
        )
        return decision_margin(model, found, labels, 1)

    few, many = margins(5), margins(300)
    assert many.mean() < few.mean() - 0.1
    assert (many < 0).float().mean() > 0.2


@pytest.mark.parametrize("norm", BALLS)
def test_keeps_the_better_and_changes_squares_only(norm: str) -> None:
    method = Square(Region(norm, 0.3), 1000, torch.Generator().manual_seed(0))
    images = torch.full((3, 2, 8, 9), 0.5)
    state = method.start(torch.arange(3), images, torch.zeros(3, dtype=torch.int64))
    first = state.adversarial
    assert lengths(first - images, norm).tolist() == pytest.approx([0.3] * 3, rel=1e-4)
    state.taken += 990  # by now squares are one pixel
    logits, none = torch.zeros(1, 3, 2), torch.zeros(3, 0)
    method.step(state, Estimate(none, torch.tensor([1.0, 2.0, 3.0]), logits))
    assert torch.equal(state.best, first)
    second = state.adversarial
    moved = (second - first).abs().sum(dim=1).gt(1e-7).sum(dim=(1, 2))
    assert (moved <= (1 if norm == "linf" else 2)).all()
    method.step(state, Estimate(none, torch.tensor([0.0, 2.5, 0.0]), logits))
    assert torch.equal(state.best[1], second[1])
    assert torch.equal(state.best[::2], first[::2])


def test_squares_shrink_as_in_the_paper() -> None:
    method = Square(Region("linf", 0.1), 10_000, torch.Generator().manual_seed(0))
    images = torch.zeros(4, 1, 40, 50)
    state = method.start(torch.arange(4), images, torch.zeros(4, dtype=torch.int64))
    state.taken = torch.tensor([0, 11, 600, 9999])
    squares = method._squares(state)[:, 0]
    areas = [0.8 * 2000, 0.4 * 2000, 0.05 * 2000, 0.8 / 512 * 2000]
    for mask, area in zip(squares, areas, strict=True):
        side = min(40, round(area**0.5))
        assert mask.sum() == side**2
        assert mask.any(dim=0).sum() == mask.any(dim=1).sum() == side


def test_fixed_draws_find_the_weakness_of_a_noisy_model() -> None:
    """The coin model follows brightness alone, which squares of one sign move most."""
    images = torch.full((20, 1, 8, 8), 0.52)
    labels = torch.ones(20, dtype=torch.int64)
    model = CoinModel(noise=0.5)
    found = square(
        model,
        images,
        labels,
        norm="linf",
        epsilon=0.05,
        queries=200,
        decision_samples=8,
        draws_seed=0,
        generator=torch.Generator().manual_seed(0),
    )
    assert (found.mean(dim=(1, 2, 3)) < 0.485).all()  # 0.47 is the darkest
