"""Brain-Score's recorder of torch models, for a model that has noise and several time steps."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from brainscore_vision.model_helpers.activations.pytorch import PytorchWrapper
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from vonenet import VOneNet
from vonenet.data.seeding import seed_at, seeded

from .layers import split_step

# Brain-Score fills every batch up, so that 3 images cost as much as this many.
BATCH_SIZE = 16


class VOneNetWrapper(PytorchWrapper):
    """Records layers of a VOneNet, averaged over trials, at one time step or at the last.

    Brain-Score asks a model to average over `number_of_trials`, and its own wrapper leaves that to
    models: it shows each image once. Here a model with noise sees each image so many times, with
    fresh noise, and its responses are averaged before they are packed. A model without noise sees
    it once, and so does one that is asked for single trials (`require_variance`, where Brain-Score
    moves the image a little for each).

    A layer that is called several times is recorded at its last call; `NAME-tN` is call N.

    Args:
        model: The network, whose noise is not switched on or off afterwards.
        preprocessing: Image files to normalised images (B, C, H, W).
        identifier: Names the responses that Brain-Score stores on disk.
        seed: Of the noise. The same calls in the same order give the same responses, whatever else
            is drawn in the process.
        batch_size: Images shown at once.
    """

    def __init__(
        self,
        model: VOneNet,
        preprocessing: Callable[[Sequence[str]], np.ndarray],
        identifier: str,
        *,
        seed: int = 0,
        batch_size: int = BATCH_SIZE,
    ) -> None:
        self.is_stochastic = model.noise is not None
        self._seeds = (seed_at(seed, "noise", batch) for batch in itertools.count())
        self._trials = 1
        super().__init__(model, preprocessing, identifier=identifier, batch_size=batch_size)

    def __call__(
        self,
        stimuli: Any,
        layers: Sequence[str],
        stimuli_identifier: str | bool | None = None,
        number_of_trials: int = 1,
        require_variance: bool = False,
    ) -> Any:
        """Responses to a `StimulusSet` or to image files: presentations x neuroids."""
        averages = self.is_stochastic and not require_variance
        self._trials = number_of_trials if averages else 1
        if self._trials > 1:
            stimuli_identifier = _with_trials(stimuli, stimuli_identifier, self._trials)
        try:
            return super().__call__(
                stimuli,
                layers=layers,
                stimuli_identifier=stimuli_identifier,
                number_of_trials=number_of_trials,
                require_variance=require_variance,
            )
        finally:
            self._trials = 1

    def get_activations(self, images: Any, layer_names: Sequence[str]) -> OrderedDict:
        """Mean responses of one batch over the trials, (B, ...) of each layer."""
        with seeded(next(self._seeds), self._device):
            sums = super().get_activations(images, layer_names)
            for _ in range(self._trials - 1):
                for name, responses in super().get_activations(images, layer_names).items():
                    sums[name] = sums[name] + responses
        return OrderedDict((name, total / self._trials) for name, total in sums.items())

    def get_layer(self, layer_name: str) -> nn.Module:
        """Return a layer by its name, with or without a time step."""
        return super().get_layer(split_step(layer_name)[0])

    def register_hook(
        self, layer: nn.Module, layer_name: str, target_dict: dict[str, np.ndarray]
    ) -> RemovableHandle:
        """Have a layer's output put under its name, that of the wanted call."""
        step = split_step(layer_name)[1]
        calls = itertools.count()

        def keep(_layer: nn.Module, _inputs: Any, output: Tensor) -> None:
            if next(calls) == step or step is None:
                target_dict[layer_name] = self._tensor_to_numpy(output)

        return layer.register_forward_hook(keep)


def _with_trials(stimuli: Any, given: str | bool | None, trials: int) -> str | bool | None:
    """Another name for what is stored: an average is not served for a single trial, or back.

    Brain-Score reads what follows `--` as derived from the stimuli that are named before it.
    """
    name = getattr(stimuli, "identifier", None) if given is None else given
    return f"{name}--trials{trials}" if name else given
