"""Prepare a subject for experiments as Marques, Schrimpf & DiCarlo 2021 do.

bioRxiv 2021.03.01.433495, protocol for model units:

1. Map the units' receptive fields with small patches of grating.
2. Put all further stimuli where the fields are, at the median of their centres, as with an
   electrode; leave out units whose field is elsewhere.
3. Map responses to spikes per second by one line for all units, so that the population's medians
   are those of V1 (Ringach, Shapley & Hawken 2002, J Neurosci 22:5639).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from vonenet.errors import InputError
from vonenet.physiology.fits import GOOD_R2
from vonenet.physiology.recording import Array, Curve, Mask, Population, ReceptiveFields
from vonenet.physiology.stimuli import Blank, Design, Grating, crossed, evenly_spaced
from vonenet.physiology.subject import Subject
from vonenet.physiology.tuning import f0, largest

SOURCE = "Marques, Schrimpf & DiCarlo 2021, bioRxiv 2021.03.01.433495"

# The patches that map receptive fields
PATCH_POSITIONS = 21  # along each axis
PATCH_REACH_DEG = 2.5
PATCH_DIAMETER_DEG = 1 / 3
PATCH_FREQUENCY_CPD = 3.0
PATCH_ORIENTATIONS_DEG = (0.0, 45.0, 90.0, 135.0)
PATCH_PHASES_DEG = (0.0, 180.0)
BLANKS = 10
# As a share of the largest response: what is below does not belong to the field
FIELD_THRESHOLD = 0.05
# Nor does what so many standard errors of a stochastic unit's blank trials explain: of 3,528
# patches not one is above by chance
NOISE_ERRORS = 4.0
# Units whose receptive field is further from the stimuli are left out
LARGEST_OFFSET_DEG = 0.15

# The orientation stimuli: two octaves about those that V1 prefers, apertures of 2 to 4 cycles
FREQUENCIES_CPD = (0.77, 1.54, 3.08, 6.17)
DIAMETERS_CYCLES = (2.0, 3.0, 4.0)
ORIENTATIONS_DEG = evenly_spaced(12, 180.0)
PHASES_DEG = evenly_spaced(8, 360.0)

# Ringach et al. 2002: medians and largest rate over units, spikes per second
MEDIAN_SPONTANEOUS = 0.82
MEDIAN_MAXIMUM = 33.8
LARGEST_MAXIMUM = 243.1
# A unit responds if its rate is so much above its spontaneous rate, spikes per second
RESPONSE_THRESHOLD = 5.0


@dataclass(frozen=True)
class RateMap:
    """rate = slope x response + offset, in spikes per second, and not below 0.

    Attributes:
        slope: Spikes per second and unit of response, above 0.
        offset: Spikes per second of a silent unit; may be below 0.
    """

    slope: float
    offset: float

    def __call__(self, responses: npt.ArrayLike) -> Array:
        """Return rates, of the shape of the responses, which are rectified first."""
        rectified = np.maximum(np.asarray(responses, np.float64), 0)
        return np.maximum(self.slope * rectified + self.offset, 0)


def fit_rate_map(maxima: Array, spontaneous: Array) -> RateMap:
    """Return the map that gives responsive units the medians of V1.

    Args:
        maxima: (units,) largest responses to drifting gratings, rectified, averaged over phases.
        spontaneous: (units,) responses to a blank, rectified.

    Raises:
        InputError: No unit responds.
    """
    evoked = maxima - spontaneous
    responsive = evoked > RESPONSE_THRESHOLD / LARGEST_MAXIMUM * evoked.max(initial=0)
    if not responsive.any():
        raise InputError("no unit responds to any grating more than to a blank: nothing to measure")
    silent, driven = (float(np.median(values[responsive])) for values in (spontaneous, maxima))
    slope = (MEDIAN_MAXIMUM - MEDIAN_SPONTANEOUS) / (driven - silent)
    return RateMap(slope, MEDIAN_SPONTANEOUS - slope * silent)


@dataclass(frozen=True, eq=False)
class Preparation:
    """A subject whose receptive fields are known and whose responses are firing rates.

    Attributes:
        subject: The subject.
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

    def rates(self, design: Design, name: str) -> Array:
        """Record (units, *axes), spikes per second, averaged over trials; `name` is the bar's."""
        responses = self.subject.mean_response(design.stimuli, progress=self.bar(name))
        return self.rate_map(design.by_unit(responses))

    def bar(self, name: str) -> str | None:
        """Return a progress bar's description; None where none is shown."""
        return name if self.progress else None

    @property
    def grating(self) -> partial[Grating]:
        """Make a `Grating` where the receptive fields are."""
        x, y = self.center_deg
        return partial(Grating, x_deg=x, y_deg=y)

    def frequencies(self, candidates_cpd: Iterable[float] = FREQUENCIES_CPD) -> tuple[float, ...]:
        """Return those spatial frequencies that the canvas's pixels carry, cycles per degree."""
        return self.subject.canvas.below_nyquist(candidates_cpd)

    def responsive(self, rates: Array) -> Mask:
        """Say which units in the field have any of `rates` (units, *axes) well above silence."""
        above: Mask = largest(rates) > self.spontaneous + RESPONSE_THRESHOLD
        return above & self.in_field

    def population(
        self,
        experiment: str,
        source: str,
        responsive: Mask,
        properties: Mapping[str, npt.NDArray[np.generic]],
        *,
        r2: Array | None = None,
        among: Mapping[str, Mask] | None = None,
        curves: Mapping[str, Curve] | None = None,
    ) -> Population:
        """Put an experiment's measurements together, NaN for units that do not respond.

        Args:
            experiment: Its name.
            source: The paper that it follows.
            responsive: (units,).
            properties: By name, (units,).
            r2: (units,) of the fits that the properties are read off, if they are.
            among: Which units a property is defined for, where it is not all.
            curves: By name.
        """
        counts = {
            "recorded": len(self.subject),
            "in_field": int(self.in_field.sum()),
            "responsive": int(responsive.sum()),
        }
        quality: dict[str, Array] = {}
        if r2 is not None:
            counts["poor_fits"] = int((responsive & ~(r2 >= GOOD_R2)).sum())
            quality = dict.fromkeys(properties, np.where(responsive, r2, np.nan))
        return Population(
            experiment=experiment,
            source=source,
            responsive=responsive,
            properties={
                name: np.where(responsive, values.astype(np.float64), np.nan)
                for name, values in properties.items()
            },
            counts=counts,
            among=among or {},
            quality=quality,
            curves=curves or {},
        )


