"""The audit: silent on sound models, loud on every planted trap."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor, nn

from tests.robustness.toys import dark_and_bright
from vonenet.data import ImageArrays
from vonenet.errors import InputError
from vonenet.robustness import AuditCheck, audit, audit_flags

SIZE = 6


def three_classes(count: int = 60) -> ImageArrays:
    """Dark, grey and bright images with some texture, of three classes."""
    labels = torch.arange(count) % 3
    generator = torch.Generator().manual_seed(1)
    texture = torch.rand(count, 1, SIZE, SIZE, generator=generator) - 0.5
    images = 0.3 + 0.2 * labels[:, None, None, None] + 0.3 * texture
    return ImageArrays(images, labels, ("dark", "grey", "bright"), "toy")


class Brightness(nn.Module):
    """Decides right on clean images, by a smooth function of their mean."""

    def __init__(self, scale: float = 60.0) -> None:
        super().__init__()
        self.scale = scale

    def seen(self, pixels: Tensor) -> Tensor:
        """What reaches the decision."""
        return pixels

    def forward(self, pixels: Tensor) -> Tensor:
        mean = self.seen(pixels).mean(dim=(1, 2, 3))[:, None]
        return -self.scale * (mean - torch.tensor([[0.3, 0.5, 0.7]])).square()


class Quantised(Brightness):
    """Rounds pixels hard: the gradient is zero, the decision hardly changed."""

    def seen(self, pixels: Tensor) -> Tensor:
        return (pixels * 16).round() / 16


class Detached(Brightness):
    """Its input is cut from the graph; a bias keeps the logits differentiable."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(3))

    def seen(self, pixels: Tensor) -> Tensor:
        return pixels.detach()

    def forward(self, pixels: Tensor) -> Tensor:
        return super().forward(pixels) + self.bias


class Noisy(Brightness):
    """Noise on every pixel."""

    def __init__(self, noise: float, scale: float = 60.0) -> None:
        super().__init__(scale)
        self.noise = noise

    def seen(self, pixels: Tensor) -> Tensor:
        return pixels + self.noise * torch.randn_like(pixels)


class Deafened(Noisy):
    """Decides well enough, but a side path fills the gradient with the noise of each draw."""

    def forward(self, pixels: Tensor) -> Tensor:
        logits = super().forward(pixels)
        hiss = ((pixels - pixels.detach()) * torch.randn_like(pixels)).sum(dim=(1, 2, 3))
        return logits + 1e4 * hiss[:, None] * torch.tensor([[1.0, -1.0, 0.5]])


@contextmanager
def quiet(model: nn.Module) -> Iterator[None]:
    assert isinstance(model, Noisy)
    noise, model.noise = model.noise, 0.0
    yield
    model.noise = noise


def checks(model: nn.Module, **options: object) -> dict[str, AuditCheck]:
    settings = {"images": 60, "steps": 10, "gradient_samples": 6, "progress": False} | options
    found = audit(model, three_classes(), **settings)  # type: ignore[arg-type]
    return {check.name: check for check in found}


def failed(found: dict[str, AuditCheck]) -> set[str]:
    return {name for name, check in found.items() if not check.passed}


DETERMINISTIC = [
    "useful_gradients",
    "falls_with_radius",
    "reaches_chance",
    "more_steps_no_stronger",
    "restarts_no_stronger",
    "dlr_no_stronger",
    "square_no_stronger",
]


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_a_sound_model_passes(norm: str) -> None:
    found = checks(Brightness(), norm=norm)
    assert list(found) == DETERMINISTIC
    assert failed(found) == set()
    assert audit_flags(found.values()) == {"audit_passed": True}


def test_a_sound_noisy_model_passes() -> None:
    found = checks(Noisy(0.1), noise_off=quiet, base=Brightness())
    assert list(found) == [
        *DETERMINISTIC,
        "more_samples_no_stronger",
        "one_sample_no_stronger",
        "transfer_no_stronger",
        "gradients_agree",
        "noise_off_no_stronger",
    ]
    assert failed(found) == set()


def test_a_hard_quantiser_is_caught() -> None:
    found = checks(Quantised(), base=Brightness())
    assert found["useful_gradients"].value == 1
    expected = {"useful_gradients", "reaches_chance", "square_no_stronger", "transfer_no_stronger"}
    assert expected <= failed(found)
    assert "useful_gradients" in str(audit_flags(found.values())["audit_failed"])


def test_saturated_logits_are_caught() -> None:
    """Cross-entropy's gradient is zero in float32; the DLR loss is not fooled."""
    found = checks(Brightness(scale=1e5))
    assert {"useful_gradients", "reaches_chance", "dlr_no_stronger"} <= failed(found)


def test_a_detached_input_is_caught() -> None:
    found = checks(Detached())
    assert {"useful_gradients", "reaches_chance", "square_no_stronger"} <= failed(found)
    frozen = checks(Detached().requires_grad_(False))  # nothing at all to differentiate
    assert failed(frozen) == failed(found)


def test_gradients_drowned_in_noise_are_caught() -> None:
    found = checks(Deafened(0.02), base=Brightness())
    assert {"gradients_agree", "reaches_chance", "transfer_no_stronger"} <= failed(found)
    assert abs(found["gradients_agree"].value) < 0.1


def test_an_audit_repeats_and_leaves_no_trace() -> None:
    model = Noisy(0.1).train()
    state = torch.get_rng_state()
    first = checks(model, images=20)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    assert checks(model, images=20) == first


def test_two_classes_are_audited_without_dlr() -> None:
    class Two(Brightness):
        def forward(self, pixels: Tensor) -> Tensor:
            return super().forward(pixels)[:, ::2]

    found = audit(Two(), dark_and_bright(20, size=SIZE), steps=5, progress=False)
    assert "dlr_no_stronger" not in [check.name for check in found]


def test_an_unknown_norm_is_refused() -> None:
    with pytest.raises(InputError, match="norm='l3'"):
        checks(Brightness(), norm="l3")
