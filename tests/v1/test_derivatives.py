"""Jacobians, forward mode and second derivatives; graphs in other formats; feature extraction."""

import numpy as np
import pytest
import timm
import torch
from torch.func import hessian, jacfwd, jacrev
from torchvision.models.feature_extraction import create_feature_extractor

import vonenet
from vonenet.v1.block import VOneBlock
from vonenet.v1.noise import fixed_noise, no_noise

# PyTorch's own, when forward mode is first used
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*is deprecated:FutureWarning")
SMALL = {"simple_channels": 4, "complex_channels": 4, "image_size": 32}


@pytest.mark.parametrize("mode", ["neuronal", "gaussian", None])
def test_every_way_to_a_jacobian_gives_the_same(mode):
    block = VOneBlock(**SMALL, noise=mode).double()
    images = torch.rand(1, 3, 9, 8, dtype=torch.float64)
    images[..., :3, :3] = 0
    jacobian = torch.autograd.functional.jacobian

    def responses(x):
        return block(x).mean((2, 3))

    with fixed_noise(block, 1):
        expected = jacobian(responses, images)
        for other in (
            jacrev(responses)(images),
            jacfwd(responses)(images),
            jacobian(responses, images, vectorize=True),
            jacobian(responses, images, vectorize=True, strategy="forward-mode"),
        ):
            torch.testing.assert_close(other, expected)
        large = torch.rand(1, 3, 32, 32, dtype=torch.float64)  # by Fourier transforms
        torch.testing.assert_close(
            jacobian(responses, large, vectorize=True), jacrev(responses)(large)
        )


def test_second_derivatives_agree_in_every_mode():
    """Forward mode twice followed a function of ours once, and gave other numbers."""
    block = VOneBlock(**SMALL).double()
    images = torch.rand(1, 3, 5, 4, dtype=torch.float64)

    def energy(x):
        return block(x).square().mean()

    with fixed_noise(block, 1):
        expected = torch.autograd.functional.hessian(energy, images)
        for other in (
            hessian(energy)(images),
            jacfwd(jacfwd(energy))(images),
            torch.autograd.functional.hessian(energy, images, vectorize=True),
        ):
            torch.testing.assert_close(other, expected)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    settings = {**SMALL, "num_classes": 3}
    return vonenet.create_model("voneresnet_small", **settings).eval()


@pytest.mark.filterwarnings("ignore")  # of the exporters
@pytest.mark.oracle
@pytest.mark.parametrize("dynamo", [True, False])
def test_onnx_runs_give_eager_numbers(network, dynamo, tmp_path):
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    images[0, :, 4:28, 4:28] = 0

    def run():
        torch.onnx.export(network, (images,), tmp_path / "net.onnx", dynamo=dynamo)
        session = runtime.InferenceSession(tmp_path / "net.onnx")
        return session.run(None, {session.get_inputs()[0].name: images.numpy()})[0]

    for context in (no_noise(network), fixed_noise(network, 1)):
        with context, torch.no_grad():
            np.testing.assert_allclose(run(), network(images), rtol=1e-4, atol=1e-4)
    assert np.isfinite(run()).all()


def test_features_are_extracted_and_switched(network):
    images = torch.rand(1, 3, 32, 32)
    extractors = [
        create_feature_extractor(network, {"bottleneck": "features"}),
        timm.models.create_feature_extractor(network, {"bottleneck": "features"}),
    ]
    for extractor in extractors:
        with no_noise(network):
            expected = network.bottleneck(network.vone_block(images))
            torch.testing.assert_close(extractor(images)["features"], expected)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize(
    "name",
    [
        "voneresnet18",
        pytest.param("vone_tf_efficientnetv2_b0", marks=pytest.mark.slow),
        pytest.param("vone_mobileone_s0", marks=pytest.mark.slow),
    ],
)
def test_graphs_differ_from_eager_by_rounding_alone(name):
    """Without trained weights deep nets amplify it; in double precision nothing is left."""
    settings = {**SMALL, "num_classes": 3}
    model = vonenet.create_model(name, **settings).eval().double()
    images = torch.rand(1, 3, 32, 32, dtype=torch.float64) * 2 - 1
    for context in (no_noise(model), fixed_noise(model, 1)):
        with context, torch.no_grad():
            eager = model(images)
            for graph in (
                torch.jit.trace(model, images),
                torch.export.export(model, (images,)).module(),
            ):
                error = (graph(images) - eager).abs().max() / eager.abs().max()
                assert error < 1e-11
