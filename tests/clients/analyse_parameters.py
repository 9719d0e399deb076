"""The drawn parameters: envelopes in pixels, sorted by frequency, with their kernels."""

import numpy as np

from vonenet import draw_parameters
from vonenet.vonenet import VOneNet

DEGREES, CELLS = 9, 16
PPD = 224 / DEGREES


def old(_):
    model = VOneNet(
        model_arch=None,
        visual_degrees=DEGREES,
        ksize=31,
        gabor_seed=0,
        rand_param=False,
        simple_channels=CELLS // 2,
        complex_channels=CELLS // 2,
    )
    sf, nx, ny = [model.gabor_params[key] for key in ["sf", "nx", "ny"]]
    order = np.argsort(model.gabor_params["sf"])
    sf /= PPD
    assert np.allclose(sf, model.sf)
    assert np.allclose(model.gabor_params["sf"], PPD * model.sf)  # what was read is a copy
    return {
        "order": order,
        "sigx": (nx / sf)[order],
        "area": (nx * ny / sf**2)[order],
        "theta": model.theta[order],
    }


def new(_):
    drawn = draw_parameters(CELLS, filters="legacy", seed=0)
    order = np.argsort(drawn.frequency_cpd)
    sigx, sigy = drawn.sigma_x_deg * PPD, drawn.sigma_y_deg * PPD
    return {
        "order": order,
        "sigx": sigx[order],
        "area": (sigx * sigy)[order],
        "theta": np.deg2rad(drawn.orientation_deg)[order],
    }