def prepare(subject: Subject, *, progress: bool = False) -> Preparation:
    """Map the receptive fields and find the firing rates of a subject's units.

    Raises:
        InputError: No unit responds to anything.
    """
    spontaneous = _blank_response(subject, subject.uses_mean_response)
    fields = map_receptive_fields(subject, "receptive fields" if progress else None)
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

    def grating(cycles: float, frequency_cpd: float, **angles: float) -> Grating:
        diameter_deg = cycles / frequency_cpd
        place = {"x_deg": x, "y_deg": y, "diameter_deg": diameter_deg}
        return Grating(frequency_cpd=frequency_cpd, **place, **angles)

    gratings = crossed(
        grating,
        cycles=DIAMETERS_CYCLES,
        frequency_cpd=subject.canvas.below_nyquist(FREQUENCIES_CPD),
        orientation_deg=ORIENTATIONS_DEG,
        phase_deg=PHASES_DEG,
    )
    shown = subject.mean_response(gratings.stimuli, progress="orientations" if progress else None)
    responses = np.maximum(gratings.by_unit(shown), 0)
    rate_map = fit_rate_map(largest(f0(responses))[in_field], spontaneous[in_field])
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


def map_receptive_fields(subject: Subject, progress: str | None) -> ReceptiveFields:
    """Map receptive fields by patches of grating on a grid over the middle of the canvas.

    Responses are those before noise where it can be left out.
    """
    canvas = subject.canvas
    reach = min(PATCH_REACH_DEG, canvas.degrees / 2)
    positions = np.linspace(-reach, reach, PATCH_POSITIONS)
    frequency_cpd = min(PATCH_FREQUENCY_CPD, canvas.nyquist_cpd / 2)
    design = crossed(
        partial(Grating, frequency_cpd=frequency_cpd, diameter_deg=PATCH_DIAMETER_DEG),
        y_deg=positions,
        x_deg=positions,
        orientation_deg=PATCH_ORIENTATIONS_DEG,
        phase_deg=PATCH_PHASES_DEG,
    )
    shown = subject.mean_response(design.stimuli, before_noise=True, progress=progress)
    blank = _blank_response(subject, before_noise=True)
    responses = np.maximum(design.by_unit(shown), 0)
    maps = (responses - blank[:, None, None, None, None]).max(axis=(3, 4))
    noise = np.zeros(len(subject))
    if not subject.has_mean_response:
        trials = subject.respond([Blank()] * BLANKS, trials=BLANKS).astype(np.float64)
        noise = NOISE_ERRORS * trials.std(axis=(0, 1)) / np.sqrt(subject.trials)
    threshold = np.maximum(FIELD_THRESHOLD * maps.max(axis=(1, 2)), noise)
    maps = np.maximum(maps, 0)
    weights = np.where(maps > threshold[:, None, None], maps, 0.0)
    total = weights.sum(axis=(1, 2))
    shares = weights / np.where(total > 0, total, np.nan)[:, None, None]
    by_x, by_y = shares.sum(axis=1), shares.sum(axis=2)
    centers = np.stack([by_x @ positions, by_y @ positions], axis=1)
    squares = np.stack([by_x @ positions**2, by_y @ positions**2], axis=1)
    # Rounding may leave a field of one position with a variance below 0
    diameters = 4 * np.sqrt(np.maximum((squares - centers**2).mean(axis=1), 0))
    return ReceptiveFields(positions, positions, maps, centers, diameters)


def receptive_field(prepared: Preparation) -> Population:
    """Report the receptive fields as an experiment of its own.

    Properties: `field_x`, `field_y`, `field_diameter`, degrees.
    """
    x, y = prepared.fields.centers_deg.T
    properties = {"field_x": x, "field_y": y, "field_diameter": prepared.fields.diameters_deg}
    return prepared.population("receptive_field", SOURCE, prepared.in_field, properties)


def _blank_response(subject: Subject, before_noise: bool) -> Array:
    """Return responses to a blank canvas, (units,), rectified, in the model's own unit."""
    blanks = subject.mean_response([Blank()] * BLANKS, before_noise=before_noise)
    average: Array = np.maximum(blanks.astype(np.float64).mean(axis=0), 0)
    return average
