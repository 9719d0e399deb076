"""V1 and bottleneck before a network of one's own, and a new classifier."""

import torch
from torch import nn

from vonenet import create_model, get_model

SMALL = {"image_size": 64, "simple_channels": 8, "complex_channels": 8, "visual_degrees": 2.0}


def old(images):
    torch.manual_seed(0)
    model = get_model("alexnet", pretrained=False, noise_mode=None, **SMALL).eval()
    front = nn.Sequential(model.vone_block, model.bottleneck)
    own = nn.Sequential(front, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(256, 3))
    model.model.classifier = nn.Sequential(*list(model.model.classifier.children())[:-1])
    stripped = nn.Sequential(*model.children())
    return {"own": own(images), "features": stripped(images), "parts": len(list(model.children()))}


def new(images):
    torch.manual_seed(0)
    geometry = {"kernel_size": 25, "stride": 4, "sf_max": 9}
    model = create_model("vonealexnet", filters="legacy", noise=None, **geometry, **SMALL).eval()
    own = nn.Sequential(model[:2], nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(256, 3))
    model.set_submodule(model.head_name, nn.Identity())
    return {"own": own(images), "features": model(images), "parts": 3}
