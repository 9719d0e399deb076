"""`vonenet train`: a recipe, whose fields are the options, and images become trained weights."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from vonenet.errors import InputError, SettingError
from vonenet.training.config import TrainingRecipe

if TYPE_CHECKING:
    from vonenet.data import ImageDataset, PixelModel
    from vonenet.training import TrainingLog

SUFFIX = ".toml"
# Whose published weights bring the normalisation that they were trained with
PUBLISHED_BY = ("timm", "torchvision")

registry = tyro.constructors.ConstructorRegistry()


@registry.struct_rule
def _unchecked(info: tyro.constructors.StructTypeInfo) -> Any:
    """Show the fields of a recipe's table as options, and leave all checks to `from_tables`."""
    fields = getattr(info.type, "__pydantic_fields__", None)
    if fields is None:
        return None
    specs = tuple(
        tyro.constructors.StructFieldSpec(
            name=name,
            type=field.annotation,
            default=getattr(info.default, name),
            helptext=field.description,
        )
        for name, field in fields.items()
    )
    return tyro.constructors.StructConstructorSpec(instantiate=dict, fields=specs)


def main(arguments: Sequence[str]) -> None:
    """Run the command; the defaults of its options are those of the recipe among the arguments.

    Raises:
        InputError: The recipe cannot be read, or something cannot be used.
        Preempted: After SIGTERM.
    """
    recipes = [argument for argument in arguments if argument.endswith(SUFFIX)]
    defaults = TrainingRecipe.read(recipes[0]) if recipes else TrainingRecipe()

    def train(
        path: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RECIPE")],
        data: str,
        out: Path | None = None,
        device: Literal["auto", "cpu", "cuda"] = "auto",
        track: tuple[Literal["tensorboard", "wandb"], ...] = (),
        checkpoint_minutes: float = 10.0,
        recipe: Annotated[TrainingRecipe, tyro.conf.OmitArgPrefixes] = defaults,
    ) -> None:
        """Train a network by a recipe; started again, go on where it was stopped.

        Under torchrun the processes share each batch. A run that is asked to stop (SIGTERM) saves
        and exits with status 75: run it again.

        Args:
            path: a TOML file; recipes/ has some.
            data: where the images are, as for `vonenet data inspect`.
            out: folder of the run; runs/ and the recipe's name if not given.
            device: where to compute; auto takes a GPU if there is one.
            track: also log to TensorBoard or Weights & Biases.
            checkpoint_minutes: minutes between checkpoints within an epoch; there is one after
                each epoch.
            recipe: Fields of the recipe.
        """
        if not recipes or str(path) != recipes[0]:
            raise InputError(f"recipe {path} must be a {SUFFIX} file")
        folder = out or Path("runs", path.stem)
        log = run_training(
            TrainingRecipe.from_tables(recipe),  # type: ignore[arg-type]  # by `_unchecked`
            data,
            folder,
            trackers=track,
            checkpoint_minutes=checkpoint_minutes,
            device=device,
        )
        if os.environ.get("RANK", "0") == "0":  # set by torchrun
            print(finished_text(log, folder))

    tyro.cli(train, prog="vonenet train", args=arguments, registry=registry)


def finished_text(log: TrainingLog, folder: Path) -> str:
    """Return what a finished training says at its end."""
    from vonenet.results import MODEL

    text = f"{len(log.epochs)} epochs: training loss {log.epochs[-1].loss:.3f}"
    accuracies = {each.epoch: each.validation_accuracy for each in log.epochs}
    known = {epoch: 100 * value for epoch, value in accuracies.items() if value is not None}
    if known:
        best = max(known, key=lambda epoch: known[epoch])
        text += (
            f", validation accuracy {known[max(known)]:.1f} % at the end, "
            f"{known[best]:.1f} % at best (epoch {best})"
        )
    return (
        f"{text}\nweights: {folder / MODEL}\nnext: vonenet evaluate {folder} --data ADDRESS\n"
        f"curves: vonenet report {folder}"
    )


def run_training(
    recipe: TrainingRecipe, address: str, out: Path, *, progress: bool = True, **settings: Any
) -> TrainingLog:
    """Train what a recipe says on the images of an address, into a folder; or go on there.

    The address is as `vonenet.data.open_dataset` takes it; the settings are those of
    `vonenet.training.train`.

    Raises:
        InputError: Something in the recipe or at the address cannot be used.
        Preempted: After SIGTERM; the same call goes on.
    """
    from vonenet.training import train

    training, validation = open_parts(recipe, address, progress)
    return train(
        build_model(recipe, len(training.classes)),
        training,
        recipe,
        validation=validation,
        out=out,
        export=partial(write_model, recipe, training.classes),
        progress=progress,
        label=out.name,
        **settings,
    )


