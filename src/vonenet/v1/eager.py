"""Whether a tensor is a plain one on the CPU, so that hand-written code may replace operations."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def is_plain_on_cpu(tensor: Tensor) -> bool:
    """False for other devices, and where operations are recorded or transformed.

    That is under `torch.compile`, `torch.export`, tracing and `torch.func`.
    """
    if type(tensor) not in (Tensor, nn.Parameter) or tensor.device.type != "cpu":
        return False
    if torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None:
        return False
    return not torch._C._are_functorch_transforms_active()
