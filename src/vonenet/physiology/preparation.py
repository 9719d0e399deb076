"""Makes a subject ready: receptive fields, where stimuli go, and responses as firing rates.

The model-unit protocol of Marques et al. 2021 (science.md 5.2). Stimuli are put where the units'
receptive fields are, as with an electrode: at the median of their centres.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vonenet.errors import InputError
from vonenet.physiology.canvas import Canvas
from vonenet.physiology.design import Design, crossed, f0, largest
from vonenet.physiology.fields import map_fields, spontaneous_response
from vonenet.physiology.rates import RESPONSE_THRESHOLD, RateMap, fit_rates
from vonenet.physiology.recording import Array, Curve, Mask, Population, ReceptiveFields
from vonenet.physiology.stimuli import Grating, evenly_spaced
from vonenet.physiology.subject import Subject

# Units whose receptive field is further from the stimuli are left out
LARGEST_OFFSET_DEG = 0.15
# The orientation stimuli: two octaves about those that V1 prefers, apertures of 2 to 4 cycles
FREQUENCIES_CPD = (0.77, 1.54, 3.08, 6.17)
DIAMETERS_CYCLES = (2.0, 3.0, 4.0)
ORIENTATIONS_DEG = evenly_spaced(12, 180.0)
PHASES_DEG = evenly_spaced(8, 360.0)


@dataclass(frozen=True, eq=False)
class Preparation:
    """A subject whose receptive fields are known and whose responses are firing rates.

    Attributes:
        subject: Who is recorded.
        fields: Receptive fields.
        center_deg: x and y of the stimuli.
        in_field: (units,) whether a unit's receptive field is there.
        rate_map: From responses to spikes per second.
        spontaneous: (units,) spikes per second to a blank.
        gratings: Drifting gratings of all orientations: size in cycles, frequency, orientation and
            phase.
        grating_rates: (units, *gratings), spikes per second.
        progress: Whether recordings show a bar.
    """

    subject: Subject
    fields: ReceptiveFields
    center_deg: tuple[float, float]
    in_field: Mask
    rate_map: RateMap
    spontaneous: Array
    gratings: Design
    grating_rates: Array
    progress: bool = False

    def record(self, design: Design, name: str) -> Array:
        """Rates (units, *axes), spikes per second, averaged over trials."""
        shown = self.subject.mean_response(design.stimuli, progress=self.bar(name))
        return self.rate_map(design.shaped(shown))

    def bar(self, name: str) -> str | None:
        """A progress bar's description; None where none is shown."""
        return name if self.progress else None

    def grating(
        self,
        orientation: float,
        frequency: float,
        diameter: float,
        phase: float = 0.0,
        contrast: float = 1.0,
    ) -> Grating:
        """A grating where the receptive fields are: degrees, cycles per degree, contrast."""
        return Grating(
            x_deg=self.center_deg[0],
            y_deg=self.center_deg[1],
            orientation_deg=orientation,
            frequency_cpd=frequency,
            diameter_deg=diameter,
            phase_deg=phase,
            contrast=contrast,
        )

    def frequencies(self, candidates_cpd: npt.ArrayLike = FREQUENCIES_CPD) -> tuple[float, ...]:
        """Those spatial frequencies that the canvas's pixels carry, cycles per degree."""
        return _frequencies_shown(self.subject.canvas, candidates_cpd)

    def responsive(self, rates: Array) -> Mask:
        """Units in the field with any rate, averaged over phases, well above the spontaneous one.

        Args:
            rates: (units, *axes).
        """
        above: Mask = largest(rates) > self.spontaneous + RESPONSE_THRESHOLD
        return above & self.in_field

    def population(
        self,
        experiment: str,
        source: str,
        responsive: Mask,
        properties: Mapping[str, npt.NDArray[np.generic]],
        *,
        among: Mapping[str, Mask] | None = None,
        quality: Mapping[str, Array] | None = None,
        good: Mask | None = None,
        curves: Mapping[str, Curve] | None = None,
    ) -> Population:
        """An experiment's findings, NaN for units that do not respond, and their counts.

        Args:
            experiment: Its name.
            source: The paper that it follows.
            responsive: (units,).
            properties: By name, (units,).
            among: Units that a property is about, where it is not about all.
            quality: Of the fits, if there are any.
            good: (units,) whether a unit's fit is good.
            curves: By name.
        """
        counts = {
            "recorded": len(self.subject),
            "in_field": int(self.in_field.sum()),
            "responsive": int(responsive.sum()),
        }
        if good is not None:
            counts["poor_fits"] = int((responsive & ~good).sum())

        def masked(values: Mapping[str, npt.NDArray[np.generic]]) -> dict[str, Array]:
            return {
                name: np.where(responsive, each.astype(np.float64), np.nan)
                for name, each in values.items()
            }

        return Population(
            experiment=experiment,
            source=source,
            responsive=responsive,
            properties=masked(properties),
            counts=counts,
            among=among or {},
            quality=masked(quality or {}),
            curves=curves or {},
        )


def prepare(subject: Subject, *, progress: bool = False) -> Preparation:
    """Map the receptive fields and find the firing rates of a subject's units.

    Raises:
        InputError: No unit responds to anything.
    """
    spontaneous = spontaneous_response(subject)
    bar = "receptive fields" if progress else None
    fields = map_fields(subject, progress=bar)
    known = np.isfinite(fields.diameters_deg)
    if not known.any():
        raise InputError(
            f"no unit of layer {subject.layer_name!r} responds to any patch of grating more than "
            "to a blank: nothing to measure"
        )
    x, y = np.median(fields.centers_deg[known], axis=0).tolist()
    offsets = np.hypot(*(fields.centers_deg - (x, y)).T)
    in_field = np.nan_to_num(offsets, nan=np.inf) <= LARGEST_OFFSET_DEG
    if not in_field.any():
        raise InputError(
            f"no unit of layer {subject.layer_name!r} has its receptive field within "
            f"{LARGEST_OFFSET_DEG} degrees of the others' median"
        )
    gratings = oriented_gratings(subject.canvas, (x, y))
    bar = "orientations" if progress else None
    shown = subject.mean_response(gratings.stimuli, progress=bar)
    responses = np.maximum(gratings.shaped(shown), 0)
    rate_map = fit_rates(largest(f0(responses))[in_field], spontaneous[in_field])
    return Preparation(
        subject=subject,
        fields=fields,
        center_deg=(x, y),
        in_field=in_field,
        rate_map=rate_map,
        spontaneous=rate_map(spontaneous),
        gratings=gratings,
        grating_rates=rate_map(responses),
        progress=progress,
    )


def oriented_gratings(canvas: Canvas, center_deg: tuple[float, float]) -> Design:
    """The drifting gratings that orientation tuning and the rate map are measured with."""

    def grating(cycles: float, frequency: float, orientation: float, phase: float) -> Grating:
        return Grating(
            x_deg=center_deg[0],
            y_deg=center_deg[1],
            orientation_deg=orientation,
            frequency_cpd=frequency,
            phase_deg=phase,
            diameter_deg=cycles / frequency,
        )

    return crossed(
        grating,
        cycles=DIAMETERS_CYCLES,
        frequency=_frequencies_shown(canvas, FREQUENCIES_CPD),
        orientation=ORIENTATIONS_DEG,
        phase=PHASES_DEG,
    )


def _frequencies_shown(canvas: Canvas, frequencies_cpd: npt.ArrayLike) -> tuple[float, ...]:
    values = np.asarray(frequencies_cpd, np.float64)
    return tuple(values[values < canvas.nyquist_cpd].tolist())
