"""Subject: a model with an electrode in one layer, that is shown stimuli on a canvas.

A unit of an early layer sees some thirty pixels. Where the model gives the same responses to a crop
around the recorded units as to the whole canvas, only the crop is drawn and computed: a fiftieth of
the pixels of a V1 block. Where what comes before the layer sees more, as a retina does that adapts
to the whole image, the crop is of the layer's input. Whether responses are the same is measured on
noise images, of all channels at the units' places, not derived.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import get_ident
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from vonenet.bars import progress_bar
from vonenet.data.pixels import eval_mode
from vonenet.data.seeding import device_of, seeded
from vonenet.errors import InputError
from vonenet.physiology.layers import (
    PROBES,
    SAME,
    NoisyLayer,
    SpikingLayer,
    as_map,
    find_layer,
    noisy_layers,
    outputs_of,
    probes_of,
    without_noise,
)
from vonenet.physiology.stimuli import Canvas, Stimulus, Window, render

Units = npt.NDArray[np.int64]  # (n, 3): channel, row, column
Responses = npt.NDArray[np.float32]

# Crops are small: a batch holds more of them, up to this
LARGEST_BATCH = 1024
# Margins around the units that are tried as crops, in steps of the layer's map
MARGINS = (4, 6, 8, 12, 16, 24, 32, 48)
# Responses to noise that a crop must give, of all channels at a place together; but of few
# channels to at most so many images
RESPONSES_TRIED, MOST_PROBES = 1024, 128


class Subject:
    """Units of one layer of a model, recorded while the model is shown stimuli.

    The model is put into eval mode for each recording and is left as it was: mode, hooks, gradients
    and random generators. Of a layer that is called several times the first call is recorded.

    Args:
        model: Takes pixels in [0, 1], (B, in_chans, pixels, pixels).
        layer: Its name (`vone_block`, `layer1.0`, ...), with or without a `PixelModel`'s `model.`.
        canvas: The model's field of view and image size.
        units: (n, 3), channel, row and column in the layer's map; None: every channel at row
            height // 2 and column width // 2. On an even map a padded convolution puts that
            position's receptive field half a pixel right of and below the canvas's centre.
        trials: Noise draws per stimulus; a deterministic layer is recorded once.
        mean_response: Measure tuning before noise, where all of the model's noise can be left out
            (`layers.NoisyLayer`), instead of on the average of the trials.
        seed: Of the noise.
        batch_size: Whole canvases shown at once.

    Attributes:
        units: (n, 3), as above.
        map_shape: Channels, height and width of the layer's map.
        is_stochastic: Whether two trials differ.
        has_mean_response: Whether the model is deterministic without the noise of noisy layers.
        uses_mean_response: Whether tuning is measured before noise.
        trials: Noise draws per stimulus; 1 for a deterministic layer.
        window: The part of the canvas that is drawn and computed.

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
        self._is_only_noise = noisy_layers(model) == [self.layer]
        self.device = device_of(model)
        self._input_window: Window | None = None
        one, before_noise = self._probes(1), self._map_before_noise
        with self._recording(0):
            channels, height, width = self._map(one).shape[1:]
            self.map_shape = (channels, height, width)
            self.units = self._checked(units)
            self.is_stochastic = not torch.equal(self._map(one), self._map(one))
            self.has_mean_response = torch.equal(before_noise(one), before_noise(one))
            self.window, self._units = canvas.whole, self.units
            if self.has_mean_response:
                self._find_windows()
        self.uses_mean_response = mean_response and self.has_mean_response
        self.trials = trials if self.is_stochastic else 1
        crops = canvas.pixels**2 // (self.window.height * self.window.width)
        self._batch_size = max(batch_size, min(batch_size * crops, LARGEST_BATCH))

    def __len__(self) -> int:
        """Return the number of recorded units."""
        return len(self.units)

    def respond(
        self, stimuli: Sequence[Stimulus], *, trials: int | None = None, progress: str | None = None
    ) -> Responses:
        """Record single trials, (trials, stimuli, units).

        The noise depends on the seed, the stimuli and the batch size, not on what was shown before.

        Args:
            stimuli: What is shown.
            trials: Noise draws per stimulus, instead of the subject's own number; a deterministic
                layer is recorded once.
            progress: A bar's description; None shows no bar.
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
        """Record the average of the trials, or responses before noise, (stimuli, units).

        Args:
            stimuli: What is shown.
            before_noise: Which of the two; None: `uses_mean_response`. Always the average where
                noise cannot be left out.
            progress: A bar's description; None shows no bar.
        """
        if before_noise is None:
            before_noise = self.uses_mean_response
        before_noise &= self.has_mean_response
        with self._recording(_seed_of(self.seed, stimuli)):
            batches = [
                _pick(self._map_before_noise(images), self._units)
                if before_noise
                else self._trials(images, self.trials).mean(dim=0)
                for images in self._batches(stimuli, progress)
            ]
        return torch.cat(batches).cpu().numpy()

    def spikes(self, responses: Responses) -> Responses | None:
        """Return the spikes that responses stand for; None where the layer counts none."""
        if not isinstance(self.layer, SpikingLayer):
            return None
        counts = self.layer.spikes(torch.from_numpy(responses))
        return None if counts is None else counts.numpy()

    def _trials(self, images: Tensor, trials: int) -> Tensor:
        """Record (trials, images, units)."""
        if self._is_only_noise and self.has_mean_response:
            assert isinstance(self.layer, NoisyLayer)
            mean = _pick(self._map_before_noise(images), self._units)[:, :, None, None]
            return torch.stack([self.layer.respond(mean)[:, :, 0, 0] for _ in range(trials)])
        return torch.stack([_pick(self._map(images), self._units) for _ in range(trials)])

    def _map(self, images: Tensor) -> Tensor:
        """Return the layer's map (B, C, H, W), with the model's noise."""
        return self._map_of(self.model, images)

    def _map_before_noise(self, images: Tensor) -> Tensor:
        return self._map_of(without_noise(self.model), images)

    def _map_of(self, model: nn.Module, images: Tensor) -> Tensor:
        with _cropped_input(find_layer(model, self.layer_name), self._input_window):
            output = outputs_of(model, [self.layer_name], images)[self.layer_name]
        return as_map(output, self.layer_name).float()

    def _batches(self, stimuli: Sequence[Stimulus], progress: str | None) -> Iterator[Tensor]:
        n, about = len(stimuli), {"desc": progress, "unit": "stimulus", "leave": False}
        with progress_bar(total=n, shown=progress is not None, **about) as bar:
            for start in range(0, n, self._batch_size):
                batch = stimuli[start : start + self._batch_size]
                yield render(batch, self.canvas, self.window).contiguous().to(self.device)
                bar.update(len(batch))

    @contextmanager
    def _recording(self, seed: int) -> Iterator[None]:
        with eval_mode(self.model), torch.no_grad(), seeded(seed, self.device):
            yield

    def _checked(self, units: Units | None) -> Units:
        channels, height, width = self.map_shape
        if units is None:
            return np.array([(channel, height // 2, width // 2) for channel in range(channels)])
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

    def _find_windows(self) -> None:
        """Find the smallest crop of the images, or of the layer's input, that the units need.

        Both stay whole where the units see everything, or the model takes images of one size only.
        """
        n = min(max(PROBES, RESPONSES_TRIED // self.map_shape[0]), MOST_PROBES)
        batches, places = torch.split(self._probes(n), PROBES), self.units[:, 1:]
        whole = [self._at(batch, places) for batch in batches]
        largest = max(expected.abs().max() for expected in whole)

        def is_enough(first: Units, window: Window) -> bool:
            for batch, expected in zip(batches, whole, strict=True):
                images = batch if self._input_window else _crop(batch, window)
                try:
                    found = self._at(images, places - first)
                except InputError:  # the model wants larger images, or those of its own size
                    return False
                if not (found - expected).abs().max() < SAME * largest:
                    return False
            return True

        for window, first in self._windows(self.canvas.pixels):
            if is_enough(first, window):
                self.window, self._units = window, self.units - np.array([0, *first])
                return
        for window, first in self._windows(self._input_side(batches[0])):
            self._input_window = window
            if is_enough(first, window):
                self._units = self.units - np.array([0, *first])
                return
        self._input_window = None

    def _at(self, images: Tensor, places: Units) -> Tensor:
        """Return all channels' responses before noise at places (row, column) of the map."""
        maps, places = self._map_before_noise(images), np.unique(places, axis=0)
        if (places.max(axis=0) >= maps.shape[2:]).any():
            raise InputError(f"the map of a crop is {tuple(maps.shape[2:])}: its stride is another")
        row, column = torch.from_numpy(places).to(self.device).T
        return maps[:, :, row, column]

    def _probes(self, n: int) -> Tensor:
        shape = (self.canvas.in_chans, self.canvas.pixels, self.canvas.pixels)
        return (0.5 + 0.5 * probes_of(shape, n)).to(self.device)

    def _windows(self, side: int) -> Iterator[tuple[Window, Units]]:
        """Yield crops of a square of pixels around the units, and the map's place they begin at."""
        _, height, width = self.map_shape
        stride = side // height
        if height != width or stride * height != side:
            return
        for margin in MARGINS:
            first = self.units[:, 1:].min(axis=0) - margin
            last = self.units[:, 1:].max(axis=0) + margin
            if first.min() < 0 or last.max() > height or (last - first).min() == height:
                return  # no crop
            top, left, rows, columns = (np.concatenate([first, last - first]) * stride).tolist()
            yield Window(top, left, rows, columns), first

    def _input_side(self, images: Tensor) -> int:
        """Return the side of the square that the layer reads; 0 if it reads anything else."""
        shapes: list[torch.Size] = []
        layer = find_layer(without_noise(self.model), self.layer_name)
        hook = layer.register_forward_pre_hook(lambda _, read: shapes.append(read[0].shape))
        try:
            self._map_before_noise(images[:1])
        finally:
            hook.remove()
        shape = shapes[0] if shapes else ()
        return shape[-1] if len(shape) == 4 and shape[-1] == shape[-2] else 0


def _crop(images: Tensor, window: Window) -> Tensor:
    rows = slice(window.top, window.top + window.height)
    return images[:, :, rows, window.left : window.left + window.width]


@contextmanager
def _cropped_input(layer: nn.Module, window: Window | None) -> Iterator[None]:
    """Have a layer compute a crop of what it reads, in this thread."""
    if window is None:
        yield
        return
    thread = get_ident()

    def crop(_: nn.Module, read: tuple[Any, ...]) -> tuple[Any, ...]:
        return (_crop(read[0], window), *read[1:]) if get_ident() == thread else read

    hook = layer.register_forward_pre_hook(crop)
    try:
        yield
    finally:
        hook.remove()


def _pick(maps: Tensor, units: Units) -> Tensor:
    """Return the responses of units, (B, n), in a map (B, C, H, W)."""
    channel, row, column = torch.from_numpy(units).to(maps.device).T
    return maps[:, channel, row, column]


def _seed_of(seed: int, stimuli: Sequence[Stimulus]) -> int:
    """Derive a seed from these stimuli, so that two recordings do not share their noise."""
    digest = hashlib.blake2b(f"{seed}/{list(stimuli)}".encode(), digest_size=7)
    return int.from_bytes(digest.digest(), "little")
