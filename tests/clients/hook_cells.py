"""Hooks on simple and complex cells."""

import torch

from vonenet import create_model, get_model, no_noise

SMALL = {"image_size": 64, "simple_channels": 8, "complex_channels": 8, "visual_degrees": 2.0}


def seen_by_hooks(block, run):
    seen = {}
    for name in ("simple_conv_q0", "simple", "complex", "gabors"):
        block.get_submodule(name).register_forward_hook(
            lambda _, __, output, name=name: seen.update({name: output.detach().clone()})
        )
    with torch.no_grad():
        run()
    return seen


def old(images):
    model = get_model("resnet18", pretrained=False, noise_mode=None, **SMALL)
    return seen_by_hooks(model.vone_block, lambda: model(images))


def new(images):
    geometry = {"kernel_size": 25, "stride": 4, "sf_max": 9}
    model = create_model("voneresnet18", filters="legacy", **geometry, **SMALL)
    with no_noise(model):
        seen = seen_by_hooks(model.vone_block, lambda: model.vone_block(images))
    mean = model.mean_response(images)  # without any hook
    assert torch.equal(seen["gabors"], mean)
    return seen
