"""`vonenet evaluate`: accuracy of models under corruptions and attacks."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

from vonenet.errors import InputError

if TYPE_CHECKING:
    from vonenet.data import ImageDataset, PixelModel
    from vonenet.robustness import Condition
    from vonenet.robustness.evaluate import Checked
    from vonenet.zoo.loading import LoadedModel

SEVERITIES = (1, 2, 3, 4, 5)
MIDDLE_SEVERITY = 3
# A type of each category of ImageNet-C, at the middle severity
QUICK_CORRUPTIONS = ("gaussian_noise", "defocus_blur", "brightness", "jpeg_compression")
AUDIT_IMAGES = 50
# Of a light audit: as the attacks of the quick suite
LIGHT_STEPS, LIGHT_SAMPLES = 10, 4
VALIDATION = "validation"  # the split of a training's own validation images
# Of the contact sheet. Attacks are drawn with fewer gradients than they are measured with: the
# picture is the same.
TILE_PX, LABEL_PX, GAP_PX, COLUMNS = 160, 16, 8, 6
SHOWN_STEPS, SHOWN_SAMPLES = 10, 2


@dataclass(frozen=True)
class Evaluate:
    """Measure how robust models are: clean, corrupted and attacked images; then audit the attacks.

    Rows are written as they come. Started again, the command goes on where it was stopped; under
    torchrun all processes share the work and the rows stay the same.

    Attributes:
        models: names with published weights, weights files, folders of trainings, timm/NAME,
            module:function or file.py:function.
        data: embedded, a folder of images by class, or a folder of parquet files.
        suite: quick (minutes), paper (15 corruptions and 6 attacks), corruptions (all 19), attacks
            (PGD at 12 radii, then stronger ones: APGD, Square, sparse L1 steps), or full.
        limit: measure so many images, class-balanced; all if not given.
        attack_limit: attack so many images, class-balanced; as many as limit if not given.
        out: folder for results.jsonl, audit.jsonl and report.html.
        split: the part of the data; if not given, test or val, or all of data of one part. Of a
            training, validation is the part that it was validated on, such as a share held out.
        image_size: height and width in pixels; what each model was made for if not given.
        batch_size: images at a time; another number draws other noise, so rows are measured anew.
        decision_samples: noise draws that a stochastic model's decision is averaged over.
        scale_radii: scale the attack radii, which were published for 224 px, to the image size.
        audit: look for signs that the attacks fail.
        audit_depth: light (of 50 images, some 600 passes each for a model with noise, 150 without),
            full (attacks in other ways too: some 11,000, or 900), or auto: light for quick, full
            for other suites.
        seed: seed of noise and corruptions.
        device: where to compute; auto takes a GPU if there is one.
        quiet: show neither bars nor what was matched.
    """

    models: Annotated[Positional[tuple[str, ...]], arg(metavar="MODEL...")]
    data: str
    suite: Literal["quick", "paper", "corruptions", "attacks", "full"] = "quick"
    limit: int | None = None
    attack_limit: int | None = None
    out: Path = Path("evaluation")
    split: str | None = None
    image_size: int | None = None
    batch_size: int = 32
    decision_samples: int = 1
    scale_radii: bool = True
    audit: bool = True
    audit_depth: Literal["auto", "light", "full"] = "auto"
    seed: int = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    quiet: bool = False

    def run(self) -> None:
        """Measure; the first process writes the page and prints its tables."""
        from vonenet.report.evaluation import write_evaluation_report

        try:
            is_first = run_evaluation(self, progress=not self.quiet)
        except KeyboardInterrupt:
            saved = f"interrupted; what is measured is saved in {self.out}"
            raise KeyboardInterrupt(f"{saved}, and the same command goes on from there") from None
        if is_first:
            print(write_evaluation_report([self.out], self.out / "report.html"))
            print(f"\nreport: {(self.out / 'report.html').resolve()}")


def run_evaluation(
    config: Evaluate,
    *,
    conditions: Sequence[Condition] | None = None,
    experiment: str = "evaluate",
    progress: bool = True,
) -> bool:
    """Measure models under a suite, or other conditions; return whether this process is the first.

    Raises:
        InputError: A model, the data or a setting cannot be used.
    """
    import torch

    from vonenet.cli.v1_figures import write_v1_figures
    from vonenet.data import preprocessing_text
    from vonenet.data.pixels import chosen_device
    from vonenet.model import VOneNet
    from vonenet.results import EXAMPLES, RESULTS
    from vonenet.robustness import Attack, evaluate, rank_and_size
    from vonenet.robustness.evaluate import check_model
    from vonenet.zoo.loading import load_model

    if not config.models:
        raise InputError("no model was given; give one or more names, files or module:function")
    device = chosen_device(config.device)
    if device.type == "cuda":  # of several GPUs the one that `torchrun` means this process to use
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    first: tuple[LoadedModel, Checked] | None = None
    before = _measured_bytes(config.out)
    with _process_group():
        is_first_process = rank_and_size()[0] == 0
        for address in config.models:
            loaded = load_model(address)
            loaded.model.to(device)
            dataset = open_images(config, address, loaded)
            checked = check_model(loaded.model, dataset, config.seed)
            matched, how = dataset.matched(loaded.model.classes, checked.outputs)
            if is_first_process and progress:
                how += f"; {preprocessing_text(loaded.model, dataset.size)}"
                print(f"{loaded.name} on {dataset.name}: {how}", file=sys.stderr)
            scaled_to = dataset.size if config.scale_radii else None
            suite = conditions or conditions_of(config.suite, scaled_to)
            for attacked in (False, True):
                part = [each for each in suite if isinstance(each, Attack) == attacked]
                if part:
                    evaluate(
                        loaded.model,
                        dataset,
                        part,
                        experiment=experiment,
                        model_name=loaded.name,
                        batch_size=config.batch_size,
                        limit=(config.attack_limit if attacked else None) or config.limit,
                        seed=config.seed,
                        decision_samples=config.decision_samples,
                        out_path=config.out / RESULTS,
                        checked=checked,
                        progress=progress,
                    )
            if is_first_process:
                if config.audit and config.suite != "corruptions":
                    _audit(loaded, checked, first, dataset, config, progress)
                examples = config.out / EXAMPLES
                if first is None and not examples.is_file():
                    shown = shown_conditions(suite)
                    write_contact_sheet(loaded.model, matched, shown, examples, config.seed)
                if isinstance(loaded.model.model, VOneNet):
                    write_v1_figures(loaded.model.model.vone_block, config.out)
            first = first or (loaded, checked)
        if is_first_process and progress and _measured_bytes(config.out) == before:
            said = f"nothing was left to measure: all rows are in {config.out / RESULTS}"
            print(said, file=sys.stderr)
        return is_first_process


def _measured_bytes(out: Path) -> list[int]:
    """Return the sizes of the files of rows, which grow with every row."""
    from vonenet.results import AUDIT, RESULTS

    paths = [out / RESULTS, out / AUDIT]
    return [path.stat().st_size if path.is_file() else 0 for path in paths]


def open_images(config: Evaluate, address: str, loaded: LoadedModel) -> ImageDataset:
    """Open the part of the data that a model is measured on, at the size that it takes.

    Raises:
        InputError: There is no such part; or none was asked for, the data have but one, and the
            model comes from a training that held a share of one part out.
    """
    from vonenet.cli.train import open_validation
    from vonenet.data import open_dataset
    from vonenet.data.dataset import share_of
    from vonenet.data.shards import ALL
    from vonenet.data.sources import TEST_SPLIT
    from vonenet.results import RECIPE
    from vonenet.training import TrainingRecipe

    shape: dict[str, Any] = {"image_size": config.image_size or loaded.image_size}
    shape["in_chans"] = loaded.in_chans
    # Models that come from no training are measured beside the first that does
    trainings = [each for each in map(training_of, (address, *config.models)) if each]
    if config.split == VALIDATION and trainings:
        return open_validation(trainings[0], config.data, **shape)
    dataset = open_dataset(config.data, config.split or TEST_SPLIT, **shape)
    run = training_of(address) if dataset.source.splits == (ALL,) else None
    recipe = run and TrainingRecipe.read(run / RECIPE)
    if config.split is None and recipe and share_of(recipe.data.validation_split):
        raise InputError(
            f"{config.data} has one part, and {address} may have been trained on most of it; give "
            f"--split {VALIDATION} for the images that were held out, or --split {ALL}"
        )
    return dataset


def training_of(address: str) -> Path | None:
    """Return the folder of the training that a model comes from; None if it comes from none."""
    from vonenet.results import RECIPE

    path = Path(address)
    return next((each for each in (path, path.parent) if (each / RECIPE).is_file()), None)


def conditions_of(suite: str, image_size: tuple[int, int] | None = None) -> list[Condition]:
    """Return a suite's conditions, clean images first, radii scaled to an image size if given."""
    from vonenet.robustness import CORRUPTIONS, Clean, Corruption, attack_suite

    conditions: list[Condition] = [Clean()]
    if suite == "quick":
        conditions += [Corruption(name, MIDDLE_SEVERITY) for name in QUICK_CORRUPTIONS]
    if suite in ("paper", "corruptions", "full"):
        names = [n for n, c in CORRUPTIONS.items() if suite != "paper" or c.category != "extra"]
        conditions += [Corruption(name, severity) for name in names for severity in SEVERITIES]
    if suite in ("quick", "paper"):
        conditions += attack_suite(suite, image_size)
    if suite in ("attacks", "full"):
        conditions += attack_suite("evnets", image_size) + attack_suite("stronger", image_size)
    return conditions


