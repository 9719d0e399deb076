"""What a recipe does to training images: one by one, mixed in the batch, and attacked."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import chain
from typing import Any, cast

import torch
from PIL import Image, ImageOps
from timm.data import auto_augment
from timm.data.mixup import Mixup
from timm.data.random_erasing import RandomErasing
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.utils.data import Dataset
from torchvision.transforms import v2

from vonenet.data.dataset import ImageDataset
from vonenet.data.decoding import as_pixels
from vonenet.data.pixels import eval_mode
from vonenet.data.seeding import item_seeded
from vonenet.errors import InputError
from vonenet.robustness.attacks import pgd
from vonenet.robustness.corruptions import corrupt
from vonenet.training.config import AdversarialRecipe, AugmentationRecipe

SEVERITIES = 5
GREY = 128  # what enters where RandAugment turns or moves an image: the mean of our normalisation

# timm stops at most of what it does not understand, and passes over a section without a number.
POLICY = re.compile(r"\w+(-(t(weights|3aw?)|[a-z]+-?\d+(\.\d+)?))*")


class TrainingImages(Dataset[tuple[Tensor, int]]):
    """A data set, opened at `image_size` pixels, whose items are augmented anew in every epoch.

    What is drawn depends on seed, epoch and index, not on the process or the order in which images
    are asked for.

    Raises:
        InputError: timm knows no such `rand_augment`, a shift is too long, or the corruptions are
            unknown or cannot be made at this size.
    """

    def __init__(
        self, dataset: ImageDataset, recipe: AugmentationRecipe, image_size: int, seed: int
    ) -> None:
        if recipe.crop == "shift" and recipe.shift_px >= image_size:
            raise InputError(
                f"augmentation.shift_px={recipe.shift_px} is impossible; "
                f"allowed: below image_size={image_size}"
            )
        if recipe.corruption_share and not recipe.corruptions:
            raise InputError(
                f"augmentation.corruption_share={recipe.corruption_share:g} is impossible without "
                "augmentation.corruptions; allowed: 0"
            )
        try:
            for name in recipe.corruptions:
                corrupt(torch.zeros(1, 1, image_size, image_size), name, SEVERITIES)
        except InputError as error:
            names = list(recipe.corruptions)
            raise InputError(f"augmentation.corruptions={names!r} is impossible: {error}") from None
        self.dataset, self.recipe, self.seed = dataset, recipe, seed
        self.part = v2.RandomResizedCrop(image_size, scale=(recipe.smallest_area, 1.0))
        if recipe.rand_augment is not None:
            self.policy = _timm_policy(recipe.rand_augment, dataset.in_chans)
        self.mirror = v2.RandomHorizontalFlip()
        self.jitter = v2.ColorJitter(*[recipe.color_jitter] * 3)
        self.erase: Any = RandomErasing(recipe.random_erasing, mode="pixel", device="cpu")  # type: ignore[no-untyped-call]

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, int]:
        """Return one image, (C, H, W) float32 in [0, 1], and its label, for (epoch, index)."""
        epoch, index = key
        recipe = self.recipe
        with item_seeded(self.seed, epoch, index):
            if recipe.crop == "random_resized":
                pixels = as_pixels(self.part(self.dataset.whole(index)))
            else:
                pixels = self.dataset[index][0]
            if recipe.crop == "shift":
                reach = recipe.shift_px
                down, right = torch.randint(-reach, reach + 1, (2,)).tolist()
                pixels = pad(pixels, (right, -right, down, -down))
            if recipe.rand_augment is not None:
                levels = (pixels * 255).round().byte()
                pixels = as_pixels(self.policy(v2.functional.to_pil_image(levels)))
            if recipe.horizontal_flip:
                pixels = self.mirror(pixels)
            if recipe.color_jitter:
                pixels = self.jitter(pixels)
            if recipe.corruptions and torch.rand(()).item() < recipe.corruption_share:
                name = recipe.corruptions[int(torch.randint(len(recipe.corruptions), ()))]
                severity = 1 + int(torch.randint(SEVERITIES, ()))
                draw = int(torch.randint(2**62, ()))
                pixels = corrupt(pixels[None], name, severity, seed=draw)[0]
            if recipe.gaussian_noise:
                std = recipe.gaussian_noise * torch.rand(())
                pixels = (pixels + std * torch.randn(pixels.shape)).clamp_(0, 1)
            if recipe.random_erasing:
                # timm's noise is for normalised images: drawn on an empty one, brought to pixels
                noise = self.erase(torch.full_like(pixels, torch.nan))
                pixels = torch.where(noise.isnan(), pixels, (0.5 + 0.5 * noise).clamp(0, 1))
        return pixels, int(self.dataset.labels[index])


def _timm_policy(description: str, channels: int) -> Callable[[Any], Any]:
    """Return timm's RandAugment, AugMix or AutoAugment, as its description says."""
    fill = GREY if channels == 1 else (GREY,) * channels
    settings = {"img_mean": fill, "interpolation": Image.Resampling.BILINEAR}
    for build in (
        auto_augment.rand_augment_transform,
        auto_augment.augment_and_mix_transform,
        auto_augment.auto_augment_transform,
    ):
        try:
            policy = build(description, dict(settings)) if POLICY.fullmatch(description) else None
        except (AssertionError, ValueError):
            continue
        if policy is not None:
            for operation in getattr(policy, "ops", None) or chain(*policy.policy):
                if operation.name.startswith("Posterize"):
                    operation.aug_fn = _posterized
            return cast(Callable[[Any], Any], policy)
    raise InputError(
        f"augmentation.rand_augment={description!r} is impossible; allowed: timm's descriptions, "
        "such as rand-m9-n2-mstd0.5-inc1, augmix-m3-w3, original, originalr, v0, v0r or 3a-mstd0.5"
    )


