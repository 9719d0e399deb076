"""The demonstration: a small network and its VOneNet, trained alike, measured alike, one report."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import vonenet
from vonenet.cli.demo_figures import v1_figures
from vonenet.data import ImageDataset, PixelModel, load_embedded, photograph
from vonenet.data.seeding import seeded
from vonenet.report.comparison import Comparison, Decision, Example, Tile, write_page
from vonenet.report.pictures import data_address, photo
from vonenet.report.summary import by_model, summarise, text_table
from vonenet.results import Result
from vonenet.robustness import Attack, Clean, Condition, Corruption, evaluate
from vonenet.training import TrainingRecipe, train
from vonenet.training.config import AugmentationRecipe, DataRecipe, OptimizationRecipe
from vonenet.v1.noise import fixed_noise

BASE, VONE = "base", "VOneNet"
PIXEL_MEAN = PIXEL_STD = 0.5


@dataclass(frozen=True)
class DemoConfig:
    """What the demonstration trains and measures.

    Attributes:
        training_images: images to train on, at most 10,000.
        test_images: images for clean and corrupted accuracy, at most 2,000.
        attack_images: images to attack.
        attack_steps: steps of every attack.
        gradient_samples: noise samples that each attack gradient is averaged over.
        corruptions: names of common corruptions.
        severities: their severities, 1 to 5.
        attacks: (norm, epsilon) of each attack, epsilon in pixel units of [0, 1] images.
        example_images: test images shown in the report.
        model: settings of both networks' images, and of the V1 block.
        recipe: how both are trained.
    """

    training_images: int = 10_000
    test_images: int = 2_000
    attack_images: int = 250
    attack_steps: int = 20
    gradient_samples: int = 8
    corruptions: tuple[str, ...] = (
        "gaussian_noise",
        "shot_noise",
        "impulse_noise",
        "defocus_blur",
        "brightness",
        "contrast",
        "pixelate",
        "jpeg_compression",
    )
    severities: tuple[int, ...] = (1, 3, 5)
    attacks: tuple[tuple[str, float], ...] = (
        ("linf", 4 / 255),
        ("linf", 8 / 255),
        ("l2", 0.6),
        ("l2", 1.5),
    )
    example_images: int = 6
    model: dict[str, Any] = dataclasses.field(
        default_factory=lambda: {
            "image_size": 32,
            "visual_degrees": 2.0,
            "in_chans": 1,
            "simple_channels": 128,
            "complex_channels": 128,
            "kernel_size": 15,
            "stride": 2,
            "sf_max": 5.6,
        }
    )
    recipe: TrainingRecipe = dataclasses.field(
        default_factory=lambda: TrainingRecipe(
            data=DataRecipe(image_size=32, in_chans=1),
            optimization=OptimizationRecipe(
                epochs=6,
                batch_size=64,
                learning_rate=0.1,
                weight_decay=5e-4,
                schedule="onecycle",
            ),
            augmentation=AugmentationRecipe(crop="centre"),
        )
    )

    @property
    def seed(self) -> int:
        """Seed of weights, order, noise and corruptions."""
        return self.recipe.optimization.seed

    def with_descent(self, **changes: Any) -> DemoConfig:
        """The same with other fields of `recipe.optimization`."""
        descent = dataclasses.replace(self.recipe.optimization, **changes)
        recipe = dataclasses.replace(self.recipe, optimization=descent)
        return dataclasses.replace(self, recipe=recipe)

    def quick(self) -> DemoConfig:
        """The same in a minute: fewer epochs, test images, conditions and samples."""
        return dataclasses.replace(
            self.with_descent(epochs=3),
            test_images=500,
            attack_images=100,
            attack_steps=10,
            gradient_samples=4,
            corruptions=("gaussian_noise", "defocus_blur", "brightness", "contrast"),
            severities=(3, 5),
            attacks=(("linf", 8 / 255), ("l2", 0.6)),
        )

    def conditions(self) -> list[Condition]:
        """Clean and corrupted images."""
        corrupted = [Corruption(name, s) for name in self.corruptions for s in self.severities]
        return [Clean(), *corrupted]

    def attack_conditions(self) -> list[Condition]:
        """White-box attacks."""
        return [
            Attack(norm, epsilon, steps=self.attack_steps, gradient_samples=self.gradient_samples)
            for norm, epsilon in self.attacks
        ]


def run_demo(config: DemoConfig, out: Path, *, progress: bool = True) -> str:
    """Train both networks, measure both, and write the report.

    Writes `report.html`, `results.jsonl`, `config.json` and the VOneNet's weights into `out`,
    replacing those of an earlier demonstration.

    Args:
        config: what to train and measure.
        out: folder, made if need be.
        progress: show progress bars.

    Returns:
        The summary as a table for the terminal.
    """
    start = time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    results = out / "results.jsonl"
    results.unlink(missing_ok=True)
    channels = config.model["in_chans"]
    training = load_embedded("train", in_chans=channels).subset(config.training_images)
    test = load_embedded("test", in_chans=channels).subset(config.test_images)

    models = build_pair(config)
    write_config(config, models[VONE], out / "config.json")
    rows: list[Result] = []
    for name, model in models.items():
        train(model, training, config.recipe, progress=progress, label=name, device="cpu")
        rows += measure(model, name, test, config, results, progress)
    vone = models[VONE].model
    assert isinstance(vone, vonenet.VOneNet)
    vonenet.save_checkpoint(vone, out / "vonenet.safetensors")
    page = Comparison(
        title="VOneNet demo: a small network, with and without a model of primary visual cortex",
        rows=rows,
        base=BASE,
        vone=VONE,
        examples=examples(models, test, config),
        v1=v1_figures(vone.vone_block, photograph("chelsea")),
        method=method(config, models, time.perf_counter() - start),
        files={
            "results.jsonl": "every number on this page, one row per condition",
            "config.json": "the resolved configuration",
            "vonenet.safetensors": "the trained VOneNet, for vonenet.load_checkpoint",
        },
    )
    write_page(page, out / "report.html")
    grouped = by_model(rows)
    return text_table(summarise(grouped[BASE]), summarise(grouped[VONE]), (BASE, VONE))


def build_pair(config: DemoConfig) -> dict[str, PixelModel]:
    """The base network and its VOneNet, weights drawn from the recipe's seed."""
    shared = {"num_classes": 10, "in_chans": config.model["in_chans"]}
    size = config.model["image_size"]
    with seeded(config.seed, torch.device("cpu")):
        base = vonenet.create_base_model("voneresnet_small", image_size=(size, size), **shared)
        vone = vonenet.create_model("voneresnet_small", **{**config.model, **shared})
    return {
        name: PixelModel(m, PIXEL_MEAN, PIXEL_STD) for name, m in {BASE: base, VONE: vone}.items()
    }