def shown_conditions(conditions: Sequence[Condition]) -> list[Condition]:
    """Return each corruption at the middle severity, clean, and each norm's largest radius."""
    from vonenet.robustness import Attack, Corruption

    radii: dict[str, float] = {}
    shown = []
    for condition in conditions:
        if isinstance(condition, Attack):
            radii[condition.norm] = max(condition.epsilon, radii.get(condition.norm, 0.0))
        elif not isinstance(condition, Corruption) or condition.severity == MIDDLE_SEVERITY:
            shown.append(condition)
    return shown + [Attack(norm, e, SHOWN_STEPS, SHOWN_SAMPLES) for norm, e in radii.items()]


def write_contact_sheet(
    model: PixelModel, dataset: ImageDataset, conditions: Sequence[Condition], path: Path, seed: int
) -> None:
    """Draw the first image under each condition, one labelled tile for each, as a PNG file.

    Attacks are made against the model, which is in eval mode. Beside each attacked image stands
    what the attack changed, amplified, around grey. Between the tiles the picture is transparent,
    for light and dark pages.
    """
    import torch
    from matplotlib.font_manager import findfont
    from PIL import Image, ImageDraw, ImageFont
    from torchvision.transforms.functional import to_pil_image

    from vonenet.data.seeding import device_of, seeded
    from vonenet.files import replace_whole
    from vonenet.report.plots import ON_ANY_PAGE
    from vonenet.report.tables import Setting

    pixels, label = dataset[0]
    device = device_of(model)
    batch, labels = pixels[None].to(device), torch.tensor([label], device=device)
    images, attacks = [], []  # tiles with their names
    for condition in conditions:
        with seeded(seed, device):
            found = condition.perturb(model, batch, labels, seed=seed, first_index=0)[0]
        shown = found.detach().cpu()
        setting = Setting.of(condition.columns((pixels.shape[-2], pixels.shape[-1])))
        if setting.kind == "attack":
            change = shown - pixels
            factor = max(1, int(0.5 / max(float(change.abs().max()), 1e-3)))
            attacks += [(setting.plain_pgd.label, shown)]
            attacks += [(f"its change \N{MULTIPLICATION SIGN} {factor}", 0.5 + factor * change)]
        else:
            images.append((setting.label.replace("severity ", ""), shown))
    lines = [
        each[i : i + COLUMNS] for each in (images, attacks) for i in range(0, len(each), COLUMNS)
    ]
    step_x, step_y = TILE_PX + GAP_PX, TILE_PX + LABEL_PX + GAP_PX
    size = (max(map(len, lines)) * step_x - GAP_PX, len(lines) * step_y - GAP_PX)
    sheet = Image.new("RGBA", size)
    drawing = ImageDraw.Draw(sheet)
    font = ImageFont.truetype(findfont("DejaVu Sans"), 12)
    places = [(c * step_x, r * step_y) for r, line in enumerate(lines) for c in range(len(line))]
    for (left, top), (name, shown) in zip(places, chain.from_iterable(lines), strict=True):
        drawing.text((left, top), name, fill=ON_ANY_PAGE, font=font)
        tile = to_pil_image((255 * shown.clamp(0, 1)).round().byte().expand(3, -1, -1))
        # Small images keep their pixels visible
        small = max(tile.size) < TILE_PX
        resampling = Image.Resampling.NEAREST if small else Image.Resampling.LANCZOS
        sheet.paste(tile.resize((TILE_PX, TILE_PX), resampling), (left, top + LABEL_PX))
    replace_whole(path, lambda unfinished: sheet.save(unfinished, format="PNG"))


