"""Speed and memory of vonenet beside the published formula, torchvision and a lower bound."""
