"""Suites of attacks by name: the VOneNet paper's six, EVNets' extended set, a quick look.

All are untargeted PGD without random start, 64 steps of epsilon / 32, gradients averaged over 10
noise draws (science.md 3.1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import prod, sqrt

from vonenet.errors import InputError
from vonenet.robustness.attack_condition import Attack

# Dapello, Marques et al. 2020.
PAPER = (
    Attack("linf", 1 / 1020),
    Attack("linf", 1 / 255),
    Attack("l2", 0.15),
    Attack("l2", 0.6),
    Attack("l1", 40.0),
    Attack("l1", 160.0),
)
# Piper et al. 2025 (arXiv:2506.03089): two steps further on the same grids of powers of 4.
EVNETS = (
    *PAPER,
    Attack("linf", 4 / 255),
    Attack("linf", 16 / 255),
    Attack("l2", 2.4),
    Attack("l2", 9.6),
    Attack("l1", 640.0),
    Attack("l1", 2560.0),
)
# One attack of each norm at the paper's larger radius: an upper bound of accuracy in little time.
QUICK = tuple(replace(attack, steps=10, gradient_samples=4) for attack in PAPER[1::2])

SUITES: Mapping[str, tuple[Attack, ...]] = {"paper": PAPER, "evnets": EVNETS, "quick": QUICK}
# The size that the radii were published for, height and width in pixels.
PUBLISHED_SIZE = (224, 224)


def attack_suite(name: str, image_size: tuple[int, int] | None = None) -> list[Attack]:
    """The attacks of a suite.

    Args:
        name: A key of `SUITES`.
        image_size: Height and width in pixels. If given, radii are scaled to it, so that a pixel
            moves as far on average as at 224 px: L1 with the number of pixels, L2 with its root,
            L-inf not at all. If None, radii are the published ones.

    Raises:
        InputError: On an unknown name or an impossible size.
    """
    if name not in SUITES:
        raise InputError(f"suite {name!r} is unknown; allowed: {', '.join(SUITES)}")
    if image_size is None:
        return list(SUITES[name])
    if min(image_size) < 1:
        raise InputError(f"image_size={image_size} has no pixels; allowed: 1 or more a side")
    pixels = prod(image_size) / prod(PUBLISHED_SIZE)
    scale = {"linf": 1.0, "l2": sqrt(pixels), "l1": pixels}
    return [_scaled(attack, scale[attack.norm]) for attack in SUITES[name]]


def _scaled(attack: Attack, factor: float) -> Attack:
    """The attack at another radius, which remembers the published one."""
    if factor == 1:
        return attack
    return replace(attack, epsilon=attack.epsilon * factor, published_epsilon=attack.epsilon)
