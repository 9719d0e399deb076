"""The floors count what other ways of counting give."""

import pytest
import torch

import vonenet
from vonenet.benchmarks.floors import (
    block_forward_floor,
    block_gradient_floor,
    counted_operations,
    inference_floor,
    response_bytes,
    sampled_gradient_floor,
    trained_bytes,
    training_floor,
)
from vonenet.benchmarks.published import PublishedBlock
from vonenet.benchmarks.setting import Setting

CPU = torch.device("cpu")
SETTING = Setting(batch=2, image_px=33, device=CPU)
SMALL = {"image_size": 33, "simple_channels": 8, "complex_channels": 8}


@pytest.fixture(scope="module")
def model():
    return vonenet.create_model("voneresnet18", num_classes=7, **SMALL).eval()


def test_a_matrix_product_counts_multiplications_and_additions():
    assert counted_operations(lambda: torch.ones(3, 5) @ torch.ones(5, 7)) == 2 * 3 * 5 * 7


def test_the_filters_need_a_quarter_of_the_published_operations():
    block = vonenet.VOneBlock(**SMALL)
    dense = counted_operations(lambda: PublishedBlock(block).mean_response(SETTING.images()))
    assert block_forward_floor(block.config, SETTING).operations == dense / 4
    assert block_gradient_floor(block.config, SETTING).operations == dense / 2


def test_bytes_are_those_of_images_and_responses():
    block, images = vonenet.VOneBlock(**SMALL), SETTING.images()
    responses = block(images)
    assert response_bytes(block.config, SETTING) == responses.nbytes
    assert (
        block_forward_floor(block.config, SETTING).moved_bytes == images.nbytes + responses.nbytes
    )
    mixed = Setting(2, 33, CPU, mixed=True)
    assert response_bytes(block.config, mixed) == responses.nbytes / 2


def test_a_network_is_its_filters_and_what_pytorch_counts(model):
    responses = model.vone_block(SETTING.images())
    filters = block_forward_floor(model.vone_block.config, SETTING).operations
    behind = counted_operations(lambda: model.logits_from_v1(responses))
    assert inference_floor(model, SETTING).operations == filters + behind


def test_back_propagation_costs_twice_the_forward_pass(model):
    """Once to the weights and once to the input, which the bottleneck's needs only on demand."""
    filters = block_forward_floor(model.vone_block.config, SETTING).operations
    behind = inference_floor(model, SETTING).operations - filters
    responses = model.vone_block(SETTING.images())
    bottleneck = counted_operations(lambda: model.bottleneck(responses))
    training = training_floor(model, SETTING, adversarial=False)
    assert training.operations == filters + 3 * behind - bottleneck
    adversarial = training_floor(model, SETTING, adversarial=True)
    assert adversarial.operations == 2 * filters + 3 * behind
    assert all(parameter.grad is None for parameter in model.parameters())
    weights = sum(p.numel() for p in model.parameters()) * 4
    assert trained_bytes(model) == weights
    assert training.moved_bytes == 4 * weights + SETTING.images().nbytes


def test_samples_share_the_filters(model):
    filters = block_forward_floor(model.vone_block.config, SETTING).operations
    behind = inference_floor(model, SETTING).operations - filters
    ten = sampled_gradient_floor(model, SETTING, samples=10).operations
    assert ten == 2 * filters + 10 * 2 * behind  # forward, and back past the weights