def measure(
    model: PixelModel,
    name: str,
    test: ImageDataset,
    config: DemoConfig,
    results: Path,
    progress: bool,
) -> list[Result]:
    """Rows of one network: clean and corrupted on all test images, attacks on some."""
    rows: list[Result] = []
    for conditions, limit in [
        (config.conditions(), config.test_images),
        (config.attack_conditions(), config.attack_images),
    ]:
        rows += evaluate(
            model,
            test,
            conditions,
            experiment="demo",
            model_name=name,
            limit=limit,
            batch_size=50,
            seed=config.seed,
            out_path=results,
            progress=progress,
        )
    return rows


def examples(
    models: dict[str, PixelModel], test: ImageDataset, config: DemoConfig
) -> list[Example]:
    """The first test image of some classes: clean, corrupted, and attacked for each network."""
    shown = test.subset(len(test.classes)).select(torch.arange(config.example_images))
    pixels = torch.stack([shown[i][0] for i in range(len(shown))])
    labels = shown.labels
    corruption = Corruption(config.corruptions[0], config.severities[-1])
    norm, epsilon = config.attacks[-1]
    attack = Attack(norm, epsilon, config.attack_steps, config.gradient_samples)
    radius = attack.label.replace("linf", "L\N{INFINITY}").replace("l2", "L2")
    columns: list[tuple[str, Tensor, Sequence[str]]] = [("clean", pixels, (BASE, VONE))]
    with seeded(config.seed, torch.device("cpu")):
        corrupted = corruption.perturb(models[BASE], pixels, labels, seed=0, first_index=0)
        columns.append((corruption.label.replace("_", " "), corrupted, (BASE, VONE)))
        for name in (BASE, VONE):
            attacked = attack.perturb(models[name], pixels, labels, seed=0, first_index=0)
            columns.append((f"attack on {name}, {radius}", attacked, (name,)))
    said = {
        caption: {name: decide(models[name], images) for name in names}
        for caption, images, names in columns
    }
    return [
        Example(
            label=shown.classes[label],
            tiles=[
                Tile(
                    caption=caption,
                    picture=data_address(photo(images[i].numpy())),
                    decisions=[
                        Decision(
                            name,
                            shown.classes[said[caption][name][i]],
                            bool(said[caption][name][i] == label),
                        )
                        for name in names
                    ],
                )
                for caption, images, names in columns
            ],
        )
        for i, label in enumerate(labels.tolist())
    ]


