import math

import numpy as np
import pytest
import torch

from vonenet.errors import InputError
from vonenet.physiology.stimuli import Blank, Canvas, Grating, Plaid, Window, crossed, render
from vonenet.v1.gabor import gabor_kernels
from vonenet.v1.parameters import draw_parameters

CANVAS = Canvas(degrees=8, pixels=224, in_chans=1)
PIXEL_DEG = 8 / 224
STIMULI = [
    Blank(mean_luminance=0.4),
    Grating(orientation_deg=30, frequency_cpd=1.3, diameter_deg=3, edge_deg=0.5, x_deg=0.4),
    Grating(orientation_deg=75, frequency_cpd=3, contrast=0.2, inner_diameter_deg=1),
    Plaid(
        first=Grating(orientation_deg=0, frequency_cpd=1, contrast=0.5),
        second=Grating(orientation_deg=90, frequency_cpd=2, contrast=0.3, diameter_deg=2),
    ),
]


def modulation(stimulus, canvas=CANVAS):
    """The image about its mean luminance of 0.5, in units of it."""
    return (2 * render([stimulus], canvas)[0, 0] - 1).double()


def disc(**settings):
    """A uniform disc or ring: a grating of no frequency to speak of."""
    return Grating(orientation_deg=90, frequency_cpd=1e-9, **settings)


@pytest.mark.parametrize(("down", "right"), [(8, 0), (0, 16), (3, 4), (-12, 5), (20, 21)])
@pytest.mark.parametrize("phase_deg", [0.0, 70.0])
def test_a_grating_is_one_frequency_of_its_orientation_contrast_and_phase(down, right, phase_deg):
    """Whole numbers of cycles in the canvas fall into one bin of its Fourier transform."""
    orientation = math.degrees(math.atan2(right, down))
    grating = Grating(
        orientation_deg=orientation,
        frequency_cpd=math.hypot(down, right) / 8,
        phase_deg=phase_deg,
        contrast=0.6,
    )
    spectrum = torch.fft.fft2(modulation(grating)) / 224**2
    # The transform counts from the first pixel, a phase from the centre
    from_first = 2 * math.pi * (down + right) * (0.5 - 112) / 224 + math.radians(phase_deg)
    expected = 0.3 * complex(math.cos(from_first), math.sin(from_first))
    assert abs(spectrum[down, right] - expected) < 1e-5
    spectrum[down, right] = spectrum[-down, -right] = 0
    assert spectrum.abs().max() < 1e-5


@pytest.mark.parametrize("contrast", [0.0, 0.03, 0.5, 1.0])
@pytest.mark.parametrize("mean", [0.5, 0.3])
def test_contrast_is_michelson_around_the_mean_luminance(contrast, mean):
    grating = Grating(orientation_deg=90, frequency_cpd=0.5, contrast=contrast, mean_luminance=mean)
    image = render([grating], CANVAS)
    low, high = image.min(), image.max()
    assert (high - low) / (high + low) == pytest.approx(contrast, abs=2e-3)
    assert image.mean() == pytest.approx(mean, abs=1e-5)


def test_a_grating_is_the_carrier_of_the_v1_filter_of_the_same_parameters():
    """Orientation, frequency and phase mean here what they mean to `vonenet.v1`."""
    drawn = draw_parameters(50, seed=3)
    kernels = gabor_kernels(drawn, pixels_per_degree=28, kernel_size=25).numpy()
    canvas = Canvas(degrees=25 / 28, pixels=25, in_chans=1)
    names = ("orientation_deg", "frequency_cpd", "phase_deg")
    gratings = [Grating(**{name: getattr(drawn, name)[i] for name in names}) for i in range(50)]
    carriers = 2 * render(gratings, canvas)[:, 0].double().numpy() - 1
    x, y = (axis.double().numpy() for axis in canvas.coordinates(canvas.whole))
    angle, sigma_x, sigma_y = (
        each[:, None, None]
        for each in (np.deg2rad(drawn.orientation_deg), drawn.sigma_x_deg, drawn.sigma_y_deg)
    )
    across, along = x * np.sin(angle) - y * np.cos(angle), x * np.cos(angle) + y * np.sin(angle)
    envelopes = np.exp(-((across / sigma_x) ** 2 + (along / sigma_y) ** 2) / 2)
    amplitude = 2 * math.pi * sigma_x * sigma_y * 28**2
    np.testing.assert_allclose(carriers * envelopes, kernels * amplitude, atol=1e-5, rtol=0)


def test_positions_are_right_and_up_from_the_centre():
    spot = modulation(disc(diameter_deg=0.5, x_deg=1, y_deg=2))
    rows, columns = torch.nonzero(spot > 0.5, as_tuple=True)
    assert (columns.double().mean() + 0.5 - 112) * PIXEL_DEG == pytest.approx(1, abs=1e-3)
    assert (112 - rows.double().mean() - 0.5) * PIXEL_DEG == pytest.approx(2, abs=1e-3)


