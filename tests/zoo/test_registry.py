"""Names -> models: the promises that hold for every registered one, and the errors' words."""

import re
import subprocess
import sys
from functools import partial

import pytest
import torch

import vonenet
from tests.backbones.test_timm_stems import CHAINS, MEMBERS, PATCHES, size_of
from vonenet.errors import InputError, SettingError
from vonenet.v1.old_names import RENAMED, current_names
from vonenet.zoo.checkpoints import SETTINGS
from vonenet.zoo.registry import NAMED_MODELS, find_entry

SMALL = {"simple_channels": 4, "complex_channels": 4}
LARGE = {"samvit_base_patch16_224", "beit_base_patch16_224", "dpn48b"}
FAMILIES = {f"vone_{name}": family for family, name in MEMBERS.items() if name not in LARGE}
SIZES = dict.fromkeys(NAMED_MODELS, (64, 96)) | {n: size_of(f) for n, f in FAMILIES.items()}
FAST = [name for name in SIZES if FAMILIES.get(name, "resnet") in CHAINS | PATCHES]
# One of each kind of block
KINDS = ["voneresnet18", "voneresnet50", "vonealexnet", "vonecornet_s", "voneresnet_small"]


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_model_differentiates_to_the_image(name):
    model = vonenet.create_model(name, image_size=64, num_classes=5, **SMALL).eval()
    images = torch.rand(2, 3, 64, 64, requires_grad=True)
    logits = model(images)
    logits.sum().backward()
    assert logits.shape == (2, 5)
    assert images.grad.isfinite().all()
    assert (images.grad != 0).float().mean() > 0.9
    with torch.device("meta"):
        base = vonenet.create_base_model(name, num_classes=5, image_size=64)
        assert base(torch.empty(2, 3, 64, 64)).shape == (2, 5)


@pytest.mark.filterwarnings("ignore::vonenet.VOneNetWarning")  # a handful of filters is no sample
@pytest.mark.parametrize(
    ("name", "in_chans"),
    [
        *((name, 3) for name in FAST),
        *(pytest.param(name, 3, marks=pytest.mark.slow) for name in SIZES if name not in FAST),
        ("voneresnet18", 1),
        ("vone_test_vit", 1),
    ],
)
def test_classes_channels_and_rectangles(name, in_chans):
    """On the meta device, for one small member of every family of timm too."""
    size = SIZES[name]
    settings = {"num_classes": 7, "in_chans": in_chans, "image_size": size}
    model = vonenet.create_model(name, **settings, **SMALL)
    assert model.pretrained_cfg["input_size"] == (in_chans, *size)
    if name in NAMED_MODELS:
        assert model.get_submodule(model.head_name).out_features == 7
        assert model.noise == NAMED_MODELS[name].noise
    meta = model.eval().to("meta")
    assert meta(torch.empty(2, in_chans, *size, device="meta")).shape == (2, 7)
    assert all(not key.startswith("vone_block") for key, _ in model.named_parameters())
    blocks = [key for key in model.state_dict() if key.startswith("vone_block")]
    assert blocks == [f"vone_block.simple_conv_q{phase}.weight" for phase in (0, 1)]


def test_keywords_reach_the_block():
    settings = {"noise": "gaussian", "noise_scale": 0.1, "sf_max": 4.0}
    model = vonenet.create_model("voneresnet_small", image_size=32, **settings, **SMALL)
    assert {name: getattr(model.config.v1, name) for name in settings} == settings
    assert model.vone_block.gabor_parameters.frequency_cpd.max() <= 4.0


