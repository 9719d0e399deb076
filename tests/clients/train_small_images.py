"""Training on small images, in colour like CIFAR-10 and grey like MNIST."""

import torch
from torch import nn

from vonenet import VOneBlock, create_model, get_model
from vonenet.vonenet import VOneNet


def train(model, images):
    labels = torch.arange(len(images)) % 10
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    losses = []
    for _ in range(2):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def old(images):
    torch.manual_seed(0)
    model = get_model(
        "resnet18",
        pretrained=False,
        image_size=32,
        visual_degrees=2,
        stride=2,
        ksize=15,
        sf_max=5,
        simple_channels=8,
        complex_channels=8,
    )
    model.model.fc = nn.Linear(512, 10)
    cifar = train(model.train(), images[:, :, :32, :32])
    front = VOneNet(
        model_arch=None,
        in_channel=1,
        image_size=28,
        visual_degrees=2,
        stride=2,
        ksize=13,
        sf_max=4,
        simple_channels=8,
        complex_channels=8,
    )
    mnist = nn.Sequential(front, nn.Flatten(), nn.Linear(16 * 14 * 14, 10))
    return {"cifar": cifar, "mnist": train(mnist, images[:, :1, :28, :28])}


def new(images):
    torch.manual_seed(0)
    model = create_model(
        "voneresnet18",
        filters="legacy",
        image_size=32,
        kernel_size=15,
        sf_max=5,
        stride=2,
        simple_channels=8,
        complex_channels=8,
    )
    model.set_submodule(model.head_name, nn.Linear(512, 10))
    cifar = train(model.train(), images[:, :, :32, :32])
    front = VOneBlock(
        filters="legacy",
        in_chans=1,
        image_size=28,
        kernel_size=13,
        sf_max=4,
        stride=2,
        simple_channels=8,
        complex_channels=8,
    )
    mnist = nn.Sequential(front, nn.Flatten(), nn.Linear(16 * 14 * 14, 10))
    return {"cifar": cifar, "mnist": train(mnist, images[:, :1, :28, :28])}
