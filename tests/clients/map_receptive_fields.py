"""Receptive fields of cells in the middle of the image, as gradients."""

import torch

from vonenet import VOneBlock, get_model

SMALL = {"image_size": 64, "simple_channels": 8, "complex_channels": 8, "visual_degrees": 2.0}


def old(images):
    block = get_model(None, pretrained=False, noise_mode=None, k_exc=1, **SMALL)
    fields = []
    for cell in range(0, 16, 5):
        image = images[:1].clone().requires_grad_()
        block(image)[0, cell, 8, 8].backward()
        fields.append(image.grad[0])
    return {"fields": torch.stack(fields)}


def new(images):
    geometry = {"kernel_size": 25, "stride": 4, "sf_max": 9}
    block = VOneBlock(filters="legacy", k_exc=1, **geometry, **SMALL)
    fields = torch.func.jacrev(lambda image: block.mean_response(image[None])[0, ::5, 8, 8])
    return {"fields": fields(images[0])}
