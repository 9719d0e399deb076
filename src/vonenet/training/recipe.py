"""The training recipe: what is trained, on what, how. Dataclasses here, TOML on disk."""

from __future__ import annotations

import dataclasses
import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Self, TypeAlias, get_args, get_origin, get_type_hints

from vonenet.errors import InputError

Setting: TypeAlias = bool | int | float | str
Norm: TypeAlias = Literal["linf", "l2", "l1"]


@dataclass(frozen=True, kw_only=True)
class ModelRecipe:
    """The network: `[model]` of a recipe.

    Attributes:
        name: A registered name (`vonenet models`), such as voneresnet18 or vone_convnext_tiny.
        base: Train the network that the VOneNet is compared with: the same back-end with its own
            first stage.
        settings: Settings of `vonenet.create_model`, such as kernel_size or sf_max. Classes,
            channels and image size come from the data.
        backbone_weights: Weights that the back-end starts from: "timm" or "torchvision" for the
            published ones of that network, or a weights file.
    """

    name: str = "voneresnet50"
    base: bool = False
    settings: dict[str, Setting] = field(default_factory=dict)
    backbone_weights: str | None = None


@dataclass(frozen=True, kw_only=True)
class DataRecipe:
    """The images: `[data]` of a recipe. Where they are is said on the command line.

    Attributes:
        image_size: Height = width that the network sees, pixels.
        in_chans: 3 for colour images, 1 for grey ones.
        train_split: Name of the training part.
        validation_split: Name of the part that is measured after every epoch.
        limit: Train on so many images, class-balanced; all if not given.
        validation_limit: Measure on so many images, class-balanced; all if not given.
        broken: What to do about an image that cannot be read: "stop", or "skip" it (all are read
            once before the training).
        workers: Processes that read and augment; 0 does it in the training process.
    """

    image_size: int = 224
    in_chans: int = 3
    train_split: str = "train"
    validation_split: str = "test"
    limit: int | None = None
    validation_limit: int | None = None
    broken: Literal["stop", "skip"] = "stop"
    workers: int = 0


@dataclass(frozen=True, kw_only=True)
class OptimizationRecipe:
    """The descent: `[optimization]` of a recipe.

    Attributes:
        epochs: Passes over the data.
        batch_size: Images per step, over all processes.
        micro_batch_size: Images per forward pass; divides `batch_size`. Batch norm, noise, dropout
            and mixup are each micro-batch's own, so a run is the same on one process as on as many
            as there are micro-batches. The whole batch if not given.
        optimizer: A name of timm's `create_optimizer_v2`: sgd (without Nesterov's step), nesterov,
            adamw, lamb, ...
        learning_rate: Peak learning rate.
        momentum: Of SGD.
        weight_decay: On every trained parameter.
        decay_norms_and_biases: Whether weight decay is for vectors and scalars too, as in the
            paper's recipe.
        schedule: "cosine" falls to 0; "onecycle" rises over 30 % of the steps and falls; "step"
            drops tenfold every `step_epochs`; "constant".
        step_epochs: Epochs between drops of the "step" schedule.
        warmup_epochs: Epochs of linear rise at the start; not of "onecycle", which has its own.
        layer_decay: Factor of the learning rate from each layer to the one before it; 1 for one
            learning rate. For fine-tuning.
        frozen: Name patterns (shell style) of what stays as it is, such as "model.layer1.*".
        label_smoothing: Share of the target spread over all classes.
        clip_norm: Largest L2 norm of the gradient; larger ones are scaled down. Not clipped if not
            given.
        ema_decay: Decay of the weights' exponential moving average per step, which is then what is
            validated and kept; none if not given.
        precision: "float32", "bfloat16" or "float16" (automatic mixed precision).
        channels_last: Memory format of networks and images; often faster.
        decision_samples: Noise draws that a validation decision is averaged over.
        seed: Of weights, order, augmentation, dropout and noise.
    """

    epochs: int = 70
    batch_size: int = 256
    micro_batch_size: int | None = None
    optimizer: str = "sgd"
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    decay_norms_and_biases: bool = True
    schedule: Literal["step", "cosine", "onecycle", "constant"] = "step"
    step_epochs: int = 20
    warmup_epochs: float = 0.0
    layer_decay: float = 1.0
    frozen: tuple[str, ...] = ()
    label_smoothing: float = 0.0
    clip_norm: float | None = None
    ema_decay: float | None = None
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    channels_last: bool = False
    decision_samples: int = 1
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class AugmentationRecipe:
    """What is done to training images: `[augmentation]` of a recipe.

    Attributes:
        crop: "random_resized" (a part of random size and shape), "shift" (moved by up to
            `shift_px`, zeros entering) or "centre" (as in validation).
        smallest_area: Of the random part, as a share of the image.
        shift_px: Most pixels that "shift" moves an image each way.
        horizontal_flip: Mirror every other image.
        rand_augment: timm's description of RandAugment or AutoAugment, such as "rand-m9-mstd0.5".
        color_jitter: Strength of random brightness, contrast and saturation.
        random_erasing: Share of images of which a random rectangle is blanked with noise.
        mixup: Alpha of mixup; 0 for none.
        cutmix: Alpha of CutMix; 0 for none.
        gaussian_noise: Largest standard deviation of added Gaussian noise, in pixels of [0, 1];
            that of each image is drawn uniformly from 0 to it.
        corruptions: Names of common corruptions, one of which is drawn for an image.
        corruption_share: Share of the images that are corrupted, at a random severity.
    """

    crop: Literal["random_resized", "shift", "centre"] = "random_resized"
    smallest_area: float = 0.08
    shift_px: int = 4
    horizontal_flip: bool = True
    rand_augment: str | None = None
    color_jitter: float = 0.0
    random_erasing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    gaussian_noise: float = 0.0
    corruptions: tuple[str, ...] = ()
    corruption_share: float = 0.0


