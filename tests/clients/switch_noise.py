"""Noise off, fixed, and of another level on a built model."""

import torch

from vonenet import VOneBlock, fixed_noise, get_model, no_noise

SMALL = {"image_size": 64, "simple_channels": 8, "complex_channels": 8, "visual_degrees": 2.0}


def old(images):
    block = get_model(None, pretrained=False, **SMALL)
    block.fix_noise(batch_size=len(images), seed=3)
    fixed = block(images)
    block.unfix_noise()
    block.noise_level = 1.0
    torch.manual_seed(0)
    other_level = block(images)
    block.noise_mode = None
    off = block(images)
    block.set_noise_mode("gaussian", noise_scale=0.5)
    torch.manual_seed(0)
    return {"fixed": fixed, "other level": other_level, "off": off, "gaussian": block(images)}


def new(images):
    config = {"filters": "legacy", "kernel_size": 25, "stride": 4, "sf_max": 9}
    block = VOneBlock(**config, **SMALL)
    with fixed_noise(block, seed=3):
        fixed = block(images)
    with no_noise(block):
        off = block(images)
    torch.manual_seed(0)
    other_level = VOneBlock(**config, noise_level=1.0, **SMALL)(images)
    torch.manual_seed(0)
    gaussian = VOneBlock(**config, noise="gaussian", noise_scale=0.5, **SMALL)(images)
    return {"fixed": fixed, "other level": other_level, "off": off, "gaussian": gaussian}