@torch.no_grad()
def decide(model: nn.Module, pixels: Tensor) -> list[int]:
    """The class that the model says for each image, with one fixed draw of noise."""
    with fixed_noise(model, 0):
        decisions: list[int] = model.eval()(pixels).argmax(dim=1).tolist()
    return decisions


def write_config(config: DemoConfig, vone: PixelModel, path: Path) -> None:
    """The resolved configuration, with the versions that it ran with."""
    assert isinstance(vone.model, vonenet.VOneNet)
    resolved = {
        "demo": dataclasses.asdict(config),
        "vonenet": vone.model.config.to_dict(),
        "versions": {"vonenet": vonenet.__version__, "torch": torch.__version__},
    }
    path.write_text(json.dumps(resolved, indent=2) + "\n", encoding="utf-8")


def method(config: DemoConfig, models: dict[str, PixelModel], seconds: float) -> dict[str, str]:
    """How it was measured, term by term."""
    descent = config.recipe.optimization
    trained = {
        name: sum(p.numel() for p in model.parameters() if p.requires_grad)
        for name, model in models.items()
    }
    size = config.model["image_size"]
    return {
        "Images": f"Fashion-MNIST (MIT licence), class-balanced part: {config.training_images:,} "
        f"to train, {config.test_images:,} to test; 28 px padded to {size} px, grey",
        "Networks": f"three residual blocks of width 16 behind a 7x7 stem ({BASE}, "
        f"{trained[BASE]:,} trained weights) or behind V1 and a 1x1 bottleneck ({VONE}, "
        f"{trained[VONE]:,}; V1 itself is fixed)",
        "Training": f"the same for both: {descent.epochs} epochs of SGD, batch "
        f"{descent.batch_size}, {descent.schedule} schedule, peak learning rate "
        f"{descent.learning_rate:g}, seed {descent.seed}; no corruption and "
        "no attack was seen in training",
        "Corruptions": f"{len(config.corruptions)} types of ImageNet-C at CIFAR-10-C's constants, "
        f"severities {', '.join(map(str, config.severities))}, on {config.test_images:,} images",
        "Attacks": f"untargeted PGD on {config.attack_images} images, {config.attack_steps} steps, "
        f"knowing everything; for the noisy {VONE} each gradient is averaged over "
        f"{config.gradient_samples} noise samples",
        "Decisions": "one pass per image, with fresh noise; intervals are Wilson's, over images "
        "and their noise together. One training seed: the spread between seeds is not in them",
        "Machine": f"{platform.machine()}, {os.cpu_count()} CPU cores, torch {torch.__version__}, "
        f"Python {platform.python_version()}; {seconds:.0f} s in all",
    }
