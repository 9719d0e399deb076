"""V1 alone: what the original's notebook explores."""

import torch

from vonenet import VOneBlock, get_model


def old(images):
    block = get_model(
        model_arch=None,
        pretrained=False,
        noise_mode=None,
        simple_channels=8,
        complex_channels=8,
        image_size=64,
        visual_degrees=2,
        ksize=25,
        stride=2,
        gabor_seed=1,
    )
    with torch.no_grad():
        responses = block(images)
    return {"weights": block.simple_conv_q0.weight, "responses": responses, "n": block.out_channels}


def new(images):
    block = VOneBlock(
        filters="legacy",
        noise=None,
        simple_channels=8,
        complex_channels=8,
        image_size=64,
        visual_degrees=2,
        kernel_size=25,
        stride=2,
        sf_max=9,
        seed=1,
    )
    with torch.no_grad():
        responses = block(images)
    weights = block.state_dict()["simple_conv_q0.weight"]
    return {"weights": weights, "responses": responses, "n": block.config.out_channels}
