"""Square: it needs no gradient, keeps what is better, and its squares shrink."""

import pytest
import torch
from torch import Tensor, nn

from tests.robustness.test_attacks import IMAGES, RADIUS, own_labels
from tests.robustness.toys import CoinModel, LinearModel, small_net
from vonenet.robustness import square
from vonenet.robustness.norms import ORDERS
from vonenet.robustness.sampling import decision_margin
from vonenet.robustness.square import side_of_square


class Masked(nn.Sequential):
    """A model without gradient."""

    def forward(self, pixels):
        return super().forward(pixels).detach()


@pytest.mark.parametrize("norm", ORDERS)
def test_needs_no_gradient_and_more_queries_break_more(norm):
    model = Masked(small_net())
    labels = own_labels(model)

    def margins(queries):
        shared = {"norm": norm, "epsilon": 2 * RADIUS[norm], "decision_samples": 1}
        generator = torch.Generator().manual_seed(0)
        found = square(model, IMAGES, labels, **shared, queries=queries, generator=generator)
        return decision_margin(model, found, labels, 1)

    few, many = margins(5), margins(300)
    assert many.mean() < few.mean() - 0.1
    assert (many < 0).float().mean() > 0.2


def test_the_best_proposal_is_returned():
    """Losses of a recording model: what comes back is the image of the highest one."""
    seen: list[Tensor] = []

    class Recording(LinearModel):
        def forward(self, pixels):
            seen.append(pixels)
            return super().forward(pixels)

    model, labels = Recording((2, 8, 9)), torch.tensor([0, 1, 1])
    images = torch.rand(3, 2, 8, 9)
    found = square(model, images, labels, norm="l2", epsilon=0.3, queries=30, decision_samples=1)
    proposals = torch.stack(seen)
    margins = torch.stack([decision_margin(model, each, labels, 1) for each in proposals])
    best = margins.argmin(dim=0)
    assert torch.equal(found, proposals[best, torch.arange(3)])


def test_squares_shrink_as_in_the_paper():
    images = torch.zeros(4, 1, 40, 50)
    areas = {0: 0.8 * 2000, 11: 0.4 * 2000, 600: 0.05 * 2000, 9999: 0.8 / 512 * 2000}
    for query, area in areas.items():
        assert side_of_square(images, query / 10_000) == min(40, round(area**0.5))


def test_fixed_draws_find_the_weakness_of_a_noisy_model():
    """The coin model follows brightness alone, which squares of one sign move most."""
    images = torch.full((20, 1, 8, 8), 0.52)
    labels = torch.ones(20, dtype=torch.int64)
    model = CoinModel(noise=0.5)
    generator = torch.Generator().manual_seed(0)
    shared = {"norm": "linf", "epsilon": 0.05, "queries": 200, "decision_samples": 8}
    found = square(model, images, labels, **shared, draws_seed=0, generator=generator)
    assert (found.mean(dim=(1, 2, 3)) < 0.485).all()  # 0.47 is the darkest
