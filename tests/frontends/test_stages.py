"""Front-ends as sequences of stages: what is refused, and where the first noise is."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

import vonenet
from vonenet.errors import InputError
from vonenet.frontends.front_end import (
    FrontEnd,
    build_front_end,
    stage_from_dict,
    stage_to_dict,
)
from vonenet.frontends.stage import first_noisy, mean_response, respond
from vonenet.frontends.subcortical import SubcorticalConfig
from vonenet.v1.block import VOneBlock
from vonenet.v1.config import VOneBlockConfig
from vonenet.v1.noise import no_noise

SMALL = VOneBlockConfig(simple_channels=4, complex_channels=4, image_size=32)


@dataclass(frozen=True)
class GreyConfig:
    """A stage without noise that gives one channel."""

    name: ClassVar[str] = "grey"

    def build(self, in_channels: int, pixels_per_degree: float) -> nn.Module:
        return Grey(in_channels)


class Grey(nn.Module):
    out_channels = 1
    reads = "normalized"

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.in_channels = in_channels

    def forward(self, images: Tensor) -> Tensor:
        return self.respond(self.mean_response(images))

    def mean_response(self, images: Tensor) -> Tensor:
        return images.mean(1, keepdim=True)

    def respond(self, mean_response: Tensor) -> Tensor:
        return mean_response


def test_v1_reads_what_the_stage_before_it_gives():
    front_end = build_front_end(SMALL, [SubcorticalConfig(), GreyConfig()])
    assert [type(stage).__name__ for stage in front_end.stages] == [
        "Subcortical",
        "Grey",
        "VOneBlock",
    ]
    assert [stage.in_channels for stage in front_end.stages] == [3, 4, 1]
    assert front_end(torch.rand(2, 3, 32, 32)).shape == (2, 8, 16, 16)


def test_two_stages_of_one_name_are_refused():
    with pytest.raises(InputError, match="two stages before V1 are called grey; allowed: one"):
        build_front_end(SMALL, [GreyConfig(), GreyConfig()])


def test_stages_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="vone_block reads 3 channels, and grey gives 1"):
        FrontEnd({"grey": Grey(3), "vone_block": VOneBlock(SMALL)})


def test_a_front_end_of_given_filters_has_them():
    filters = VOneBlock(SMALL, seed=3).gabor_parameters
    built = build_front_end(SMALL, gabor_parameters=filters)
    assert built.vone_block.gabor_parameters.to_dict() == filters.to_dict()


def test_a_stage_goes_to_a_file_and_back():
    config = SubcorticalConfig(p_cells=("r/g",), noise=None)
    data = stage_to_dict(config)
    assert data["name"] == "subcortical"
    assert stage_from_dict({**data, "p_cells": ["r/g"]}) == config  # JSON's lists


@pytest.mark.parametrize("data", [{"name": "lgn"}, {}])
def test_an_unknown_stage_of_a_file_is_one_line(data):
    with pytest.raises(InputError, match=r"^stage .* is not known; known are subcortical[^\n]*$"):
        stage_from_dict(data)


@pytest.mark.parametrize(
    ("before_v1", "noise", "first"),
    [
        ((), "neuronal", 0),
        ((), None, 0),
        ((SubcorticalConfig(),), "neuronal", 0),
        ((SubcorticalConfig(noise=None),), "neuronal", 1),
        ((SubcorticalConfig(noise=None),), None, 1),
        ((SubcorticalConfig(), GreyConfig()), "neuronal", 0),
        ((GreyConfig(),), "neuronal", 1),
    ],
)
def test_draws_share_all_that_is_before_the_first_noise(before_v1, noise, first):
    v1 = VOneBlockConfig(simple_channels=4, complex_channels=4, image_size=32, noise=noise)
    stages, images = build_front_end(v1, before_v1).stages, torch.rand(2, 3, 32, 32)
    assert first_noisy(stages) == first
    torch.manual_seed(1)
    whole = images
    for stage in stages:
        whole = stage(whole)
    torch.manual_seed(1)
    assert torch.equal(respond(stages, mean_response(stages, images)), whole)


def test_several_noisy_stages_draw_their_own_numbers():
    front_end = build_front_end(SMALL, [SubcorticalConfig()])
    subcortical, v1 = front_end.stages
    mean = torch.full((1, 4, 32, 32), 1000.0)  # far from where responses are rectified
    with vonenet.fixed_noise(front_end, 3):
        one = subcortical.noise(mean) - mean
        other = v1.noise(mean) - mean
    assert not torch.allclose(one / one.std(), other / other.std(), atol=0.1)


def test_averages_over_draws_come_near_the_mean():
    front_end = build_front_end(SMALL, [SubcorticalConfig()])
    subcortical, images = front_end.stages[0], torch.rand(1, 3, 32, 32)
    mean = front_end.mean_response(images)
    with no_noise(front_end):
        assert torch.equal(mean, subcortical(images))
    draws = torch.stack([subcortical.respond(mean) for _ in range(400)]).mean(0)
    assert (draws - mean).abs().mean() < 0.1 * mean.abs().mean()


@pytest.mark.parametrize("pretrained", ["checkpoint", None])
def test_weights_of_another_front_end_are_refused(tmp_path, pretrained):
    small = {"simple_channels": 4, "complex_channels": 4, "image_size": 32}
    model = vonenet.create_model("voneresnet_small", front_end="evnet2025", **small)
    vonenet.save_checkpoint(model, tmp_path / "w.safetensors")
    if pretrained is None:
        loaded = vonenet.create_model("voneresnet_small", checkpoint=tmp_path / "w.safetensors")
        assert loaded.config.front_end == "evnet2025"
        return
    with pytest.raises(InputError, match="these weights have the front-end evnet2025, not vonenet"):
        vonenet.create_model(
            "voneresnet_small", checkpoint=tmp_path / "w.safetensors", front_end="vonenet"
        )
