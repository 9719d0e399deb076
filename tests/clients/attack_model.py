"""Projected gradient descent, its gradient averaged over draws of the noise."""

import torch
from torch.nn.functional import cross_entropy

from vonenet import create_model, get_model

SMALL = {"image_size": 64, "simple_channels": 8, "complex_channels": 8, "visual_degrees": 2.0}
EPSILON, STEPS, DRAWS = 4 / 255, 2, 2


def attacked(gradient, images):
    start = images.clone()
    for _ in range(STEPS):
        images = images + EPSILON / 2 * gradient(images).sign()
        images = (start + (images - start).clamp(-EPSILON, EPSILON)).clamp(-1, 1)
    return {"images": images, "moved": (images - start).abs().mean()}


def old(images):
    torch.manual_seed(0)
    model = get_model("alexnet", pretrained=False, **SMALL).eval()
    labels = model(images).argmax(1)
    model.vone_block.fix_noise(batch_size=2, seed=5)

    def gradient(images):
        images = images.clone().requires_grad_()
        loss = sum(cross_entropy(model(images), labels) for _ in range(DRAWS)) / DRAWS
        return torch.autograd.grad(loss, images)[0]

    return attacked(gradient, images)


def new(images):
    from vonenet import fixed_noise

    torch.manual_seed(0)
    geometry = {"kernel_size": 25, "stride": 4, "sf_max": 9}
    model = create_model("vonealexnet", filters="legacy", **geometry, **SMALL).eval()
    labels = model(images).argmax(1)

    def gradient(images):
        images = images.clone().requires_grad_()
        mean = model.mean_response(images).repeat(DRAWS, 1, 1, 1)  # one pass of the filters
        loss = cross_entropy(model.forward_from_mean_response(mean), labels.repeat(DRAWS))
        return torch.autograd.grad(loss, images)[0]

    with fixed_noise(model, seed=5):
        return attacked(gradient, images)