def open_parts(
    recipe: TrainingRecipe, address: str, progress: bool = False
) -> tuple[ImageDataset, ImageDataset]:
    """Return the images to train on and those to measure on, as many as the recipe says.

    Raises:
        InputError: There are none, the parts are one and the same, or their classes differ.
    """
    from vonenet.data import open_dataset
    from vonenet.data.dataset import held_out, share_of
    from vonenet.data.shards import ALL

    data = recipe.data
    shape = {"image_size": data.image_size, "in_chans": data.in_chans}
    # Data of one part are all to train on, less what is held out
    training = open_dataset(
        address, ("train", ALL) if data.train_split == "train" else data.train_split, **shape
    )
    if share := share_of(data.validation_split):
        training, validation = held_out(training, share)
    elif training.source.splits == (ALL,):
        raise InputError(
            f"{address!r} has one part, {training.name!r}, for training and validation; to keep a "
            "tenth of each class for validation, set data.validation_split to '10%'"
        )
    else:
        validation = open_dataset(address, data.validation_split, **shape)
        _check_parts(training, validation, address)
    if data.broken == "skip":
        training, validation = (_readable(part, progress) for part in (training, validation))
    return _limited(training, data.limit), _limited(validation, data.validation_limit)


def _check_parts(training: ImageDataset, validation: ImageDataset, address: str) -> None:
    same_name, same_size = training.name == validation.name, len(training) == len(validation)
    if same_name or (same_size and training.describe(0) == validation.describe(0)):
        raise InputError(
            f"{address!r} has one part, {training.name!r}, for training and validation; to keep a "
            "tenth of each class for validation, set data.validation_split to '10%'"
        )
    ours, theirs = training.classes, validation.classes
    if ours != theirs:
        differing = [*(n for n in ours if n not in theirs), *(n for n in theirs if n not in ours)]
        raise InputError(
            f"training and validation images of {address!r} have different classes: {len(ours)} "
            f"and {len(theirs)}, first difference {[*differing, 'their order'][0]!r}"
        )


def _readable(dataset: ImageDataset, progress: bool) -> ImageDataset:
    """Return the data set without the images that cannot be read, and name the first few."""
    from tqdm import tqdm

    from vonenet.data import readable

    kept, broken = readable(dataset, progress=progress)
    for error in broken[:10]:
        tqdm.write(f"skipped {error.image}: {error.reason}")
    if broken:
        tqdm.write(f"{len(broken)} of {len(dataset)} images of {dataset.name!r} are skipped")
    return kept


def _limited(dataset: ImageDataset, limit: int | None) -> ImageDataset:
    return dataset if limit is None else dataset.subset(min(limit, len(dataset)))


def build_model(recipe: TrainingRecipe, num_classes: int) -> PixelModel:
    """Return the network of a recipe with fresh weights, drawn from the recipe's seed.

    A base network has no V1 stage, and `model.settings`, which are that stage's, do not concern it.

    Raises:
        InputError: An unknown name, or settings that cannot be used.
    """
    import torch
    from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

    from vonenet.data import PixelModel
    from vonenet.data.seeding import seeded
    from vonenet.model import PIXEL_MEAN, PIXEL_STD
    from vonenet.zoo.registry import create_base_model, create_model

    model, channels, weights = recipe.model, recipe.data.in_chans, recipe.model.backbone_weights
    shared: dict[str, Any] = {
        "num_classes": num_classes,
        "in_chans": channels,
        "image_size": recipe.data.image_size,
        "backbone_weights": weights,
    }
    if taken := sorted(shared.keys() & model.settings.keys()):
        raise InputError(
            f"model.settings has {taken[0]!r}, which the recipe's [data] and [model] tables give; "
            "allowed: the other settings of vonenet.create_model"
        )
    mean, std = PIXEL_MEAN, PIXEL_STD
    with seeded(recipe.optimization.seed, torch.device("cpu")):
        if model.base:
            network = create_base_model(model.name, **shared)
            if weights is not None and weights.startswith(PUBLISHED_BY):
                described = getattr(network, "pretrained_cfg", None) or {}
                mean = described.get("mean", IMAGENET_DEFAULT_MEAN)
                std = described.get("std", IMAGENET_DEFAULT_STD)
        else:
            try:
                network = create_model(model.name, **shared | model.settings)
            except SettingError as error:
                raise InputError(f"model.settings: {error}") from error
    return PixelModel(network, mean[:channels], std[:channels])


def write_model(recipe: TrainingRecipe, classes: Sequence[str], model: Any, path: Path) -> None:
    """Write a trained network's weights, with all that is needed to build it again."""
    from vonenet.zoo.checkpoints import save_base_checkpoint, save_checkpoint

    if not recipe.model.base:
        save_checkpoint(model.model, path, classes=classes)
        return
    save_base_checkpoint(
        model.model,
        path,
        name=recipe.model.name,
        mean=model.mean.flatten().tolist(),
        std=model.std.flatten().tolist(),
        classes=classes,
        in_chans=recipe.data.in_chans,
        image_size=recipe.data.image_size,
    )