def test_unknown_names_list_the_nearest():
    with pytest.raises(vonenet.InputError, match="no weights are published .* voneresnet50_ns"):
        vonenet.get_model("resnet18")
    with pytest.raises(vonenet.InputError, match="'cornets_ff'; nearest: vonecornet_s"):
        vonenet.get_model("cornets_ff", pretrained=False)
    with pytest.raises(vonenet.InputError, match="image_size must be a positive number"):
        vonenet.create_base_model("voneresnet18", image_size=0)
    with pytest.raises(TypeError, match="unknown setting 'kernelsize'.*'kernel_size'"):
        vonenet.create_model("voneresnet18", kernelsize=31)
    with pytest.raises(vonenet.InputError, match="unknown setting 'features_only'"):
        vonenet.create_model("voneresnet18", features_only=True)


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("ResNet50", "voneresnet50"),
        ("resnet-50", "voneresnet50"),
        ("resnet50_at", "voneresnet50_at"),
        ("CORnetS", "vonecornet_s"),
        ("cornet_s", "vonecornet_s"),
        ("AlexNet", "vonealexnet"),
        ("resnet18", "voneresnet18"),
        ("vone_resnet10t", "vone_resnet10t"),
    ],
)
def test_the_originals_names_are_known_in_any_spelling(name, ours):
    assert find_entry(name).name == ours


ORIGINAL = {"noise_mode": None, "gabor_seed": 2, **SMALL}


@pytest.mark.filterwarnings("ignore:.*of the V1 filters:vonenet.VOneNetWarning")
def test_get_model_builds_what_the_original_built():
    """Its names, its filters (whose colours came from torch's generator), its defaults."""
    before = torch.get_rng_state()
    block = vonenet.get_model(model_arch=None, pretrained=False, **ORIGINAL)
    assert torch.equal(torch.get_rng_state(), before)
    assert isinstance(block, vonenet.VOneBlock)
    expected = vonenet.draw_parameters(8, filters="legacy", seed=2)
    assert block.gabor_parameters.to_dict() == expected.to_dict()
    model = vonenet.get_model(
        "Alexnet", False, "meta", image_size=64, in_channels=3, rand_param=False, **ORIGINAL
    )
    assert model.bottleneck.weight.device.type == "meta"
    v1 = model.config.v1
    assert (v1.visual_degrees, v1.kernel_size, v1.stride, v1.sf_max) == (8, 25, 4, 9)
    assert (v1.noise, v1.filters, v1.seed) == (None, "legacy", 2)
    other = vonenet.get_model(None, ksize=31, stride=2, visual_degrees=4, rand_param=True, **SMALL)
    config = other.config
    assert (config.kernel_size, config.stride, config.visual_degrees) == (31, 2, 4)
    assert config.filters == "legacy_uniform"
    with pytest.raises(vonenet.InputError, match="V1 alone, without num_classes"):
        vonenet.get_model(None, num_classes=10)


@pytest.mark.parametrize("name", RENAMED)
def test_old_names_mean_what_they_meant_and_say_ours(name):
    ours = RENAMED[name]
    value = getattr(vonenet.VOneBlockConfig().resolved(), ours)
    with pytest.warns(
        vonenet.VOneNetWarning, match=f"{name} is {ours}={re.escape(repr(value))} here"
    ):
        assert current_names({name: value}, SETTINGS) == {ours: value}
    with pytest.raises(SettingError, match=f"says {ours} a second time"):
        current_names({ours: value, name: value}, SETTINGS)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"model_path": "x"}, "checkpoint=PATH, or load_checkpoint"),
        ({"map_location": "cpu"}, r"\.to\(DEVICE\); get_model takes map_location"),
        ({"model_arch": "resnet50"}, "the name comes first"),
        ({"rand_param": "yes"}, "filters='legacy_uniform' or 'legacy'"),
        ({"with_retinablock": True}, "create_model.NAME, front_end='evnet2025'"),
        ({"with_light_adapt": False}, "evnet2025_no_"),
        ({"colors_p_cells": ["r/g"]}, "SubcorticalConfig"),
        ({"num_stochastic_copies": 3}, "forward_from_mean_response"),
        ({"features_only": True}, "create_feature_extractor"),
        ({"noise_scal": 3}, "did you mean 'noise_scale'"),
    ],
)
def test_keywords_that_mean_something_else_say_what_to_type(tmp_path, setting, words):
    with pytest.raises(SettingError, match=words):
        vonenet.create_model("voneresnet_small", **setting)
    with pytest.raises(SettingError, match=words):
        current_names(setting, SETTINGS, quiet=True)


