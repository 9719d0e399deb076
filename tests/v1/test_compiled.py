"""torch.compile without graph breaks, torch.export, and their numbers."""

import pytest
import torch

from vonenet.v1.block import VOneBlock
from vonenet.v1.noise import fixed_noise

SMALL = {"simple_channels": 6, "complex_channels": 5, "image_size": 32}


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch.compiler.reset()


@pytest.mark.parametrize("way", [None, "convolution", "space_to_depth"])
def test_it_compiles_in_one_graph(way):
    block = VOneBlock(**SMALL, noise=None)
    block.way = way
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    compiled = torch.compile(block, backend="aot_eager", fullgraph=True)
    ours_in, eager_in = images.clone().requires_grad_(), images.clone().requires_grad_()
    ours, eager = compiled(ours_in), block(eager_in)
    torch.testing.assert_close(ours, eager, rtol=1e-4, atol=1e-5)
    ours.square().sum().backward()
    eager.square().sum().backward()
    torch.testing.assert_close(ours_in.grad, eager_in.grad, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("noise", ["neuronal", "gaussian"])
def test_compiled_noise_is_fresh_and_of_the_right_size(noise):
    block = VOneBlock(**SMALL, noise=noise)
    compiled = torch.compile(block, backend="aot_eager", fullgraph=True)
    images = torch.rand(8, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        first, second, eager = compiled(images), compiled(images), block(images)
    assert not torch.equal(first, second)
    spread, expected = (first - second).std(), (eager - block(images)).std()
    assert float(spread / expected) == pytest.approx(1, abs=0.1)


def test_it_exports_for_any_batch_with_the_mean_responses_numbers():
    block = VOneBlock(**SMALL, noise=None)
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    shapes = ({0: torch.export.Dim("batch")},)
    program = torch.export.export(block, (images,), dynamic_shapes=shapes)
    images = torch.rand(5, 3, 32, 32)
    torch.testing.assert_close(program.module()(images), block(images), rtol=1e-4, atol=1e-5)


def test_fixed_noise_compiles():
    block = VOneBlock(**SMALL)
    images = torch.rand(2, 3, 32, 32)
    with fixed_noise(block, 1), torch.no_grad():
        eager = block(images)
        compiled = torch.compile(block, backend="aot_eager")
        torch.testing.assert_close(compiled(images), eager, rtol=1e-4, atol=1e-4)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("way", [None, "convolution", "space_to_depth"])
def test_on_cuda_all_ways_agree_with_the_cpu(way):
    block = VOneBlock(**SMALL, noise=None).double()
    images = torch.rand(2, 3, 33, 31, dtype=torch.float64) * 2 - 1
    ours_in, cpu_in = images.clone().cuda().requires_grad_(), images.clone().requires_grad_()
    on_gpu = VOneBlock(**SMALL, noise=None).double().cuda()
    on_gpu.way = way
    ours, cpu = on_gpu(ours_in), block(cpu_in)
    torch.testing.assert_close(ours.cpu(), cpu)
    ours.sum().backward()
    cpu.sum().backward()
    torch.testing.assert_close(ours_in.grad.cpu(), cpu_in.grad)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_on_cuda_in_bfloat16_and_channels_last():
    block = VOneBlock(**SMALL)
    images = torch.rand(4, 3, 32, 32) * 2 - 1
    mean = block.mean_response(images)
    on_gpu = VOneBlock(**SMALL).cuda()
    images = images.cuda().to(memory_format=torch.channels_last).requires_grad_()
    with torch.autocast("cuda", dtype=torch.bfloat16):
        ours, noisy = on_gpu.mean_response(images), on_gpu(images)
    assert float((ours.cpu().float() - mean).abs().max() / mean.max()) < 1.2e-2
    noisy.float().sum().backward()
    assert images.grad.isfinite().all()


@pytest.mark.parametrize("noise", ["neuronal", "gaussian", None])
def test_symbolic_tracing_sees_the_definition(noise):
    block = VOneBlock(**SMALL, noise=noise)
    traced = torch.fx.symbolic_trace(block)
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    names = [node.name for node in traced.graph.nodes if node.op == "call_function"]
    assert "filter_images" in names
    for seed in (0, 1):
        responses = []
        for module in (block, traced):
            torch.manual_seed(seed)
            responses.append(module(images))
        torch.testing.assert_close(*responses)


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace:FutureWarning")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_tracing_gives_plain_operations():
    block = VOneBlock(**SMALL, noise=None)
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    traced = torch.jit.trace(block, images)
    torch.testing.assert_close(traced(images), block(images), rtol=1e-4, atol=1e-5)