def _posterized(image: Image.Image, bits: int, **_: Any) -> Image.Image:
    """timm's, which can come to 0 bits or fewer: newer versions of Pillow refuse that."""
    return ImageOps.posterize(image, min(max(bits, 1), 8))


def mixed(
    pixels: Tensor,
    labels: Tensor,
    recipe: AugmentationRecipe,
    num_classes: int,
    label_smoothing: float,
    seed: int,
) -> tuple[Tensor, Tensor]:
    """Mix each image with its mirror place in the batch, all by one share drawn for the batch.

    With both on, each batch gets mixup (Zhang et al. 2018, arXiv:1710.09412) or CutMix (Yun et al.
    2019, arXiv:1905.04899), one as often as the other. In a batch of odd size one image stays as
    it is. The loss smooths labels that are not mixed.

    Returns:
        Pixels (B, C, H, W) in [0, 1]; and the labels (B,), or, if anything is on, targets (B, K).
    """
    if not (recipe.mixup or recipe.cutmix):
        return pixels, labels
    mix: Callable[..., tuple[Tensor, Tensor]] = Mixup(  # type: ignore[no-untyped-call]
        recipe.mixup, recipe.cutmix, num_classes=num_classes, label_smoothing=label_smoothing
    )
    count = len(pixels)
    # timm wants an even number. The first image's mirror place is then its own copy.
    batch = torch.cat([pixels, pixels[:1]]) if count % 2 else pixels.clone()
    with item_seeded(seed, 0, 0):
        batch, targets = mix(batch, torch.cat([labels, labels[:1]]) if count % 2 else labels)
    return batch[:count], targets[:count]


def attacked(model: nn.Module, pixels: Tensor, labels: Tensor, recipe: AdversarialRecipe) -> Tensor:
    """Attack images with PGD against the network as it is now, in eval mode.

    Adversarial training after Madry et al. 2018 (arXiv:1706.06083). Only the images get a gradient.
    Random starts and noise come from torch's global generators, those of the images' device. Of
    targets (B, K) instead of labels (B,) the largest is attacked.
    """
    if recipe.epsilon == 0:
        return pixels
    generator = None
    if pixels.is_cuda:  # starts for a large batch take long on a CPU
        generator = torch.cuda.default_generators[pixels.get_device()]
    with eval_mode(model):
        return pgd(
            model,
            pixels,
            labels if labels.ndim == 1 else labels.argmax(dim=1),
            norm=recipe.norm,
            epsilon=recipe.epsilon,
            steps=recipe.steps,
            step_size=recipe.step_size or 2.5 * recipe.epsilon / recipe.steps,
            gradient_samples=recipe.gradient_samples,
            random_start=recipe.random_start,
            generator=generator,
        )
