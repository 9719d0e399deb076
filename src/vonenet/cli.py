"""The `vonenet` command: the one place where everything meets.

Each command imports what it needs when it runs, so that help appears at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro

import vonenet
from vonenet.errors import InputError, Preempted, VOneNetError

RUN_ME_AGAIN = os.EX_TEMPFAIL  # 75: what a scheduler may start again

Model = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
Images = Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="IMAGE...")]
Pattern = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PATTERN")]
Old = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OLD")]
Models = Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="MODEL...")]
Folders = Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="DIR...")]
Inspect = Annotated[Literal["inspect"], tyro.conf.Positional]
Address = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="ADDRESS")]
New = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="NEW")]


def demo(quick: bool = False, out: Path = Path("demo"), seed: int = 0) -> None:
    """Train a small network and its VOneNet on embedded images, measure both, write a report.

    Args:
        quick: fewer images, epochs and conditions: about a minute.
        out: folder for report.html, results.jsonl, config.json and the weights.
        seed: seed of weights, order, noise and corruptions.
    """
    from vonenet.demo import DemoConfig, run_demo
    from vonenet.memory import keep_freed_memory

    keep_freed_memory()
    config = DemoConfig().with_descent(seed=seed)
    print(run_demo(config.quick() if quick else config, out))
    print(f"\nreport: {(out / 'report.html').resolve()}")


def models(pattern: Pattern = "named") -> None:
    """List models: name, trained parameters, front-end, weights.

    Args:
        pattern: shell pattern, such as "vone_convnext*", or "named" for those with names of ours.
    """
    from vonenet.commands import model_table

    print(model_table(pattern))


def predict(
    model: Model,
    images: Images,
    top: int = 5,
    samples: int = 16,
    seed: int = 0,
) -> None:
    """Classify images: the most probable classes, with their spread over noise samples.

    Args:
        model: a name with published weights (see `vonenet models`), or a weights file.
        images: image files.
        top: classes to show for each image.
        samples: noise samples to average.
        seed: seed of the noise.
    """
    from vonenet.commands import predict_images

    failures = 0
    for path, answer in predict_images(model, images, top=top, samples=samples, seed=seed):
        if isinstance(answer, InputError):
            failures += 1
            print(f"vonenet: {answer}", file=sys.stderr)
        else:
            print(f"{path}\n{answer}")
    if failures:
        raise SystemExit(1)


def convert(old: Old, new: New) -> None:
    """Turn a published weights file (.pth.tar) into one of ours (safetensors).

    Args:
        old: the file to read.
        new: the file to write.
    """
    from vonenet.zoo.checkpoints import load_checkpoint, save_checkpoint

    model = load_checkpoint(old)
    save_checkpoint(model, new)
    print(f"{old} -> {new}: {model.config.name}, {model.config.num_classes} classes")


def physiology(
    model: Model,
    layer: str | None = None,
    compare: tuple[str, ...] = (),
    out: Path = Path("physiology"),
    degrees: float | None = None,
    trials: int | None = None,
    seed: int = 0,
    device: Literal["auto", "cpu", "cuda"] = "auto",
) -> None:
    """Record from a layer as a physiologist would and compare it with V1: one page.

    Gratings, patches and plaids in degrees of visual angle; receptive fields, orientation, spatial
    frequency, size, contrast, phase, masking and noise of every unit at the image's centre; their
    distributions beside published ones. What was recorded before is read from its file.

    Args:
        model: a name with published weights, a weights file, timm/NAME, untrained/NAME,
            module:function or file.py:function; with @LAYER, that layer of it.
        layer: the layer, by its name in the model; the V1 block if not given.
        compare: further models to record and show beside it, each as MODEL or MODEL@LAYER.
        out: folder for results.jsonl, the recordings and report.html.
        degrees: visual angle of an image; what the model was made for, or 8, if not given.
        trials: noise draws to average each response over; if not given, responses are taken
            before noise, where it can be left out, or over 20 draws.
        seed: seed of the noise.
        device: where to compute; auto takes a GPU if there is one.
    """
    from vonenet.physiology_command import PhysiologyConfig, run_physiology
    from vonenet.report.physiology import write_physiology_report

    config = PhysiologyConfig(layer=layer, degrees=degrees, trials=trials, seed=seed, device=device)
    recordings = run_physiology((model, *compare), config, out)
    print(write_physiology_report(recordings, out / "results.jsonl", out / "report.html"))
    print(f"\nreport: {(out / 'report.html').resolve()}")


def predictivity(
    model: Model,
    responses: Path,
    images: Path,
    layers: tuple[str, ...] = (),
    image_degrees: float | None = None,
    degrees: float | None = None,
    trials: int | None = None,
    components: int = 25,
    folds: int = 10,
    out: Path = Path("predictivity"),
    seed: int = 0,
    device: Literal["auto", "cpu", "cuda"] = "auto",
) -> None:
    """Predict your own recorded neurons from a model's layers, as Brain-Score does.

    Partial least squares from a layer's responses to the images; Pearson's r on images that were
    held out, the median over neurons, over the ceiling if the responses have repetitions.

    Args:
        model: as in `vonenet physiology`.
        responses: a .npy or .npz file, (stimuli, units) or (repetitions, stimuli, units), or a .nc
            file of xarray's.
        images: folder with an image for each stimulus, by the names that the file gives them, else
            in the order of their names.
        layers: names of layers; the V1 block if none is given.
        image_degrees: visual angle of the images as the animal saw them; the model's if not given.
        degrees: visual angle of the model's image; what it was made for, or 8, if not given.
        trials: passes that a stochastic model's responses are averaged over; if not given, the
            noise of V1 blocks is left out.
        components: of the regression.
        folds: parts that the images are held out in.
        out: folder for results.jsonl.
        seed: seed of the folds and the noise.
        device: where to compute; auto takes a GPU if there is one.
    """
    from vonenet.predictivity_command import (
        PredictivityConfig,
        predictivity_table,
        run_predictivity,
    )

    config = PredictivityConfig(
        degrees=degrees,
        image_degrees=image_degrees,
        trials=trials,
        components=components,
        folds=folds,
        seed=seed,
        device=device,
    )
    print(predictivity_table(run_predictivity(model, responses, images, layers, config, out)))
    print(f"\nrows: {(out / 'results.jsonl').resolve()}")


def evaluate(
    models: Models,
    data: str,
    suite: Literal["quick", "paper", "corruptions", "attacks", "full"] = "quick",
    limit: int | None = None,
    out: Path = Path("evaluation"),
    split: str = "test",
    image_size: int | None = None,
    batch_size: int = 32,
    decision_samples: int = 1,
    scale_radii: bool = False,
    audit: bool = True,
    seed: int = 0,
    device: Literal["auto", "cpu", "cuda"] = "auto",
) -> None:
    """Measure how robust models are: clean, corrupted and attacked images; then audit the attacks.

    Rows are written as they come. Started again, the command goes on where it was stopped; under
    torchrun all processes share the work and the rows stay the same.

    Args:
        models: names with published weights, weights files, timm/NAME, module:function or
            file.py:function.
        data: embedded, a folder of images by class, or a folder of parquet files.
        suite: quick (minutes), paper (15 corruptions and 6 attacks), corruptions (all 19), attacks
            (PGD at 12 radii, APGD, Square), or full.
        limit: measure so many images, class-balanced; all if not given.
        out: folder for results.jsonl, audit.jsonl and report.html.
        split: the part of the data.
        image_size: height and width in pixels; what each model was made for if not given.
        batch_size: images at a time.
        decision_samples: noise draws that a stochastic model's decision is averaged over.
        scale_radii: scale attack radii to the image size instead of taking those for 224 px.
        audit: look for signs that the attacks fail.
        seed: seed of noise and corruptions.
        device: where to compute; auto takes a GPU if there is one.
    """
    from vonenet.evaluation import EvaluationConfig, run_evaluation
    from vonenet.report.evaluation import write_evaluation_report

    config = EvaluationConfig(
        data=data,
        suite=suite,
        split=split,
        image_size=image_size,
        limit=limit,
        batch_size=batch_size,
        decision_samples=decision_samples,
        scale_radii=scale_radii,
        audit=audit,
        seed=seed,
        device=device,
    )
    if run_evaluation(models, config, out):
        print(write_evaluation_report([out], out / "report.html"))
        print(f"\nreport: {(out / 'report.html').resolve()}")


def report(folders: Folders, out: Path = Path("report.html"), base: str | None = None) -> None:
    """Make one page from what `vonenet evaluate` and `vonenet train` wrote.

    Args:
        folders: those of evaluations (results.jsonl), of training runs (log.jsonl), or both.
        out: the page.
        base: evaluated model that the others are compared with; the first one if not given.
    """
    from vonenet.report.evaluation import write_evaluation_report

    print(write_evaluation_report(folders, out, base))
    print(f"\nreport: {out.resolve()}")


def data(
    action: Inspect,
    address: Address,
    split: str = "train",
    in_chans: int = 3,
    check_all: bool = True,
) -> None:
    """Look at a data set: counts, sizes, classes, broken files.

    Args:
        action: what to do: inspect.
        address: an image folder, a folder of parquet files or of .tar shards, torchvision/NAME,
            hub/OWNER/NAME, or embedded.
        split: the part of the data.
        in_chans: 3 to read images in colour, 1 in grey.
        check_all: decode every image, to find the broken ones.
    """
    from vonenet.data.inspection import inspect_data
    from vonenet.data.inspection_text import report_text

    print(report_text(inspect_data(address, split, in_chans=in_chans, check_all=check_all)))


def train() -> None:
    """Train a network by a recipe; started again, go on where it was stopped."""
    raise AssertionError("main puts in its place the command whose defaults are the recipe's")


COMMANDS: dict[str, Callable[..., None]] = {
    "demo": demo,
    "models": models,
    "predict": predict,
    "convert": convert,
    "train": train,
    "evaluate": evaluate,
    "report": report,
    "physiology": physiology,
    "predictivity": predictivity,
    "data": data,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; a mistake gets one line on stderr and exit status 1 or 2."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if arguments in (["--version"], ["-V"]):
        print(f"vonenet {vonenet.__version__}")
        return
    try:
        commands = COMMANDS
        if arguments[:1] == ["train"]:
            from vonenet.train_command import train_command

            commands = COMMANDS | {"train": train_command(arguments[1:])}
        tyro.extras.subcommand_cli_from_dict(
            commands, prog="vonenet", description=vonenet.__doc__.splitlines()[0], args=arguments
        )
    except Preempted as error:
        _fail(str(error), status=RUN_ME_AGAIN)
    except (VOneNetError, TypeError) as error:
        if not isinstance(error, VOneNetError) and "VOneNet" not in str(error):
            raise
        _fail(str(error))
    except OSError as error:
        _fail(f"{error.strerror or error}: {error.filename}" if error.filename else str(error))
    except KeyboardInterrupt:
        _fail("interrupted", status=130)


def _fail(message: str, status: int = 1) -> None:
    print(f"vonenet: {message}", file=sys.stderr)
    raise SystemExit(status)
