"""Switches of the noise: of a thread, not of a model; in copies, replicas, graphs; for good."""

import contextvars
import copy
import pickle
import threading
import warnings

import pytest
import torch

from vonenet.errors import InputError
from vonenet.v1.block import VOneBlock
from vonenet.v1.noise import Noise, fixed_noise, no_noise, noise_generator

SMALL = {"simple_channels": 4, "complex_channels": 4, "image_size": 32}
IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.fixture
def block():
    return VOneBlock(**SMALL)


def is_noisy(block):
    return not torch.equal(block(IMAGES), block(IMAGES))


def is_silent(block, like):
    return torch.equal(block(IMAGES), like.mean_response(IMAGES))


def in_thread(function, *args):
    results = []
    thread = threading.Thread(target=lambda: results.append(function(*args)))
    thread.start()
    thread.join()
    return results[0]


@pytest.mark.parametrize("inner", [no_noise, lambda model: fixed_noise(model, 3)])
def test_threads_that_share_a_model_do_not_meet_each_others_switches(block, inner):
    """Each begins and ends while the other is inside; the noise was gone for good afterwards."""
    entered, left = threading.Event(), threading.Event()

    def other():
        with inner(block):
            entered.set()
            left.wait(10)
            return is_noisy(block)

    results = []
    thread = threading.Thread(target=lambda: results.append(other()))
    with no_noise(block):
        thread.start()
        entered.wait(10)
        assert is_silent(block, block)
    assert is_noisy(block)
    left.set()
    thread.join()
    assert results == [False]
    assert is_noisy(block)


def test_a_new_thread_begins_without_switches_unless_it_gets_a_context(block):
    with no_noise(block):
        assert in_thread(is_noisy, block)
        assert not in_thread(contextvars.copy_context().run, is_noisy, block)


def test_contexts_of_interleaved_generators_end_each_on_its_own(block):
    def silent():
        with no_noise(block):
            yield

    first, second = silent(), silent()
    next(first), next(second)
    first.close()
    assert not is_noisy(block)
    second.close()
    assert is_noisy(block)


@pytest.mark.parametrize("again", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_has_the_switches_until_they_end(block, again):
    with no_noise(block):
        copied = again(block)
        assert is_silent(copied, block)
    assert is_noisy(copied)
    with no_noise(block):
        assert is_noisy(copied)
    with fixed_noise(block, 1), noise_generator(block, torch.Generator()):
        assert is_noisy(again(block))  # could not be pickled


def test_a_replica_has_the_switches_of_the_thread_that_made_it(block):
    for context in (no_noise(block), fixed_noise(block, 1)):
        with context:
            expected = block.noise(torch.ones(1, 8, 4, 4))
            replica = block.noise._replicate_for_data_parallel()
        assert torch.equal(in_thread(replica, torch.ones(1, 8, 4, 4)), expected)
    assert is_noisy(block)
    with (
        noise_generator(block, torch.Generator()),
        pytest.raises(InputError, match="cannot serve several replicas; use fixed_noise"),
    ):
        block.noise._replicate_for_data_parallel()


def test_a_traced_graph_is_switched_too(block):
    traced = torch.fx.symbolic_trace(block)
    for model in (block, traced):
        with no_noise(model):
            torch.testing.assert_close(traced(IMAGES), block.mean_response(IMAGES))
    assert is_noisy(traced)


def test_a_compiled_block_follows_the_switches():
    torch.compiler.reset()
    block = VOneBlock(**SMALL)
    compiled = torch.compile(block, backend="eager", fullgraph=True)
    for context in (no_noise(block), fixed_noise(block, 1), fixed_noise(block, 2)):
        assert is_noisy(compiled)
        with context, torch.no_grad():
            torch.testing.assert_close(compiled(IMAGES), block(IMAGES), rtol=1e-4, atol=1e-4)


def test_what_is_assigned_within_a_context_holds_after_it(block):
    with no_noise(block):
        block.noise_mode = "gaussian"
        assert is_silent(block, block)
    assert block.config.noise == "gaussian"
    assert is_noisy(block)


def test_fixed_noise_can_last(block):
    block.fix_noise(seed=3)
    lasting = block(IMAGES)
    with fixed_noise(block, 3):
        assert torch.equal(block(IMAGES), lasting)
    assert torch.equal(pickle.loads(pickle.dumps(block))(IMAGES), lasting)
    assert block.fixed_noise.shape == (1, 8, 16, 16)
    block.fixed_noise = block.fixed_noise
    assert torch.equal(block(IMAGES), lasting)
    block.fix_noise(256, 3)
    assert torch.equal(block(IMAGES), lasting)
    block.fix_noise(4)
    assert not torch.equal(block(IMAGES), lasting)
    block.unfix_noise()
    assert block.fixed_noise is None
    assert is_noisy(block)
    for wrong in (-1, True, torch.ones(3)):
        with pytest.raises(InputError, match=r"got (-1|True|torch.float32 of shape \(3,\))$"):
            block.fixed_noise = wrong


@pytest.mark.parametrize("seed", [-1, None, 1.5, "1"])
def test_an_impossible_seed_is_named(block, seed):
    with pytest.raises(InputError, match="seed must be a whole number"), fixed_noise(block, seed):
        pass


def test_the_originals_attributes_act(block):
    block.noise = None  # as model.noise = None
    assert is_silent(block, block)
    unit = block(IMAGES)
    block.k_exc = 2 * block.k_exc
    torch.testing.assert_close(block(IMAGES), 2 * unit)
    block.noise_mode = "gaussian"
    block.noise_scale, block.noise_level = 0.5, 0.0
    assert (block.noise.scale, block.config.noise_scale, block.config.k_exc) == (0.5, 0.5, 50.0)
    for name, value in {"noise_mode": "loud", "noise_scale": 0.0, "k_exc": float("nan")}.items():
        with pytest.raises(InputError, match="must be"):
            setattr(block, name, value)


@pytest.mark.parametrize(
    ("part", "name", "line"),
    [
        ("", "stride", "VOneBlock(block.config, stride=2)"),
        ("", "ksize", "VOneBlock(block.config, kernel_size=2)"),
        ("", "visual_degrees", "VOneBlock(block.config, visual_degrees=2)"),
        ("", "sf", "VOneBlock(block.config, gabor_parameters=GaborParameters(...))"),
        ("", "config", "VOneBlock(config)"),
        ("noise", "noise_scale", "block.noise_scale = 2"),
        ("noise", "scale", "block.noise_scale = 2"),
        ("simple_conv_q0", "stride", "VOneBlock(block.config, stride=2)"),
    ],
)
def test_what_is_fixed_says_what_to_type(block, part, name, line):
    with pytest.raises(InputError) as refusal:
        setattr(block.get_submodule(part), name, 2)
    assert str(refusal.value).endswith(f"type {line}")


def test_a_slip_warns_and_other_names_are_the_users(block):
    with pytest.warns(UserWarning, match="does not read noise_sclae.* did you mean noise_scale"):
        block.noise_sclae = 1.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        block.note, block.noise.note, block.simple_conv_q0.note = "mine", 1, None
        block.register_forward_hook(lambda *_args: None)
        block.way = "convolution"
    assert block.note == "mine"


def test_the_noise_can_be_replaced_by_any_module(block):
    block.noise = torch.nn.Identity()
    assert is_silent(block, block)
    assert block.config.noise == "neuronal"  # as built: a foreign module says nothing of itself
    with pytest.raises(InputError, match="was replaced by a Identity"):
        block.noise_mode = None
    block.noise = Noise("neuronal", 0.35, 0.07)
    assert is_noisy(block)
