"""Receptive-field mapping with small patches of grating (Marques et al. 2021, science.md 5.2)."""

from __future__ import annotations

import numpy as np

from vonenet.physiology.canvas import Canvas
from vonenet.physiology.design import Design, crossed
from vonenet.physiology.recording import Array, ReceptiveFields
from vonenet.physiology.stimuli import Blank, Grating
from vonenet.physiology.subject import Subject

POSITIONS = 21  # along each axis
LARGEST_REACH_DEG = 2.5
PATCH_DIAMETER_DEG = 1 / 3
PATCH_FREQUENCY_CPD = 3.0
ORIENTATIONS_DEG = (0.0, 45.0, 90.0, 135.0)
PHASES_DEG = (0.0, 180.0)
# Of the largest response: what is below does not belong to the field
THRESHOLD = 0.05
# Nor does what so many standard errors of a stochastic unit's blank trials explain: of 3,528
# patches not one is above by chance
NOISE_ERRORS = 4.0
BLANKS = 10


def patches(canvas: Canvas) -> Design:
    """Patches of grating on a grid over the middle of a canvas."""
    reach = min(LARGEST_REACH_DEG, canvas.degrees / 2)
    positions = np.linspace(-reach, reach, POSITIONS)

    def patch(y: float, x: float, orientation: float, phase: float) -> Grating:
        return Grating(
            x_deg=x,
            y_deg=y,
            orientation_deg=orientation,
            frequency_cpd=min(PATCH_FREQUENCY_CPD, canvas.nyquist_cpd / 2),
            phase_deg=phase,
            diameter_deg=PATCH_DIAMETER_DEG,
        )

    return crossed(patch, y=positions, x=positions, orientation=ORIENTATIONS_DEG, phase=PHASES_DEG)


def spontaneous_response(subject: Subject) -> Array:
    """(units,) response to a blank canvas, rectified, in the model's own unit."""
    return _blank_response(subject, subject.uses_mean_response)


def _blank_response(subject: Subject, before_noise: bool) -> Array:
    blanks = subject.mean_response([Blank()] * BLANKS, before_noise=before_noise)
    average: Array = np.maximum(blanks.astype(np.float64).mean(axis=0), 0)
    return average


def map_fields(subject: Subject, *, progress: str | None = None) -> ReceptiveFields:
    """Map the receptive fields of a subject's units, before noise where it can be left out.

    Args:
        subject: Whom.
        progress: A bar's description; None shows no bar.
    """
    design = patches(subject.canvas)
    shown = subject.mean_response(design.stimuli, before_noise=True, progress=progress)
    blank = _blank_response(subject, before_noise=True)
    responses = np.maximum(design.shaped(shown), 0)
    maps = (responses - blank[:, None, None, None, None]).max(axis=(3, 4))
    noise = NOISE_ERRORS * _standard_error(subject)
    threshold = np.maximum(THRESHOLD * maps.max(axis=(1, 2)), noise)
    maps = np.maximum(maps, 0)
    weights = np.where(maps > threshold[:, None, None], maps, 0.0)
    centers, diameters = _centroids(weights, design.axis("x"), design.axis("y"))
    return ReceptiveFields(design.axis("x"), design.axis("y"), maps, centers, diameters)


def _standard_error(subject: Subject) -> Array:
    """(units,) of the average of a blank's trials; 0 where fields are mapped before noise."""
    if subject.has_mean_response:
        return np.zeros(len(subject))
    trials = subject.respond([Blank()] * BLANKS, trials=BLANKS).astype(np.float64)
    error: Array = trials.std(axis=(0, 1)) / np.sqrt(subject.trials)
    return error


def _centroids(weights: Array, x: Array, y: Array) -> tuple[Array, Array]:
    """Centres (units, 2) and diameters (units,) of weights (units, y, x)."""
    total = weights.sum(axis=(1, 2))
    shares = weights / np.where(total > 0, total, np.nan)[:, None, None]
    by_x, by_y = shares.sum(axis=1), shares.sum(axis=2)
    centers = np.stack([by_x @ x, by_y @ y], axis=1)
    variances = [by_x @ x**2 - centers[:, 0] ** 2, by_y @ y**2 - centers[:, 1] ** 2]
    # Rounding may leave a field of one position with a variance below 0
    diameters = 4 * np.sqrt(np.maximum(np.mean(variances, axis=0), 0))
    return centers, diameters
