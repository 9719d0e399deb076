"""AutoAttack, from the package `pyautoattack`: APGD, FAB and Square in its standard order.

After Croce & Hein 2020 (arXiv:2003.01690). Stochastic models get its `rand` version: APGD with
cross-entropy and DLR, 20 draws per gradient. Its own success test looks at one draw; what counts
here is the decision that is averaged afterwards over the images it returns.
"""

from __future__ import annotations

from importlib import import_module

import torch
from torch import Tensor, nn

from vonenet.data.dataset import check_pixels
from vonenet.data.seeding import seeded
from vonenet.errors import InputError
from vonenet.robustness.norms import Region

NORM_NAMES = {"linf": "Linf", "l2": "L2", "l1": "L1"}
# Wrong classes that the standard version's targeted attacks try, by norm.
TARGET_CLASSES = {"linf": 9, "l2": 9, "l1": 5}
FEWEST_CLASSES = {"rand": 3, "standard": 4}


def autoattack(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    norm: str,
    epsilon: float,
    stochastic: bool,
    seed: int = 0,
) -> Tensor:
    """Attack by AutoAttack.

    Args:
        model: Takes pixels in [0, 1]; in eval mode.
        images: (B, C, H, W) in [0, 1].
        labels: (B,) true classes.
        norm: "linf", "l2" or "l1".
        epsilon: Radius in pixel units.
        stochastic: Whether the model is; chooses the version.
        seed: Of its random starts and of the model's noise meanwhile.

    Returns:
        (B, C, H, W); an image that withstood is returned as it was.

    Raises:
        InputError: If `pyautoattack` is not installed, or there are fewer than 4 classes (3 for
            the `rand` version).
    """
    try:
        package = import_module("pyautoattack")
    except ImportError as error:
        raise InputError(
            "AutoAttack needs the package pyautoattack; install vonenet[autoattack]"
        ) from error
    Region(norm, epsilon)
    check_pixels(images)
    version = "rand" if stochastic else "standard"
    with torch.no_grad():
        classes = model(images[:1]).shape[1]
    if classes < FEWEST_CLASSES[version]:
        raise InputError(
            f"AutoAttack's {version} version needs {FEWEST_CLASSES[version]} or more classes; "
            f"the model has {classes}"
        )
    with seeded(seed, images.device):  # it seeds torch's global generators
        attack = package.AutoAttack(
            model,
            norm=NORM_NAMES[norm],
            eps=epsilon,
            version=version,
            seed=seed,
            device=images.device,
        )
        # Its 9 wrong classes are more than a model of few classes has.
        targets = min(TARGET_CLASSES[norm], classes - 1)
        attack.apgd_targeted.n_target_classes = attack.fab.n_target_classes = targets
        found, _ = attack.run_standard_evaluation(images, labels, batch_size=len(images))
    adversarial: Tensor = found.detach()
    return adversarial
