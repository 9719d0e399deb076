"""The original package's names on a block: its settings, switches and filters, in its units.

What a program reads here always describes the filters that are computed with, and is None where
those are not known to be Gabor filters; what it sets acts at the next call.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from vonenet.errors import InputError
from vonenet.v1.attributes import Answering
from vonenet.v1.config import FIELDS, VOneBlockConfig, image_size_pair
from vonenet.v1.noise import Noise, draw_for_one_image
from vonenet.v1.old_names import RENAMED
from vonenet.v1.parameters import GaborParameters

SETTABLE = ("noise_mode", "noise_scale", "noise_level", "k_exc", "fixed_noise", "way")
FILTERS = ("sf", "theta", "phase", "sigx", "sigy", "gabor_params", "gabor_parameters")


def _setting(name: str) -> property:
    return property(lambda block: getattr(block.settings, name))


def _noise_setting(name: str) -> property:
    def assign(block: OriginalNames, value: Any) -> None:
        noise = block._noise()
        noise.set(**{"mode": noise.mode, name: value})

    return property(lambda block: getattr(block.noise, name), assign)


def _of_filters(read: Callable[[GaborParameters, VOneBlockConfig], Any]) -> property:
    def get(block: Any) -> Any:
        parameters: GaborParameters | None = block.gabor_parameters
        return None if parameters is None else read(parameters, block.settings)

    return property(get)


class OriginalNames(Answering):
    """The part of `VOneBlock` that speaks as the original's does."""

    settings: VOneBlockConfig
    settable: ClassVar = SETTABLE
    # What is fixed once a block is built; `noise`, `normalization` and `push_pull` are children,
    # which can be replaced.
    instead: ClassVar = {
        name: f"VOneBlock(block.config, {RENAMED.get(name, name)}={{value}})"
        for name in {*FIELDS, *RENAMED} - {*SETTABLE, "noise", "normalization", "push_pull"}
    } | {
        **dict.fromkeys(FILTERS, "VOneBlock(block.config, gabor_parameters=GaborParameters(...))"),
        **dict.fromkeys(("config", "settings"), "VOneBlock(config)"),
        "rand_param": "VOneBlock(block.config, filters='legacy_uniform')",
        "out_channels": "VOneBlock(block.config, simple_channels=..., complex_channels=...)",
    }

    noise_mode = _noise_setting("mode")
    noise_scale = _noise_setting("scale")
    noise_level = _noise_setting("level")

    in_channels = _setting("in_chans")
    simple_channels = _setting("simple_channels")
    complex_channels = _setting("complex_channels")
    out_channels = _setting("out_channels")
    stride = _setting("stride")
    visual_degrees = _setting("resolved_visual_degrees")

    # Cycles per pixel, pixels, radians
    sf = _of_filters(lambda p, c: p.frequency_cpd / c.pixels_per_degree)
    sigx = _of_filters(lambda p, c: p.sigma_x_deg * c.pixels_per_degree)
    sigy = _of_filters(lambda p, c: p.sigma_y_deg * c.pixels_per_degree)
    theta = _of_filters(lambda p, c: np.deg2rad(p.orientation_deg))
    phase = _of_filters(lambda p, c: np.deg2rad(p.phase_deg))
    # Cycles per degree, cycles, degrees; and how they were drawn
    gabor_params = _of_filters(
        lambda p, c: {
            "simple_channels": c.simple_channels,
            "complex_channels": c.complex_channels,
            "rand_param": c.filters in ("uniform", "legacy_uniform"),
            "gabor_seed": c.seed,
            "sf_max": c.sf_max,
            "sf_corr": c.sf_corr,
            "sf": p.frequency_cpd.copy(),
            "theta": p.orientation_deg.copy(),
            "phase": p.phase_deg.copy(),
            "nx": p.nx_cycles.copy(),
            "ny": p.ny_cycles.copy(),
        }
    )

    @property
    def image_size(self) -> int | tuple[int, int]:
        """Height and width in pixels, one number if they are equal."""
        height, width = image_size_pair(self.settings.image_size)
        return height if height == width else (height, width)

    input_size = image_size

    @property
    def k_exc(self) -> float:
        """Gain of the cells' responses."""
        return self.settings.k_exc

    @k_exc.setter
    def k_exc(self, gain: float) -> None:
        vars(self)["settings"] = dataclasses.replace(self.settings, k_exc=gain)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "noise" and (value is None or isinstance(value, str)):
            name = "noise_mode"  # the child is a module: this is its mode, as in `model.noise`
        super().__setattr__(name, value)

    def set_noise_mode(
        self,
        noise_mode: str | None = None,
        noise_scale: float | None = None,
        noise_level: float | None = None,
    ) -> None:
        """Switch the noise for good; `no_noise` and `fixed_noise` do so for a while."""
        self._noise().set(noise_mode, noise_scale, noise_level)

    def fix_noise(self, batch_size: int | None = None, seed: int | None = None) -> None:
        """Let every pass and every image meet one draw, until `unfix_noise`.

        Args:
            batch_size: not needed, for the draw fits any; without a seed, this is the seed.
            seed: of the draw, as in `fixed_noise`; without any number torch's generator gives it.
        """
        number = batch_size if seed is None else seed
        number = int(torch.randint(2**31, ())) if number is None else number
        self._noise().fix(number)

    def unfix_noise(self) -> None:
        """Draw new noise at every pass again."""
        self._noise().fix(None)

    @property
    def fixed_noise(self) -> Tensor | None:
        """The draw that every pass meets, at the size that the block is built for."""
        noise, c = self._noise(), self.settings
        if noise.fixed is None and noise.seed is not None:
            sides = (-(-side // (c.stride or 1)) for side in image_size_pair(c.image_size))
            drawn: Tensor = draw_for_one_image(noise.seed, (c.out_channels, *sides))
            return drawn
        return noise.fixed

    @fixed_noise.setter
    def fixed_noise(self, draw: Tensor | None) -> None:
        self._noise().fix(draw)

    def _noise(self) -> Noise:
        if not isinstance(self.noise, Noise):
            kind = type(self.noise).__name__
            raise InputError(
                f"vone_block.noise was replaced by a {kind}, which has no such setting; type "
                "block.noise = Noise('neuronal', 0.35, 0.07) to have the block's own again"
            )
        return self.noise
