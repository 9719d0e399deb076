"""Attacked training images: our PGD's, inside the ball, and a network that is left as it was."""

import pytest
import torch
from torch import nn

import vonenet
from vonenet.data import PixelModel
from vonenet.robustness import pgd
from vonenet.robustness.losses import cross_entropy
from vonenet.training.augment import attacked
from vonenet.training.config import AdversarialRecipe

LENGTHS = {
    "linf": lambda change: change.abs().amax(dim=(1, 2, 3)),
    "l2": lambda change: change.square().sum(dim=(1, 2, 3)).sqrt(),
    "l1": lambda change: change.abs().sum(dim=(1, 2, 3)),
}


@pytest.fixture(scope="module")
def network() -> PixelModel:
    torch.manual_seed(0)
    model = vonenet.create_model(
        "voneresnet_small", image_size=32, num_classes=4, simple_channels=16, complex_channels=16
    )
    pixel_model = PixelModel(model, 0.5, 0.5).train()
    for _ in range(20):  # running statistics that a network in eval mode can work with
        pixel_model(torch.rand(16, 3, 32, 32))
    return pixel_model


@pytest.fixture
def images() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.rand(6, 3, 32, 32), torch.randint(4, (6,))


@pytest.mark.parametrize(("norm", "epsilon"), [("linf", 8 / 255), ("l2", 0.6), ("l1", 10.0)])
def test_it_is_our_pgd_from_a_random_point_of_the_ball(network, images, norm, epsilon):
    recipe = AdversarialRecipe(epsilon=epsilon, norm=norm, gradient_samples=2)
    torch.manual_seed(1)
    found = attacked(network, *images, recipe)
    network.eval()
    torch.manual_seed(1)
    expected = pgd(
        network, *images, norm=norm, epsilon=epsilon, steps=3, gradient_samples=2, random_start=True
    )
    network.train()
    assert torch.equal(found, expected)
    assert LENGTHS[norm](found - images[0]).max() <= epsilon * 1.001
    assert LENGTHS[norm](found - images[0]).min() > 0
    assert 0 <= found.min() <= found.max() <= 1


def test_every_setting_counts(network, images):
    recipe = AdversarialRecipe(
        epsilon=0.1, steps=2, step_size=0.01, gradient_samples=3, random_start=False
    )
    torch.manual_seed(1)
    found = attacked(network, *images, recipe)
    network.eval()
    torch.manual_seed(1)
    expected = pgd(
        network, *images, norm="linf", epsilon=0.1, steps=2, step_size=0.01, gradient_samples=3
    )
    network.train()
    assert torch.equal(found, expected)
    assert (found - images[0]).abs().max() == pytest.approx(0.02, rel=1e-4)


def test_the_loss_rises(network, images):
    pixels, labels = images
    found = attacked(network, pixels, labels, AdversarialRecipe(epsilon=8 / 255, steps=5))
    network.eval()
    with torch.no_grad(), vonenet.fixed_noise(network.model, 0):
        before, after = (cross_entropy(network(x), labels) for x in (pixels, found))
    network.train()
    assert (after > before).all()


def test_epsilon_0_is_the_image_itself(network, images):
    assert attacked(network, *images, AdversarialRecipe()) is images[0]


def test_of_soft_labels_the_largest_is_attacked(network, images):
    pixels, labels = images
    soft = torch.full((6, 4), 0.1).scatter(1, labels[:, None], 0.7)
    recipe = AdversarialRecipe(epsilon=4 / 255)
    torch.manual_seed(2)
    hard = attacked(network, pixels, labels, recipe)
    torch.manual_seed(2)
    assert torch.equal(attacked(network, pixels, soft, recipe), hard)


def test_all_draws_of_a_trained_network_share_one_pass_of_v1(network, images, monkeypatch):
    recipe = AdversarialRecipe(epsilon=8 / 255, steps=2, gradient_samples=3)
    torch.manual_seed(4)
    expected = attacked(network, *images, recipe)
    passes = []
    block = network.model.vone_block
    original = block.mean_response
    monkeypatch.setattr(block, "mean_response", lambda x: passes.append(1) or original(x))
    torch.manual_seed(4)
    assert torch.equal(attacked(network, *images, recipe), expected)
    assert len(passes) == recipe.steps


class Traced(nn.Module):
    """Says in which mode it was called."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.readout = nn.Linear(3, 4)
        self.called_in_training: list[bool] = []

    def forward(self, pixels):
        self.called_in_training.append(self.norm.training)
        return self.readout(self.norm(pixels).mean(dim=(2, 3)))


def test_the_network_is_left_as_it_was(images):
    model = Traced().train()
    model.norm.eval()
    model.readout.weight.requires_grad_(False)
    model.readout.bias.grad = torch.ones(4)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = attacked(model, *images, AdversarialRecipe(epsilon=8 / 255))
    assert model.called_in_training == [False] * 3
    assert (model.training, model.norm.training, model.readout.training) == (True, False, True)
    assert torch.equal(model.readout.bias.grad, torch.ones(4))
    assert model.norm.weight.grad is None
    wanted = [parameter.requires_grad for parameter in model.parameters()]
    assert wanted == [True, True, False, True]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not found.requires_grad


def test_a_failing_network_comes_back_in_training_mode(images):
    model = nn.Sequential(nn.Linear(5, 5))
    with pytest.raises(RuntimeError):
        attacked(model, *images, AdversarialRecipe(epsilon=8 / 255))
    assert model.training


def test_it_works_in_mixed_precision(network, images):
    recipe = AdversarialRecipe(epsilon=8 / 255)
    torch.manual_seed(3)
    full = attacked(network, *images, recipe)
    torch.manual_seed(3)
    with torch.autocast("cpu", torch.bfloat16):
        found = attacked(network, *images, recipe)
    assert found.dtype == torch.float32
    assert (found - images[0]).abs().max() <= 8 / 255 + 1e-6
    assert ((found - full).abs() < 1 / 255).float().mean() > 0.6  # most steps went the same way
