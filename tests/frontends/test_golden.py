"""The front-end of 2025 gives what the published code gave (tests/golden/README.md)."""

from pathlib import Path

import numpy as np
import pytest
import torch

from vonenet.frontends.front_end import FrontEnd
from vonenet.v1.noise import no_noise
from vonenet.zoo.registry import create_front_end

GOLDEN = Path(__file__).parent.parent / "golden" / "evnet.npz"
CASES = {
    "standard_224_7_0": "evnet2025",
    "standard_64_2_0": "evnet2025",
    "no-p-cells_224_7_0": "evnet2025_no_p_cells",
    "no-m-cells_224_7_0": "evnet2025_no_m_cells",
    "no-light-adapt_224_7_0": "evnet2025_no_light_adaptation",
    "no-contrast-norm_224_7_0": "evnet2025_no_contrast_normalization",
}
TOLERANCE = 1e-5  # of the largest value


class Case:
    """A preset of ours at a size, and what the published code gave for the same images."""

    def __init__(self, key: str) -> None:
        with np.load(GOLDEN) as stored:
            names = [name for name in stored.files if name.startswith(f"{key}_")]
            self.golden = {name.removeprefix(f"{key}_"): stored[name] for name in names}
        _, size, degrees, seed = key.split("_")
        self.front_end: FrontEnd = create_front_end(
            CASES[key],
            image_size=int(size),
            visual_degrees=float(degrees),
            seed=int(seed),
            stride=4,
        )
        generator = torch.Generator().manual_seed(int(self.golden["image_seed"]))
        self.images = torch.rand(2, 3, int(size), int(size), generator=generator)


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return Case(request.param)


def assert_close(found: torch.Tensor, golden: np.ndarray) -> None:
    expected = torch.from_numpy(golden)
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= TOLERANCE * expected.abs().max()


def test_filters_are_those_drawn_by_the_published_code(case: Case) -> None:
    found = case.front_end.vone_block.gabor_parameters
    ours = {
        "phase": found.phase_deg,
        "theta": found.orientation_deg,
        "sf": found.frequency_cpd,
        "nx": found.nx_cycles,
        "ny": found.ny_cycles,
    }
    for name, values in ours.items():
        np.testing.assert_allclose(values, case.golden[name], rtol=1e-9)
    np.testing.assert_array_equal(found.color_channel, case.golden["color"])


def test_responses_are_those_of_the_published_code(case: Case) -> None:
    subcortical, v1 = case.front_end.stages
    with torch.no_grad(), no_noise(case.front_end):
        cells = subcortical(case.images)
        responses = v1(cells)
        whole = case.front_end(case.images)
    assert_close(cells[..., ::8, ::8], case.golden["subcortical"])
    assert_close(cells.mean((2, 3)), case.golden["subcortical_mean"])
    assert_close(responses[0, :, 3, 5], case.golden["v1_0"])
    assert_close(responses.mean((2, 3)), case.golden["v1_mean"])
    assert_close(responses.std((2, 3)), case.golden["v1_std"])
    torch.testing.assert_close(whole, responses)
