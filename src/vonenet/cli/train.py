"""The `vonenet train` command: its options are a recipe's fields, with the values of the file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from vonenet.errors import InputError
from vonenet.results import MODEL
from vonenet.training import TrainingLog, TrainingRecipe

SUFFIX = ".toml"

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
        from vonenet.cli.training import run_training

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
    lines = [f"{len(log.epochs)} epochs: training loss {log.epochs[-1].loss:.3f}"]
    accuracies = {each.epoch: each.validation_accuracy for each in log.epochs}
    known = {epoch: 100 * value for epoch, value in accuracies.items() if value is not None}
    if known:
        best = max(known, key=lambda epoch: known[epoch])
        lines[0] += (
            f", validation accuracy {known[max(known)]:.1f} % at the end, "
            f"{known[best]:.1f} % at best (epoch {best})"
        )
    return "\n".join(
        [
            *lines,
            f"weights: {folder / MODEL}",
            f"next: vonenet evaluate {folder} --data ADDRESS",
            f"curves: vonenet report {folder}",
        ]
    )
