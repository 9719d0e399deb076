"""Small models and data whose right answers are known."""

import torch
from torch import Tensor, nn

from vonenet.data import ImageArrays


class LinearModel(nn.Module):
    """Two logits whose difference is a fixed linear function of the pixels."""

    def __init__(self, shape):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.register_buffer("slope", torch.randn(shape, generator=generator))
        self.slope: Tensor

    def forward(self, pixels):
        score = (self.slope * (pixels - 0.5)).sum(dim=(1, 2, 3))
        return torch.stack([torch.zeros_like(score), score], dim=1)


def small_net():
    """A net of 4 classes for images of 3 x 4 x 5, with fixed weights and bent boundaries."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        first, second, third = nn.Linear(60, 40), nn.Linear(40, 40), nn.Linear(40, 4)
    net = nn.Sequential(nn.Flatten(), first, nn.GELU(), second, nn.GELU(), third)
    for parameter in net.parameters():
        parameter.data *= 4
    return net.requires_grad_(False)


class RecordedNoise:
    """Standard normal numbers in a fixed order, whatever the shapes they are asked for in."""

    def __init__(self):
        self.numbers = torch.randn(100_000, generator=torch.Generator().manual_seed(0)).double()
        self.position = 0

    def __call__(self, like):
        drawn = self.numbers[self.position : self.position + like.numel()]
        self.position += like.numel()
        return drawn.view_as(like)


class NoisyModel(nn.Module):
    """A stochastic model as a VOneNet is one: filters, noise that grows with them, a readout."""

    def __init__(self):
        super().__init__()
        self.filters = nn.Conv2d(1, 3, 3, bias=False)
        self.readout = nn.Linear(3, 4)
        self.noise = RecordedNoise()
        self.passes = 0

    def respond(self, images):
        self.passes += 1
        return self.filters(images).relu()

    def decide(self, mean):
        noisy = mean + self.noise(mean) * (mean + 0.1).sqrt()
        return self.readout(noisy.relu().mean(dim=(2, 3)))

    def forward(self, images):
        return self.decide(self.respond(images))


class NoisyMeanModel(NoisyModel):
    """The same, offering its mean response."""

    def mean_response(self, images):
        return self.respond(images)

    def forward_from_mean_response(self, mean_response):
        return self.decide(mean_response)


class CoinModel(nn.Module):
    """Says "bright" or "dark" of an image, but noise of torch's global generator talks into it."""

    def __init__(self, noise):
        super().__init__()
        self.noise = noise
        self._calls = 0  # a public counter would be a setting, and change the model's hash

    @property
    def calls(self):
        return self._calls

    def forward(self, pixels):
        self._calls += 1
        score = 4 * (pixels.mean(dim=(1, 2, 3)) - 0.5)
        score = score + self.noise * torch.randn(len(pixels))
        return torch.stack([-score, score], dim=1)


def dark_and_bright(count, size=32):
    """Uniformly noisy images with mean 0.25 (class 0) and 0.75 (class 1) in turn."""
    labels = torch.arange(count) % 2
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(count, 1, size, size, generator=generator) / 2
    images = noise + labels[:, None, None, None] / 2
    return ImageArrays(images, labels, ("dark", "bright"), f"toy {size}px")
