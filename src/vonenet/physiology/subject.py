"""Subject: a model, the layer and the units that are recorded, and what it is shown stimuli on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from tqdm import tqdm

from vonenet.data.seeding import device_of, seeded
from vonenet.errors import InputError
from vonenet.physiology.canvas import Canvas
from vonenet.physiology.layers import (
    StagedLayer,
    as_map,
    evaluating,
    find_layer,
    output_of,
    without_noise,
)
from vonenet.physiology.render import render
from vonenet.physiology.stimuli import Stimulus
from vonenet.physiology.window import Units, central_units, find_window, pick, probe_images

Responses = npt.NDArray[np.float32]
# Crops are small: more of them make a batch, up to this.
LARGEST_BATCH = 1024


class Subject:
    """Units of one layer of a model, recorded while the model is shown stimuli.

    The model is put into eval mode for each recording and is left as it was: mode, hooks, gradients
    and random generators. Of a layer that is called several times the first is recorded.

    Args:
        model: Takes pixels in [0, 1], (B, in_chans, pixels, pixels).
        layer: Its name (`vone_block`, `layer1.0`, ...), with or without a `PixelModel`'s `model.`.
        canvas: The model's field of view and image size.
        units: (n, 3), channel, row and column in the layer's map; None: every channel at the
            centre (`window.central_units`).
        trials: Noise draws per stimulus; a deterministic layer is recorded once.
        mean_response: Tuning is measured before noise, where all of the model's noise can be left
            out (`layers.StagedLayer`), instead of on the average of the trials.
        seed: Of the noise.
        batch_size: Whole canvases shown at once.

    Attributes:
        units: (n, 3), as above.
        map_shape: Channels, height and width of the layer's map.
        is_stochastic: Whether two trials differ.
        has_mean_response: Whether they do not once the noise of staged layers is left out.
        trials: Noise draws per stimulus; 1 for a deterministic layer.
        window: The part of the canvas that is drawn and computed (`window.py`).

    Raises:
        InputError: No such layer or unit, a layer without spatial extent, a model that does not
            take images of this size, or trials below 1.
    """

    def __init__(
        self,
        model: nn.Module,
        layer: str,
        canvas: Canvas,
        *,
        units: Units | None = None,
        trials: int = 1,
        mean_response: bool = False,
        seed: int = 0,
        batch_size: int = 64,
    ) -> None:
        for name, number in (("trials", trials), ("batch_size", batch_size)):
            if number < 1:
                raise InputError(f"{name} must be 1 or more, got {number}")
        self.model, self.layer_name, self.canvas, self.seed = model, layer, canvas, seed
        self.layer = find_layer(model, layer)
        self.device = device_of(model)
        self.window = canvas.whole
        with self._recording(0):
            image = probe_images(canvas, 1).to(self.device)
            self.map_shape = tuple(self._map(image).shape[1:])
            self.units = self._units = self._checked(units)
            self.is_stochastic = self._differs(self._map, image)
            self.has_mean_response = not self._differs(self._map_before_noise, image)
            if self.has_mean_response:
                self.window, self._units = find_window(
                    self._map_before_noise, canvas, self.units, self.device
                )
        self.uses_mean_response = mean_response and self.has_mean_response
        self.trials = trials if self.is_stochastic else 1
        crops = canvas.pixels**2 // (self.window.height * self.window.width)
        self._batch_size = max(batch_size, min(batch_size * crops, LARGEST_BATCH))

    def __len__(self) -> int:
        """Number of recorded units."""
        return len(self.units)

    def respond(
        self, stimuli: Sequence[Stimulus], *, trials: int | None = None, progress: str | None = None
    ) -> Responses:
        """Single trials.

        Args:
            stimuli: What is shown.
            trials: Noise draws per stimulus, instead of the subject's own number; a deterministic
                layer is recorded once.
            progress: A bar's description; None shows no bar.

        Returns:
            (trials, stimuli, units). The noise depends on the seed, the stimuli and the batch size,
            not on what was shown before.
        """
        n = (trials or self.trials) if self.is_stochastic else 1
        with self._recording(_seed_of(self.seed, stimuli)):
            batches = [self._trials(images, n) for images in self._batches(stimuli, progress)]
        return torch.cat(batches, dim=1).cpu().numpy()

    def mean_response(
        self,
        stimuli: Sequence[Stimulus],
        *,
        before_noise: bool | None = None,
        progress: str | None = None,
    ) -> Responses:
        """What tuning is measured on: the average of the trials, or the response before noise.

        Args:
            stimuli: What is shown.
            before_noise: Which of the two; None: as the subject was made to. The average, where
                noise cannot be left out.
            progress: A bar's description; None shows no bar.

        Returns:
            (stimuli, units).
        """
        if before_noise is None:
            before_noise = self.uses_mean_response
        before_noise &= self.has_mean_response
        with self._recording(_seed_of(self.seed, stimuli)):
            batches = [
                pick(self._map_before_noise(images), self._units)
                if before_noise
                else self._trials(images, self.trials).mean(dim=0)
                for images in self._batches(stimuli, progress)
            ]
        return torch.cat(batches).cpu().numpy()

    def _trials(self, images: Tensor, trials: int) -> Tensor:
        """(trials, images, units)."""
        if isinstance(self.layer, StagedLayer) and self.has_mean_response:
            mean = pick(self._map_before_noise(images), self._units)[:, :, None, None]
            return torch.stack([self.layer.respond(mean)[:, :, 0, 0] for _ in range(trials)])
        return torch.stack([pick(self._map(images), self._units) for _ in range(trials)])

    def _map(self, images: Tensor) -> Tensor:
        """The layer's map (B, C, H, W), with the model's noise."""
        return as_map(output_of(self.model, self.layer, images), self.layer_name).float()

    def _map_before_noise(self, images: Tensor) -> Tensor:
        with without_noise(self.model):
            return self._map(images)

    def _differs(self, to_map: Callable[[Tensor], Tensor], image: Tensor) -> bool:
        """Whether two passes of the same image do."""
        return bool((to_map(image) != to_map(image)).any())

    def _batches(self, stimuli: Sequence[Stimulus], progress: str | None) -> Iterator[Tensor]:
        with tqdm(
            total=len(stimuli),
            desc=progress,
            unit="stimulus",
            leave=False,
            disable=progress is None,
        ) as bar:
            for start in range(0, len(stimuli), self._batch_size):
                batch = stimuli[start : start + self._batch_size]
                yield render(batch, self.canvas, self.window).contiguous().to(self.device)
                bar.update(len(batch))

    @contextmanager
    def _recording(self, seed: int) -> Iterator[None]:
        with evaluating(self.model), torch.no_grad(), seeded(seed, self.device):
            yield

    def _checked(self, units: Units | None) -> Units:
        channels, *size = self.map_shape
        if units is None:
            return central_units(channels, size)
        units = np.asarray(units, dtype=np.int64)
        if units.ndim != 2 or units.shape[1] != 3 or len(units) == 0:
            raise InputError(
                f"units must be (n, 3), channel, row and column of each, got shape {units.shape}"
            )
        if (units < 0).any() or (units >= self.map_shape).any():
            raise InputError(
                f"units must lie in the map of layer {self.layer_name!r}, which is "
                f"{self.map_shape}; the largest asked for is {tuple(units.max(axis=0).tolist())}"
            )
        return units


def _seed_of(seed: int, stimuli: Sequence[Stimulus]) -> int:
    """A seed that belongs to these stimuli: two recordings do not share their noise."""
    digest = hashlib.blake2b(f"{seed}/{list(stimuli)}".encode(), digest_size=7)
    return int.from_bytes(digest.digest(), "little")
