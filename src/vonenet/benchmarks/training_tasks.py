"""What is timed of training: the loop beside bare steps, the loader beside bare decoding."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import cross_entropy

from vonenet.benchmarks.setting import NUM_CLASSES, Setting
from vonenet.benchmarks.tasks import OURS, Contestant, Prepared
from vonenet.data import ImageArrays, PixelModel, photograph
from vonenet.data.sources import CroppedImages
from vonenet.data.stores import EncodedStore, Labelled
from vonenet.training import TrainingRecipe, train
from vonenet.training.augment import TrainingImages
from vonenet.training.batches import Remaining, plan_batches, training_loader
from vonenet.training.recipe import AugmentationRecipe, OptimizationRecipe
from vonenet.zoo.registry import create_model

BARE_STEPS, BARE_DECODING = "bare steps", "bare decoding"
STEPS = 12
LEARNING_RATE, MOMENTUM = 1e-4, 0.9
# Photographs are stored as JPEGs of about ImageNet's size.
STORED_PX, JPEG_QUALITY = (500, 375), 90


def training_loop(setting: Setting, *, model: str) -> Prepared:
    """So many steps by `train`, data and augmentation included, and the bare steps alone."""
    network = PixelModel(create_model(model, image_size=setting.image_px), 0.5, 0.5)
    network = setting.place(network)
    shape = (STEPS * setting.batch, 3, setting.image_px, setting.image_px)
    stored = torch.randint(256, shape, dtype=torch.uint8)
    labels = torch.randint(NUM_CLASSES, (len(stored),))
    names = [str(number) for number in range(NUM_CLASSES)]
    dataset = ImageArrays(stored, labels, names, "made up")
    recipe = TrainingRecipe(
        optimization=OptimizationRecipe(
            epochs=1,
            batch_size=setting.batch,
            learning_rate=LEARNING_RATE,
            precision="bfloat16" if setting.mixed else "float32",
        ),
        augmentation=AugmentationRecipe(crop="shift"),
    )

    def by_train() -> None:
        train(network, dataset, recipe, progress=False, device=setting.device.type)

    def bare() -> None:
        pixels, answers = setting.images().abs(), setting.labels()
        network.train()
        optimizer = torch.optim.SGD(network.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)
        for _ in range(STEPS):
            with setting.precision():
                loss = cross_entropy(network(pixels), answers)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            loss.item()

    return Prepared({OURS: Contestant(by_train), BARE_STEPS: Contestant(bare)})


class JpegFiles(EncodedStore):
    """Image files in memory."""

    def __init__(self, files: Sequence[bytes]) -> None:
        self.files = files

    def read(self, index: int) -> bytes:
        """Returns the bytes of one image file."""
        return self.files[index]

    def describe(self, index: int) -> str:
        """What an error calls one image."""
        return f"JPEG {index}"


def loading(setting: Setting) -> Prepared:
    """Random resized crops of JPEG files in batches, and the decoding of the files alone."""
    files = [_photograph(number) for number in range(setting.batch)]
    labelled = Labelled(JpegFiles(files), torch.zeros(len(files), dtype=torch.int64), ["one"])
    dataset = CroppedImages(labelled, name="JPEGs", in_chans=3, image_size=setting.image_px)
    images = TrainingImages(dataset, AugmentationRecipe(), setting.image_px, seed=0)
    plan = plan_batches(len(files), OptimizationRecipe(epochs=1, batch_size=len(files)), 0, 1)

    def by_loader() -> list[Tensor]:
        loader = training_loader(images, Remaining(plan, 0, 0), 0, pinned=False)
        return [pixels for pixels, _ in loader]

    def decode() -> list[np.ndarray]:
        return [np.asarray(Image.open(io.BytesIO(file)).convert("RGB")) for file in files]

    return Prepared({OURS: Contestant(by_loader), BARE_DECODING: Contestant(decode)})


def _photograph(number: int) -> bytes:
    """An embedded photograph as a JPEG file, each number's a little different."""
    levels = (255 * photograph("coffee")).byte().permute(1, 2, 0).numpy()
    file = io.BytesIO()
    image = Image.fromarray(np.roll(levels, 7 * number, axis=1)).resize(STORED_PX)
    image.save(file, "JPEG", quality=JPEG_QUALITY)
    return file.getvalue()