def test_old_names_reach_the_block_through_create_model():
    with pytest.warns(vonenet.VOneNetWarning) as told:
        model = vonenet.create_model(
            "voneresnet_small", image_size=32, ksize=9, gabor_seed=1, rand_param=True, **SMALL
        )
    notes = " ".join(str(each.message) for each in told)
    assert "the original's own filters are filters='legacy'" in notes
    assert {each.filename for each in told if "here" in str(each.message)} == {__file__}
    v1 = model.config.v1
    assert (v1.kernel_size, v1.seed, v1.filters) == (9, 1, "legacy_uniform")


def test_trained_weights_keep_their_front_end(tmp_path):
    small = {"num_classes": 2, "image_size": 32, **SMALL}
    model = vonenet.create_model("voneresnet_small", **small)
    assert model.config.front_end == "vonenet"
    vonenet.save_checkpoint(model, tmp_path / "small.safetensors")
    build = partial(
        vonenet.create_model, "voneresnet_small", checkpoint=tmp_path / "small.safetensors"
    )
    assert build(front_end="vonenet").config == model.config
    with pytest.raises(vonenet.InputError, match="front-end vonenet, not evnet2025; leave that"):
        build(front_end="evnet2025")
    with pytest.raises(vonenet.InputError, match="unknown front-end 'evnet'; nearest: evnet2025"):
        vonenet.create_model("voneresnet_small", front_end="evnet")


def test_list_models_knows_named_and_timm_models():
    names = vonenet.list_models()
    assert names[: len(NAMED_MODELS)] == list(NAMED_MODELS)
    assert {"vone_convnext_tiny", "vone_resnet26", "vone_vit_tiny_patch16_224"} <= set(names)
    assert vonenet.list_models("vonealex*") == ["vonealexnet"]
    assert len(names) == len(set(names)) > 300


def in_a_new_process(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.split()


LATER = "import vonenet, timm; vonenet.register_timm_models()"


@pytest.mark.parametrize("imports", ["import timm", pytest.param(LATER, marks=pytest.mark.slow)])
def test_timm_knows_our_models_and_pythons_import_machinery_stays_as_it_was(imports):
    code = f"""
import sys
finders = list(sys.meta_path)
{imports}
import vonenet
model = timm.create_model("voneresnet_small", num_classes=4, image_size=32)
print(type(model).__name__, model.config.num_classes, sys.meta_path == finders)
"""
    assert in_a_new_process(code) == ["VOneNet", "4", "True"]


def test_importing_is_silent_and_light():
    """Opens no socket, prints nothing, imports neither torch nor matplotlib nor tyro."""
    code = """
import sys
def refuse(event, _):
    if event.startswith("socket."): raise SystemExit(f"{event} at import")
sys.addaudithook(refuse)
import vonenet
from vonenet.errors import InputError
print(*[m for m in ("torch", "matplotlib", "tyro", "timm") if m in sys.modules], "light")
"""
    assert in_a_new_process(code) == ["light"]


def test_every_public_name_exists():
    assert all(hasattr(vonenet, name) for name in vonenet.__all__)
    assert set(vonenet.__all__) <= set(dir(vonenet))
    with pytest.raises(AttributeError, match="no attribute 'create_modle'"):
        _ = vonenet.create_modle


def test_a_checkpoint_that_is_no_path_is_refused():
    with pytest.raises(InputError, match="checkpoint=0 is no path"):
        vonenet.create_model("voneresnet18", checkpoint=0)