@dataclass(frozen=True, kw_only=True)
class AdversarialRecipe:
    """Training on attacked images (Madry et al. 2018): `[adversarial]` of a recipe.

    Attributes:
        epsilon: Radius in pixel units; 0 trains on the images themselves.
        norm: Of the radius.
        steps: PGD steps per batch.
        step_size: Length of a step; 2.5 epsilon / steps if not given.
        gradient_samples: Noise draws that each gradient is averaged over.
        random_start: Start at a random point of the ball.
    """

    epsilon: float = 0.0
    norm: Norm = "linf"
    steps: int = 3
    step_size: float | None = None
    gradient_samples: int = 1
    random_start: bool = True


@dataclass(frozen=True, kw_only=True)
class TrainingRecipe:
    """A recipe: five tables, each a dataclass with its own fields.

    Attributes:
        model: The network.
        data: The images.
        optimization: The descent.
        augmentation: What is done to training images.
        adversarial: Whether and how training images are attacked.

    Raises:
        InputError: Naming the first field whose value is impossible.
    """

    model: ModelRecipe = ModelRecipe()
    data: DataRecipe = DataRecipe()
    optimization: OptimizationRecipe = OptimizationRecipe()
    augmentation: AugmentationRecipe = AugmentationRecipe()
    adversarial: AdversarialRecipe = AdversarialRecipe()

    def __post_init__(self) -> None:
        for table in dataclasses.fields(self):
            values = getattr(self, table.name)
            for name, (allowed, possible) in LIMITS[table.name].items():
                value = getattr(values, name)
                if value is not None and not possible(value):
                    raise _impossible(f"{table.name}.{name}", value, allowed)
        descent = self.optimization
        if descent.micro_batch_size and descent.batch_size % descent.micro_batch_size:
            raise _impossible(
                "optimization.micro_batch_size",
                descent.micro_batch_size,
                f"a divisor of batch_size={descent.batch_size}",
            )
        if not descent.warmup_epochs < descent.epochs:
            allowed = f"below epochs={descent.epochs}"
            raise _impossible("optimization.warmup_epochs", descent.warmup_epochs, allowed)
        if descent.schedule == "onecycle" and descent.warmup_epochs:
            allowed = "0 with schedule 'onecycle'"
            raise _impossible("optimization.warmup_epochs", descent.warmup_epochs, allowed)

    @classmethod
    def read(cls, path: Path | str) -> Self:
        """Reads a recipe from TOML; fields that are not there keep their defaults.

        Raises:
            InputError: If the file cannot be read, or a field is unknown, of the wrong type or
                impossible.
        """
        try:
            tables = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"recipe {path} cannot be read: {error}") from error
        try:
            return cls.from_tables(tables)
        except InputError as error:
            raise InputError(f"recipe {path}: {error}") from None

    @classmethod
    def from_tables(cls, tables: Mapping[str, Any]) -> Self:
        """The recipe of such tables as `tables` gives.

        Raises:
            InputError: As `read`.
        """
        types = get_type_hints(cls)
        for name, table in tables.items():
            if name not in types:
                raise InputError(f"no table [{name}]; allowed: {', '.join(types)}")
            if not isinstance(table, Mapping):
                raise _impossible(name, table, f"a table [{name}]")
        return cls(**{name: _table(types[name], name, table) for name, table in tables.items()})

    def tables(self) -> dict[str, dict[str, Any]]:
        """Every field that is set, table by table."""
        return {
            name: {key: value for key, value in table.items() if value is not None}
            for name, table in dataclasses.asdict(self).items()
        }

    def write(self, path: Path | str) -> None:
        """Writes every field that is set as TOML."""
        Path(path).write_text(self.as_toml(), encoding="utf-8")

    def as_toml(self) -> str:
        """Every field that is set as TOML."""
        return "\n".join(
            f"[{name}]\n" + "".join(f"{key} = {_toml(value)}\n" for key, value in table.items())
            for name, table in self.tables().items()
        )