def _audit(
    loaded: LoadedModel,
    checked: Checked,
    first: tuple[LoadedModel, Checked] | None,
    dataset: ImageDataset,
    config: Evaluate,
    progress: bool,
) -> None:
    """Audit a model; the first model's adversarial images are tried on those that take the same."""
    from vonenet.results import AUDIT
    from vonenet.robustness import audit
    from vonenet.v1.noise import no_noise

    light = config.audit_depth == "light"
    if config.audit_depth == "auto":
        light = config.suite == "quick"
    cost: dict[str, Any] = {}  # else as `audit` has it
    if light:
        cost = {"steps": LIGHT_STEPS, "gradient_samples": LIGHT_SAMPLES, "thorough": False}
    base: dict[str, Any] = {}
    if first is not None:
        other, known = first
        if (other.image_size, other.in_chans) == (loaded.image_size, loaded.in_chans):
            base = {"base": other.model, "base_hash": known.model_hash}
    audit(
        loaded.model,
        dataset,
        model_name=loaded.name,
        images=min(AUDIT_IMAGES, config.limit or AUDIT_IMAGES),
        noise_off=no_noise,
        **base,
        **cost,
        batch_size=config.batch_size,
        seed=config.seed,
        out_path=config.out / AUDIT,
        checked=checked,
        progress=progress,
    )


@contextmanager
def _process_group() -> Iterator[None]:
    """Join the other processes if `torchrun` started this one; leave them together.

    Always by gloo, which joins processes of any devices: they exchange a few numbers. A process
    that dies is noticed by `torchrun`, which ends the others.
    """
    from torch import distributed

    from vonenet.training.distributed import PATIENCE

    if "RANK" not in os.environ or distributed.is_initialized():
        yield
        return
    distributed.init_process_group("gloo", timeout=PATIENCE)
    try:
        yield
        distributed.barrier()
    finally:
        distributed.destroy_process_group()
