"""A model that is ready computes the same, and is as it was afterwards."""

import torch
from torch import nn

from vonenet.robustness import averaged_gradient, ready


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 5)
    )


def test_a_ready_model_computes_the_same_without_asking_for_weight_gradients():
    model, pixels = network().eval(), torch.rand(4, 3, 8, 8)
    labels = torch.tensor([0, 1, 2, 3])
    logits, gradient = model(pixels), averaged_gradient(model, pixels, labels, 1)
    with ready(model):
        assert not any(parameter.requires_grad for parameter in model.parameters())
        assert model[0].weight.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(model(pixels), logits)
        torch.testing.assert_close(averaged_gradient(model, pixels, labels, 1), gradient)


def test_afterwards_the_model_is_as_it_was():
    model = network()
    model[1].eval()
    model[4].bias.requires_grad_(False)
    weight = model[0].weight
    try:
        with ready(model):
            assert not model.training
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    assert model.training
    assert not model[1].training
    assert [name for name, each in model.named_parameters() if not each.requires_grad] == ["4.bias"]
    assert model[0].weight is weight
    assert weight.is_contiguous()
    assert not weight.is_contiguous(memory_format=torch.channels_last)
