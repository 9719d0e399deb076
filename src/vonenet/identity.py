"""What a model is, as one short hash: what it is built of, its settings and its weights."""

from __future__ import annotations

import hashlib
import inspect
import os
import sysconfig
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import is_dataclass
from enum import Enum
from functools import partial
from itertools import chain
from pathlib import Path, PurePath
from types import BuiltinFunctionType, FunctionType, MethodType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

HASH_LENGTH = 16  # hexadecimal digits: 64 bits tell any two models or sets of images apart
# Attributes of modules that no number depends on, or that stand in the weights
DESCRIPTIONS = frozenset(
    {"training", "pretrained_cfg", "default_cfg", "gabor_parameters", "class_names"}
)
# Whose versions a result names; another version of them is no other model
PACKAGES = frozenset({"builtins", "torch", "torchvision", "timm", "vonenet"})
PLAIN = (str, bytes, int, float, complex, torch.dtype, PurePath, Enum)
INSTALLED = frozenset({"site-packages", "dist-packages"})


def model_hash(module: nn.Module) -> str:
    """Return a short sha256 hash of a module.

    Of each submodule its name, its class and its public settings count, such as the strength of the
    noise or the slope of an activation; of each parameter and buffer its name, type, shape and
    values, whether it is saved with the weights or not: so mean and std of a `PixelModel` too. Of
    classes and functions that are in no installed package, such as a network in a file of the
    user's, that file counts as a whole. What does not count are versions of packages, what they
    print of a module, devices, and attributes whose names begin with "_".
    """
    description = _Description()
    text = description.of(module) + "".join(sorted(filter(None, description.files.values())))
    return hashlib.sha256(text.encode()).hexdigest()[:HASH_LENGTH]


class _Description:
    """Values of any kind as text; each module and each object is described once."""

    def __init__(self) -> None:
        self.files: dict[str, str] = {}  # path -> digest of its content; "": of a package
        self._seen: set[int] = set()

    def of(self, value: object) -> str:
        """Return what a value is; of kinds that are no settings, the name of the kind alone."""
        if isinstance(value, np.ndarray | np.generic):  # first: a np.float64 is a float
            content = value.tolist() if value.dtype == object else value.tobytes()
            return f"{value.dtype} {value.shape} {self.of(content)}"
        if value is None or isinstance(value, PLAIN):
            return repr(value)
        if isinstance(value, Tensor):
            return self.of_tensor(value)
        if isinstance(value, Mapping):
            return str(sorted((self.of(key), self.of(each)) for key, each in value.items()))
        if isinstance(value, tuple | list):
            return f"({', '.join(map(self.of, value))})"
        if isinstance(value, set | frozenset):
            return str(sorted(map(self.of, value)))
        if isinstance(value, partial):
            return f"partial {self.of([value.func, value.args, value.keywords])}"
        if isinstance(value, MethodType):
            return f"{self.of(value.__self__)}.{value.__name__}"
        if isinstance(value, type | FunctionType | BuiltinFunctionType):
            return self.of_code(value)
        name, is_new = type(value).__name__, id(value) not in self._seen
        self._seen.add(id(value))
        if is_new and isinstance(value, nn.Module):
            return self.of_module(value)
        is_known = is_dataclass(value) or isinstance(value, SimpleNamespace | Namespace)
        if is_new and hasattr(value, "__dict__") and (is_known or self.is_own(type(value))):
            return f"{name} {self.of(_public(value))}"
        return name

    def of_module(self, module: nn.Module) -> str:
        """Return what a module and all below it are."""
        parts = []
        for name, child in module.named_modules():
            self._seen.add(id(child))
            parts.append(f"{name} {self.of(type(child))} {self.of(_public(child))}")
        tensors = dict(chain(module.named_parameters(), module.named_buffers()))
        parts += [f"{name} {self.of_tensor(tensors[name])}" for name in sorted(tensors)]
        return "\n".join(parts)

    def of_tensor(self, tensor: Tensor) -> str:
        """Return type, shape and a digest of the values."""
        values = tensor.detach().cpu().contiguous().reshape(-1)
        digest = hashlib.sha256(values.view(torch.uint8).numpy().data).hexdigest()
        return f"{tensor.dtype} {tuple(tensor.shape)} {digest}"

    def of_code(self, code: Any) -> str:
        """Return the name of a class or function; of a function in no package, its code too."""
        if isinstance(code, type):
            for kind in code.__mro__:
                self.is_own(kind)
        elif isinstance(code, FunctionType) and self.is_own(code):
            inside, cells = code.__code__, code.__closure__ or ()
            parts = [inside.co_firstlineno, inside.co_code, inside.co_consts, code.__defaults__]
            return f"{code.__qualname__} {self.of([*parts, [c.cell_contents for c in cells]])}"
        return str(code.__name__ if isinstance(code, type) else code.__qualname__)

    def is_own(self, code: type | FunctionType) -> bool:
        """Return whether a class or function is in no installed package, and note its file."""
        if code.__module__.partition(".")[0] in PACKAGES:
            return False
        functions = [code] if isinstance(code, FunctionType) else vars(code).values()
        found = [inspect.unwrap(each) for each in functions if isinstance(each, FunctionType)]
        for path in dict.fromkeys(function.__code__.co_filename for function in found):
            if path not in self.files:
                self.files[path] = _digest_of_own(path)
        return not found or any(self.files[each.__code__.co_filename] for each in found)


def _public(value: object) -> dict[str, Any]:
    return {n: v for n, v in vars(value).items() if n[0] != "_" and n not in DESCRIPTIONS}


def _digest_of_own(path: str) -> str:
    """Return a digest of a file's content; "" if it is of an installed package or of Python."""
    if not INSTALLED.isdisjoint(Path(path).parts):
        return ""
    if path.startswith(sysconfig.get_path("stdlib") + os.sep):
        return ""
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError:  # typed at a prompt, or made by `exec`
        return "no file"
