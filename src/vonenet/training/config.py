"""The training recipe: which network is trained, on which images, and how.

A recipe is a TOML file. Each of its tables is a class here, and each key of a table is a field. The
type of a field says what is allowed; the text below it is shown by `vonenet train --help`.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import tomli_w
from pydantic import (
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic.dataclasses import dataclass
from pydantic_core import ErrorDetails

from vonenet.errors import InputError

# Strict: a text or true and false are no numbers. A whole number serves as a float. The upper
# limits are beyond any use, and below where torch or the memory of a machine would give up.
Whole = Annotated[StrictInt, Field(ge=0, le=10**9)]
Count = Annotated[StrictInt, Field(ge=1, le=10**9)]
Pixels = Annotated[StrictInt, Field(ge=0, le=8192)]
Processes = Annotated[StrictInt, Field(ge=0, le=1024)]
Seed = Annotated[StrictInt, Field(ge=0, lt=2**63)]
Amount = Annotated[StrictFloat, Field(ge=0, le=1e9, allow_inf_nan=False)]
Positive = Annotated[StrictFloat, Field(gt=0, le=1e9, allow_inf_nan=False)]
Share = Annotated[StrictFloat, Field(ge=0, le=1)]
PositiveShare = Annotated[StrictFloat, Field(gt=0, le=1)]
ShareBelowOne = Annotated[StrictFloat, Field(ge=0, lt=1)]
Finite = Annotated[StrictFloat, Field(allow_inf_nan=False)]
Setting = StrictBool | StrictInt | Finite | str
LONGEST_SHOWN = 80  # characters of an impossible value

CONFIG = ConfigDict(extra="forbid", use_attribute_docstrings=True)


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class ModelRecipe:
    """The network: the table `[model]` of a recipe."""

    name: str = "voneresnet50"
    """A registered name (`vonenet models`), such as voneresnet18 or vone_convnext_tiny."""
    base: StrictBool = False
    """Train the VOneNet's base network: the same back-end with its own first stage."""
    stem_noise: Amount = 0.0
    """Of the base network: standard deviation of Gaussian noise on its first stage's outputs."""
    settings: dict[str, Setting] = Field(default_factory=dict)
    """Other settings of `vonenet.create_model`, such as kernel_size or sf_max."""
    backbone_weights: str | None = None
    """What the back-end starts from: "timm" or "torchvision" (published weights), or a file."""
    start_from: str | None = None
    """What the whole network starts from: the folder of a finished run of the same network and
    classes, or its weights file."""

    @model_validator(mode="after")
    def _fields_fit_each_other(self) -> Self:
        if self.stem_noise and not self.base:
            raise ValueError(
                f"stem_noise={self.stem_noise:g} is impossible; allowed: 0 unless base is true"
            )
        return self


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class DataRecipe:
    """The images: the table `[data]` of a recipe. The command line says where they are."""

    image_size: Annotated[Pixels, Field(ge=1)] = 224
    """Height = width that the network sees, pixels."""
    in_chans: Literal[1, 3] = 3
    """3 for colour images, 1 for grey ones."""
    train_split: str = "train"
    """Name of the training part."""
    validation_split: str = "test"
    """Name of the part measured after every epoch; or a share held out of training, as 10%."""
    limit: Count | None = None
    """Train on so many images, class-balanced; all if not given."""
    validation_limit: Count | None = None
    """Measure on so many images, class-balanced; all if not given."""
    broken: Literal["stop", "skip"] = "stop"
    """Whether an image that cannot be read stops the run; "skip" reads all once to find them."""
    workers: Processes = 0
    """Processes that read and augment; 0 does it in the training process."""


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class OptimizationRecipe:
    """The optimization: the table `[optimization]` of a recipe."""

    epochs: Count = 70
    """Passes over the data."""
    batch_size: Count = 256
    """Images per step, over all processes."""
    micro_batch_size: Count | None = None
    """Images per forward pass; divides batch_size. Batch statistics, noise and mixup belong to the
    micro-batch, so that any number of processes gives the same. If not given: one per process."""
    optimizer: str = "sgd"
    """sgd (without Nesterov's step), nesterov, adamw, lamb or another name of timm's."""
    learning_rate: Positive = 0.1
    """Largest learning rate of the schedule."""
    momentum: ShareBelowOne = 0.9
    """Momentum of SGD."""
    weight_decay: Amount = 1e-4
    """Weight decay of every trained parameter."""
    decay_norms_and_biases: StrictBool = True
    """Whether weight decay is for vectors and scalars too, as in the paper's recipe."""
    schedule: Literal["step", "cosine", "onecycle", "constant"] = "step"
    """"cosine" and "onecycle" (which first rises over 30 %) fall to 0, "step" drops tenfold."""
    step_epochs: Count = 20
    """Epochs between drops of the "step" schedule."""
    warmup_epochs: Amount = 0.0
    """Epochs of linear rise at the start; 0 with "onecycle", which has its own rise."""
    layer_decay: PositiveShare = 1.0
    """For fine-tuning: factor of the learning rate from each layer to the one before it."""
    frozen: tuple[str, ...] = ()
    """Name patterns (shell style) of weights that are not trained, such as "model.layer1.*"."""
    distribution_penalty: Amount = 0.0
    """For trainable V1 filters: weight of their distance to the measured distribution."""
    label_smoothing: ShareBelowOne = 0.0
    """Share of the target that is spread over all classes."""
    clip_norm: Positive | None = None
    """Largest L2 norm of the gradient; a larger gradient is scaled down. No limit if not given."""
    ema_decay: ShareBelowOne | None = None
    """Decay per step of the weights' moving average, which is validated and kept, if given."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Precision of forward and backward passes (automatic mixed precision)."""
    channels_last: StrictBool = False
    """Memory format of network and images; often faster."""
    decision_samples: Count = 1
    """Noise samples that a validation decision is averaged over."""
    seed: Seed = 0
    """Seed of weights, order, augmentation, dropout and noise."""

    @model_validator(mode="after")
    def _fields_fit_each_other(self) -> Self:
        micro, warmup = self.micro_batch_size, self.warmup_epochs
        if micro and self.batch_size % micro:
            raise ValueError(
                f"micro_batch_size={micro} is impossible; "
                f"allowed: a divisor of batch_size={self.batch_size}"
            )
        if warmup >= self.epochs:
            raise ValueError(
                f"warmup_epochs={warmup} is impossible; allowed: below epochs={self.epochs}"
            )
        if warmup and self.schedule == "onecycle":
            raise ValueError(
                f"warmup_epochs={warmup} is impossible; allowed: 0 with schedule 'onecycle'"
            )
        return self


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class AugmentationRecipe:
    """The augmentation of training images: the table `[augmentation]` of a recipe."""

    crop: Literal["random_resized", "shift", "centre"] = "random_resized"
    """"random_resized": a random part; "shift": moved, zeros enter; "centre": as in validation."""
    smallest_area: PositiveShare = 0.08
    """Smallest area of the random part, as a share of the image."""
    shift_px: Pixels = 4
    """Most pixels that "shift" moves an image each way."""
    horizontal_flip: StrictBool = True
    """Mirror each image with a probability of one half."""
    rand_augment: str | None = None
    """timm's description of RandAugment, AutoAugment or AugMix, such as "rand-m9-mstd0.5"."""
    color_jitter: Amount = 0.0
    """Strength of random brightness, contrast and saturation."""
    random_erasing: Share = 0.0
    """Share of images of which a random rectangle is replaced by noise."""
    mixup: Amount = 0.0
    """Alpha of mixup; 0 for none."""
    cutmix: Amount = 0.0
    """Alpha of CutMix; 0 for none."""
    gaussian_noise: Share = 0.0
    """Largest standard deviation of added noise, pixels of [0, 1]; each image's is random."""
    corruptions: tuple[str, ...] = ()
    """Names of common corruptions, one of which is drawn for each corrupted image."""
    corruption_share: Share = 0.0
    """Share of the images that are corrupted, at a random severity."""


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class AdversarialRecipe:
    """Training on attacked images (Madry et al. 2018): the table `[adversarial]` of a recipe."""

    epsilon: Amount = 0.0
    """Radius in pixels of [0, 1]; 0 trains on the images themselves."""
    norm: Literal["linf", "l2", "l1"] = "linf"
    """Norm of the radius."""
    steps: Count = 3
    """PGD steps per batch."""
    step_size: Positive | None = None
    """Length of a step; 2.5 epsilon / steps if not given."""
    gradient_samples: Count = 1
    """Noise samples that each gradient is averaged over."""
    random_start: StrictBool = True
    """Start at a random point of the ball."""


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class TrainingRecipe:
    """A recipe: five tables."""

    model: ModelRecipe = ModelRecipe()
    """The network. These options override the recipe's, as do all that follow."""
    data: DataRecipe = DataRecipe()
    """The images."""
    optimization: OptimizationRecipe = OptimizationRecipe()
    """The optimization."""
    augmentation: AugmentationRecipe = AugmentationRecipe()
    """What is done to training images."""
    adversarial: AdversarialRecipe = AdversarialRecipe()
    """Whether and how training images are attacked."""

    @model_validator(mode="after")
    def _can_be_written(self) -> Self:
        try:
            self.as_toml().encode()
        except UnicodeEncodeError as error:
            line = error.object[error.object.rfind("\n", 0, error.start) + 1 : error.end]
            raise ValueError(f"{line!r} ends in half a character; allowed: Unicode") from None
        return self

    @classmethod
    def read(cls, path: Path | str) -> Self:
        """Read a recipe from TOML; fields that are not in the file keep their defaults.

        Raises:
            InputError: The file cannot be read, or a field is unknown or has an impossible value.
        """
        try:
            tables = tomllib.loads(Path(path).read_text(encoding="utf-8-sig"))
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(f"recipe {path} cannot be read: {error}") from error
        try:
            return cls.from_tables(tables)
        except InputError as error:
            raise InputError(f"recipe {path}: {error}") from None

    @classmethod
    def from_tables(cls, tables: Mapping[str, Any]) -> Self:
        """Return the recipe of such tables as TOML holds; raises as `read` does."""
        try:
            return TypeAdapter(cls).validate_python(tables)
        except ValidationError as error:
            raise InputError(_one_line(error)) from None

    def as_toml(self) -> str:
        """Return every field that is set as TOML."""
        tables = dataclasses.asdict(self)
        for name, table in tables.items():
            tables[name] = {key: value for key, value in table.items() if value is not None}
        return tomli_w.dumps(tables)


def _one_line(error: ValidationError) -> str:
    """Return pydantic's first error in one line: the field, its value and what is allowed."""
    text = _first_of(error.errors())
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def _first_of(found: Sequence[ErrorDetails]) -> str:
    first, place = found[0], found[0]["loc"][:3]  # behind it: the kinds that a union tries
    name = ".".join(map(str, place))
    if first["type"] == "value_error":
        return f"{name}.{first['ctx']['error']}".lstrip(".")
    if first["type"] == "unexpected_keyword_argument":
        tables = dataclasses.asdict(TrainingRecipe())
        if len(place) == 1:
            return f"no table [{name}]; allowed: {', '.join(tables)}"
        fields = ", ".join(tables[str(place[0])])
        return f"[{place[0]}] has no field {place[1]!r}; allowed: {fields}"
    allowed = dict.fromkeys(
        each["msg"].removeprefix("Input should be ").replace("valid tuple", "list")
        for each in found
        if each["loc"][:3] == place
    )
    value = repr(first["input"])
    shown = value if len(value) <= LONGEST_SHOWN else f"{value[:LONGEST_SHOWN]}..."
    return f"{name}={shown} is impossible; allowed: {' or '.join(allowed)}"
