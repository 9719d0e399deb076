"""Speed and memory, side by side: the published formula, this package, torchvision, the floor."""