@pytest.mark.parametrize("offset", [0.0, 0.3, 0.77])
@pytest.mark.parametrize("pixels", [4, 9.3, 60])
def test_areas_are_right_to_a_hundredth(pixels, offset):
    """Whatever the place of the shape among the pixels."""
    size, place = pixels * PIXEL_DEG, offset * PIXEL_DEG
    at = {"x_deg": place, "y_deg": -place / 3}
    spot = disc(diameter_deg=size, **at)
    ring = disc(diameter_deg=2 * size, inner_diameter_deg=size, **at)
    areas = {spot: math.pi / 4 * size**2, ring: 3 * math.pi / 4 * size**2}
    for stimulus, area in areas.items():
        assert modulation(stimulus).sum() * PIXEL_DEG**2 == pytest.approx(area, rel=0.01)


def test_a_soft_edge_is_a_raised_cosine_about_the_diameter():
    spot = disc(diameter_deg=3, edge_deg=1, x_deg=PIXEL_DEG / 2, y_deg=-PIXEL_DEG / 2)
    profile = modulation(spot)[112, 112:]
    distance = torch.arange(len(profile)) * PIXEL_DEG
    expected = 0.5 + 0.5 * torch.cos(math.pi * (distance - 1).clamp(0, 1))
    torch.testing.assert_close(profile, expected.double(), atol=1e-5, rtol=0)


def test_a_grating_stays_within_its_aperture():
    grating = Grating(
        orientation_deg=20, frequency_cpd=2, diameter_deg=4, inner_diameter_deg=2, x_deg=1
    )
    full = Grating(orientation_deg=20, frequency_cpd=2, x_deg=1)
    x, y = CANVAS.coordinates(CANVAS.whole)
    distance = torch.hypot(x - 1, y)
    inside = (distance > 1 + PIXEL_DEG) & (distance < 2 - PIXEL_DEG)
    outside = (distance < 1 - PIXEL_DEG) | (distance > 2 + PIXEL_DEG)
    assert torch.equal(modulation(grating)[inside], modulation(full)[inside])
    assert (modulation(grating)[outside] == 0).all()


def test_a_plaid_is_the_sum_of_its_gratings():
    parts = modulation(STIMULI[3].first) + modulation(STIMULI[3].second)
    torch.testing.assert_close(modulation(STIMULI[3]), parts, atol=1e-6, rtol=0)


def test_a_window_holds_the_same_pixels_as_the_whole():
    window = Window(top=90, left=101, height=40, width=33)
    whole = render(STIMULI, CANVAS)
    assert torch.equal(render(STIMULI, CANVAS, window), whole[:, :, 90:130, 101:134])


def test_colour_images_are_grey_and_mixed_kinds_keep_their_places():
    canvas = Canvas(degrees=2, pixels=56)
    images = render(STIMULI, canvas)
    assert images.shape == (len(STIMULI), 3, 56, 56)
    assert images.dtype == torch.float32
    assert images.min() >= 0
    assert images.max() <= 1
    assert torch.equal(images[:, 0], images[:, 2])
    for stimulus, image in zip(STIMULI, images, strict=True):
        assert torch.equal(render([stimulus], canvas)[0], image)
    assert (images[0] == 0.4).all()


GRATING = {"orientation_deg": 0, "frequency_cpd": 1}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Canvas(0, 224), "degrees must be above 0, got 0"),
        (lambda: Canvas(8, 1), "pixels must be 2 or more, got 1"),
        (lambda: Canvas(8, 224, 2), "in_chans must be 3"),
        (lambda: Grating(**GRATING, contrast=1.5), r"contrast must be in \[0, 1\], got 1.5"),
        (lambda: Grating(**GRATING, contrast=math.nan), "contrast must be in"),
        (lambda: Grating(orientation_deg=0, frequency_cpd=0), "frequency_cpd must be above 0"),
        (
            lambda: Grating(**GRATING, diameter_deg=1, inner_diameter_deg=2),
            "diameter_deg must be above inner_diameter_deg=2",
        ),
        (lambda: Grating(**GRATING, edge_deg=-1), "edge_deg must be 0 or more"),
        (lambda: Blank(mean_luminance=1), r"mean_luminance must be in \(0, 1\)"),
        (lambda: Grating(**GRATING, mean_luminance=0.8), "highest contrast there is 0.25"),
        (
            lambda: Plaid(first=Grating(**GRATING), second=Grating(**GRATING, contrast=0.1)),
            "brighter than white",
        ),
    ],
)
def test_what_cannot_be_shown_is_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_a_design_crosses_its_axes_and_shapes_its_responses():
    design = crossed(Grating, frequency_cpd=(1, 2), orientation_deg=(0, 45, 90))
    assert [s.frequency_cpd for s in design.stimuli] == [1, 1, 1, 2, 2, 2]
    assert [s.orientation_deg for s in design.stimuli] == [0, 45, 90] * 2
    responses = design.by_unit(np.arange(12).reshape(6, 2))
    assert responses.shape == (2, 2, 3)
    np.testing.assert_array_equal(responses[1], [[1, 3, 5], [7, 9, 11]])
    assert design.axis("orientation_deg").tolist() == [0, 45, 90]
