"""`vonenet train`: a recipe, whose fields are the options, and images become trained weights."""

from __future__ import annotations

import dataclasses
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from vonenet.cli.console import parsed
from vonenet.cli.evaluate import VALIDATION
from vonenet.errors import InputError, SettingError
from vonenet.training.config import TrainingRecipe

if TYPE_CHECKING:
    from vonenet.data import ImageDataset, PixelModel
    from vonenet.training import TrainingLog

SUFFIX, RECIPES = ".toml", "recipes"
V1 = "vone_block."
# Whose published weights bring the normalisation that they were trained with
PUBLISHED_BY = ("timm", "torchvision")

ALIASES = {"start_from": ("--from",)}

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
            type=_with_aliases(name, field.annotation),
            default=getattr(info.default, name),
            helptext=field.description,
        )
        for name, field in fields.items()
    )
    return tyro.constructors.StructConstructorSpec(instantiate=dict, fields=specs)


def _with_aliases(name: str, kind: Any) -> Any:
    return Annotated[kind, tyro.conf.arg(aliases=ALIASES[name])] if name in ALIASES else kind


def main(arguments: Sequence[str]) -> None:
    """Run the command; the defaults of its options are those of the recipe among the arguments.

    Raises:
        InputError: The recipe cannot be read, or something cannot be used.
        Preempted: After SIGTERM.
    """
    from vonenet.cli import EXAMPLES

    named = [a for a in arguments if a.endswith(SUFFIX)] or list(arguments[:1])
    name = None if not named or named[0].startswith("-") else named[0]
    defaults = TrainingRecipe() if name is None else TrainingRecipe.read(find_recipe(name))

    def train(
        path: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RECIPE")],
        data: str,
        out: Path | None = None,
        device: Literal["auto", "cpu", "cuda"] = "auto",
        track: tuple[Literal["tensorboard", "wandb"], ...] = (),
        checkpoint_minutes: float = 10.0,
        quiet: bool = False,
        recipe: Annotated[TrainingRecipe, tyro.conf.OmitArgPrefixes] = defaults,
    ) -> Callable[[], None]:
        """Train a network by a recipe; started again, go on where it was stopped.

        Under torchrun the processes share each batch. A run that is asked to stop (SIGTERM) saves
        and exits with status 75: run it again.

        Args:
            path: a TOML file, or the name of one that comes with vonenet, such as demo.
            data: where the images are, as for `vonenet data inspect`.
            out: folder of the run; runs/ and the recipe's name if not given.
            device: where to compute; auto takes a GPU if there is one.
            track: also log to TensorBoard or Weights & Biases.
            checkpoint_minutes: minutes between checkpoints within an epoch; there is one after
                each epoch.
            quiet: show no progress.
            recipe: Fields of the recipe.
        """
        if path != name:
            raise InputError(f"recipe {path!r} must come first, before all options")
        settings = {"trackers": track, "checkpoint_minutes": checkpoint_minutes, "device": device}
        folder = out or Path("runs", Path(path).stem)
        tables: Any = recipe  # by `_unchecked`
        return partial(_train, tables, data, folder, progress=not quiet, **settings)

    parsed(train, "train", arguments, EXAMPLES["train"], registry=registry)()


def _train(recipe: dict[str, Any], address: str, folder: Path, **settings: Any) -> None:
    from vonenet.v1.memory import keep_freed_memory

    keep_freed_memory()
    log = run_training(TrainingRecipe.from_tables(recipe), address, folder, **settings)
    if os.environ.get("RANK", "0") == "0":  # set by torchrun
        print(finished_text(log, folder, address))