def _is_count(value: int) -> bool:
    return value >= 1


def _is_amount(value: float) -> bool:
    return 0 <= value < math.inf


def _is_positive(value: float) -> bool:
    return 0 < value < math.inf


def _is_share(value: float) -> bool:
    return 0 <= value <= 1


def _is_fraction(value: float) -> bool:
    return 0 <= value < 1


COUNT = ("1 or more", _is_count)
AMOUNT = ("0 or more", _is_amount)
POSITIVE = ("above 0", _is_positive)
SHARE = ("0 to 1", _is_share)
FRACTION = ("0 or more, below 1", _is_fraction)

# table -> field -> what is allowed, in words and as a test; types are checked apart
LIMITS: Mapping[str, Mapping[str, tuple[str, Any]]] = {
    "model": {},
    "data": {
        "image_size": COUNT,
        "in_chans": ("1 (grey) or 3 (colour)", lambda value: value in (1, 3)),
        "limit": COUNT,
        "validation_limit": COUNT,
        "workers": AMOUNT,
    },
    "optimization": {
        "epochs": COUNT,
        "batch_size": COUNT,
        "micro_batch_size": COUNT,
        "learning_rate": POSITIVE,
        "momentum": FRACTION,
        "weight_decay": AMOUNT,
        "step_epochs": COUNT,
        "warmup_epochs": AMOUNT,
        "layer_decay": ("above 0, at most 1", lambda value: 0 < value <= 1),
        "label_smoothing": FRACTION,
        "clip_norm": POSITIVE,
        "ema_decay": FRACTION,
        "decision_samples": COUNT,
        "seed": AMOUNT,
    },
    "augmentation": {
        "smallest_area": ("above 0, at most 1", lambda value: 0 < value <= 1),
        "shift_px": AMOUNT,
        "color_jitter": AMOUNT,
        "random_erasing": SHARE,
        "mixup": AMOUNT,
        "cutmix": AMOUNT,
        "gaussian_noise": SHARE,
        "corruption_share": SHARE,
    },
    "adversarial": {
        "epsilon": AMOUNT,
        "steps": COUNT,
        "step_size": POSITIVE,
        "gradient_samples": COUNT,
    },
}


def _impossible(name: str, value: object, allowed: str) -> InputError:
    return InputError(f"{name}={value!r} is impossible; allowed: {allowed}")


def _table(kind: type[Any], table: str, values: Mapping[str, Any]) -> Any:
    """One of the recipe's dataclasses from a table of TOML."""
    types = get_type_hints(kind)
    for name in values:
        if name not in types:
            raise InputError(f"[{table}] has no field {name!r}; allowed: {', '.join(types)}")
    return kind(**{name: _value(f"{table}.{name}", values[name], types[name]) for name in values})


def _value(name: str, value: Any, wanted: Any) -> Any:
    """A value of TOML as a field's type wants it; a whole number serves as a float."""
    kinds = get_args(wanted) if get_origin(wanted) is UnionType else (wanted,)
    for kind in kinds:
        origin = get_origin(kind)
        if origin is Literal:
            if value in get_args(kind):
                return value
        elif origin is tuple:
            if isinstance(value, list) and all(isinstance(each, str) for each in value):
                return tuple(value)
        elif origin is dict:
            if isinstance(value, dict) and all(isinstance(v, Setting) for v in value.values()):
                return dict(value)
        elif type(value) is kind:
            return value
        elif kind is float and type(value) is int:
            return float(value)
    raise _impossible(name, value, " or ".join(_words(kind) for kind in kinds if kind != NoneType))


def _words(kind: Any) -> str:
    """What a type allows."""
    match get_origin(kind):
        case None:
            names = {"int": "a whole number", "float": "a number", "bool": "true or false"}
            return names.get(kind.__name__, "a text")
        case origin if origin is Literal:
            return ", ".join(repr(value) for value in get_args(kind))
        case origin if origin is tuple:
            return "a list of texts"
        case _:
            return "a table of numbers, texts, true or false"


def _toml(value: Any) -> str:
    """A value as TOML spells it: as JSON does, but for tables."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(each)}" for key, each in value.items()) + "}"
    return json.dumps(value)
