"""One suite over all registered models: classes, channels, rectangular images, shapes.

Every named model and one small member of every timm family, on the meta device: shapes without
arithmetic. `test_registry.py` and `tests/backbones` compute with them.
"""

import pytest
import torch

import vonenet
from tests.backbones.test_timm_stems import MEMBERS, size_of
from vonenet.zoo.registry import NAMED_MODELS

LARGE = {"samvit_base_patch16_224", "beit_base_patch16_224", "dpn48b"}
TIMM = {
    f"vone_{member}": size_of(family) for family, member in MEMBERS.items() if member not in LARGE
}
NAMED = dict.fromkeys(NAMED_MODELS, (64, 96))


@pytest.mark.filterwarnings("ignore::vonenet.VOneNetWarning")  # a handful of filters is no sample
@pytest.mark.parametrize("in_chans", [1, 3])
@pytest.mark.parametrize("name", [*NAMED, *TIMM])
def test_classes_channels_and_rectangles(name, in_chans):
    height, width = {**NAMED, **TIMM}[name]
    model = vonenet.create_model(
        name,
        num_classes=7,
        in_chans=in_chans,
        image_size=(height, width),
        simple_channels=4,
        complex_channels=4,
    )
    assert model.pretrained_cfg["input_size"] == (in_chans, height, width)
    meta = model.eval().to("meta")
    assert meta(torch.empty(2, in_chans, height, width, device="meta")).shape == (2, 7)
    assert all(not key.startswith("vone_block") for key, _ in model.named_parameters())
    blocks = [key for key in model.state_dict() if key.startswith("vone_block")]
    assert blocks == [f"vone_block.simple_conv_q{phase}.weight" for phase in (0, 1)]