def find_recipe(name: str) -> Path:
    """Return a recipe's file: the one of that path, or the shipped one of that name.

    Raises:
        InputError: There is neither.
    """
    path = Path(name)
    if path.is_file():
        return path
    # In the repository the recipes are not in the package
    folders = [Path(str(files("vonenet"))) / RECIPES, Path(__file__).parents[3] / RECIPES]
    shipped = {each.stem: each for folder in folders for each in sorted(folder.glob(f"*{SUFFIX}"))}
    if path.stem in shipped and path.parent in (Path(), Path(RECIPES)):
        return shipped[path.stem]
    raise InputError(
        f"recipe {name!r} is not there; allowed: a {SUFFIX} file, or one of {', '.join(shipped)}"
    )


def finished_text(log: TrainingLog, folder: Path, address: str) -> str:
    """Return what a finished training says at its end."""
    from vonenet.data.dataset import share_of
    from vonenet.results import MODEL

    last = log.epochs[-1]
    text = f"{len(log.epochs)} epochs: training loss {last.loss:.3f}"
    known = [each for each in log.epochs if each.validation_accuracy is not None]
    if known:
        best = max(known, key=lambda each: each.validation_accuracy or 0.0)
        text += (
            f"\nvalidation accuracy: {known[-1].validation_text} at the end, "
            f"{best.validation_text} at best (epoch {best.epoch}, chosen by these images)"
        )
    if log.already_finished:
        text = f"{folder} was finished before; nothing is left to train\n{text}"
    split = log.recipe.data.validation_split
    split = VALIDATION if share_of(split) else split
    run, data, part = (shlex.quote(each) for each in (str(folder), address, split))
    return (
        f"{text}\nweights: {folder / MODEL}\n"
        f"next: vonenet evaluate {run} --data {data} --split {part}\n"
        f"curves: vonenet report {run}"
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
        build_model(recipe, training.classes),
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
        InputError: There are none, or the parts are one and the same.
    """
    from vonenet.data import open_dataset
    from vonenet.data.dataset import held_out, share_of
    from vonenet.data.shards import ALL

    data, one_part = recipe.data, False
    shape = {"image_size": data.image_size, "in_chans": data.in_chans}
    # Data of one part are all to train on, less what is held out
    training = open_dataset(
        address, ("train", ALL) if data.train_split == "train" else data.train_split, **shape
    )
    if share := share_of(data.validation_split):
        training, validation = held_out(training, share)
    elif not (one_part := training.source.splits == (ALL,)):
        validation = open_dataset(address, data.validation_split, **shape)
        same_size = len(training) == len(validation)
        same_images = same_size and training.describe(0) == validation.describe(0)
        one_part = same_images or training.name == validation.name
    if one_part:
        raise InputError(
            f"{address!r} has one part, {training.name!r}, for training and validation; to keep a "
            "tenth of each class for validation, set data.validation_split to '10%'"
        )
    if data.broken == "skip":
        training, validation = (_readable(part, progress) for part in (training, validation))
    return _limited(training, data.limit), _limited(validation, data.validation_limit)


def open_validation(
    run: Path, address: str, *, image_size: int | None = None, in_chans: Literal[1, 3] | None = None
) -> ImageDataset:
    """Return the images at an address that the training in a folder was validated on.

    Args:
        run: Folder of the training.
        address: The images that it was trained on, as `vonenet.data.open_dataset` takes them.
        image_size: Height and width in pixels; the recipe's if not given.
        in_chans: 1 (grey) or 3 (RGB); the recipe's if not given.

    Raises:
        InputError: The folder holds no training, or the images at the address are others.
    """
    from vonenet.results import RECIPE
    from vonenet.training.resume import read_run

    recipe = TrainingRecipe.read(run / RECIPE)
    if not (validated := read_run(run).get("validation")):
        raise InputError(f"{run} does not say on which images it was validated")
    _, images = open_parts(recipe, address)
    if images.content_hash() != validated["content"]:
        raise InputError(
            f"{run} was validated on {validated['images']} images ({validated['content']}) of "
            f"{validated['name']!r}, which are not those at {address!r}: some of these may have "
            "been trained on; allowed: the data of the training, as it was"
        )
    size, channels = image_size or recipe.data.image_size, in_chans or recipe.data.in_chans
    data = dataclasses.replace(recipe.data, image_size=size, in_chans=channels)
    same = data == recipe.data
    return images if same else open_parts(dataclasses.replace(recipe, data=data), address)[1]


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


def build_model(recipe: TrainingRecipe, classes: Sequence[str]) -> PixelModel:
    """Return the network of a recipe with fresh weights, drawn from its seed, or those it names.

    A base network has no V1 stage, and `model.settings`, which are that stage's, do not concern it.

    Raises:
        InputError: An unknown name, or settings or weights that cannot be used.
    """
    import torch
    from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

    from vonenet.data import PixelModel
    from vonenet.data.seeding import seeded
    from vonenet.model import PIXEL_MEAN, PIXEL_STD
    from vonenet.zoo.registry import create_base_model, create_model

    model, channels, weights = recipe.model, recipe.data.in_chans, recipe.model.backbone_weights
    shared: dict[str, Any] = {
        "num_classes": len(classes),
        "in_chans": channels,
        "image_size": recipe.data.image_size,
        "backbone_weights": weights,
    }
    if taken := sorted(shared.keys() & model.settings.keys()):
        raise InputError(
            f"model.settings has {taken[0]!r}, which the recipe's [data] and [model] tables give; "
            "allowed: the other settings of vonenet.create_model"
        )
    if weights is not None and model.start_from is not None:
        raise InputError(
            f"model.start_from={model.start_from!r} and model.backbone_weights={weights!r} cannot "
            "both be what the back-end starts from; allowed: one of them"
        )
    normalization: Mapping[str, Any] = {"mean": PIXEL_MEAN, "std": PIXEL_STD}
    with seeded(recipe.optimization.seed, torch.device("cpu")):
        if model.base:
            network = create_base_model(model.name, stem_noise=model.stem_noise, **shared)
            if weights is not None and weights.startswith(PUBLISHED_BY):
                published = {"mean": IMAGENET_DEFAULT_MEAN, "std": IMAGENET_DEFAULT_STD}
                normalization = published | (getattr(network, "pretrained_cfg", None) or {})
        else:
            try:
                network = create_model(model.name, **shared | model.settings)
            except SettingError as error:
                raise InputError(f"model.settings: {error}") from error
            normalization = network.pretrained_cfg
    mean, std = (normalization[key][:channels] for key in ("mean", "std"))
    built = PixelModel(network, mean, std, classes=classes)
    if model.start_from is not None:
        _take_weights(built, model.start_from, classes)
    return built


def _take_weights(model: PixelModel, address: str, classes: Sequence[str]) -> None:
    """Give a model the weights and the normalisation of one like it, by its address.

    Raises:
        InputError: There is none, or it is another network, of other filters or classes.
    """
    import torch

    from vonenet.data.classes import match_classes
    from vonenet.zoo.loading import load_model

    given = load_model(address).model
    count = len(classes if given.classes is None else given.classes)
    match = match_classes(given.classes, count, classes)
    if match.outputs != tuple(range(count)):
        raise InputError(
            f"model.start_from={address!r} has other classes than the data ({match.how}); allowed: "
            "the same ones in the same order, or model.backbone_weights"
        )
    own, weights = model.model.state_dict(), given.model.state_dict()
    trained = {name for name, _ in model.model.named_parameters()}
    for name in own.keys() - trained:
        if name.startswith(V1) and not torch.equal(own[name], weights.get(name, own[name][:0])):
            raise InputError(
                f"model.start_from={address!r} has other V1 filters than this recipe makes; "
                "allowed: the image size, channels and model.settings that it was trained with"
            )
    try:
        model.model.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"model.start_from={address!r} is another network: {reason}") from error
    model.mean, model.std = given.mean, given.std


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
        stem_noise=recipe.model.stem_noise,
    )
