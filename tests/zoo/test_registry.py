"""Names -> models: the promises that hold for every registered one, and the errors' words."""

import subprocess
import sys

import pytest
import torch

import vonenet
from tests.backbones.test_timm_stems import CHAINS, MEMBERS, PATCHES, size_of
from vonenet.zoo.registry import NAMED_MODELS

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
    with pytest.raises(vonenet.InputError, match="resnet50_ns"):
        vonenet.get_model("resnet18")
    with pytest.raises(vonenet.InputError, match="image_size must be a positive number"):
        vonenet.create_base_model("voneresnet18", image_size=0)
    with pytest.raises(TypeError, match="unknown setting 'kernelsize'.*'kernel_size'"):
        vonenet.create_model("voneresnet18", kernelsize=31)
    with pytest.raises(vonenet.InputError, match="unknown setting 'features_only'"):
        vonenet.create_model("voneresnet18", features_only=True)


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
