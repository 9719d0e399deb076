"""Published VOneNet weights: where they are, fetching them once, and reading them safely.

Addresses and file names are those of the original package's `__init__.py`; the one
known SHA-1 is the one that Brain-Score's voneresnet-50-non_stochastic plug-in pins.
"""

from __future__ import annotations

import os
import re
import threading
import zipfile
from argparse import Namespace
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from vonenet.errors import CheckpointError
from vonenet.zoo.download import download, file_hash, is_as_recorded, record_sha256

WEIGHTS_URL = "https://vonenet-models.s3.us-east-2.amazonaws.com/"
# Where training programs put the state dict in what they save
STATE_DICT_KEYS = ("state_dict", "model_state_dict", "model", "model_state", "net", "network")
# What wrappers put into names: DataParallel and trainers in front, the others before any part. As
# `module` is also a part's own name in some networks, it is taken away only where it wraps.
FRONT = ("module.", "model.", "net.", "network.")
ANYWHERE = re.compile(r"(?<![^.])(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
IN_FRONT_OF_V1 = re.compile(
    r"(.*?)vone_block\.(?:module\.)*(?:simple_conv_q0\.weight|gabor_bank\.phase_rad)"
)
WRAPPED_CHILD = re.compile(r"(vone_block|bottleneck|model)\.(?:module\.)+")


@dataclass(frozen=True)
class PublishedWeights:
    """One published weights file."""

    filename: str  # its name at the address and in the cache
    sha1: str | None = None  # hexadecimal SHA-1 of the file, where one has been published

    @property
    def url(self) -> str:
        """Address of the file; the environment variable VONENET_WEIGHTS_URL names a mirror."""
        base = os.environ.get("VONENET_WEIGHTS_URL") or WEIGHTS_URL
        return f"{base.rstrip('/')}/{self.filename}"


PUBLISHED = {  # by the original package's name of the model
    "resnet50": PublishedWeights("voneresnet50_e70.pth.tar"),
    "cornets": PublishedWeights("vonecornets_e70.pth.tar"),
    "alexnet": PublishedWeights("vonealexnet_e70.pth.tar"),
    "resnet50_at": PublishedWeights("voneresnet50_at_e96.pth.tar"),
    "resnet50_ns": PublishedWeights(
        "voneresnet50_ns_e70.pth.tar", sha1="c270528818d6d7fc67a6aec86919d47311ad6221"
    ),
}


def cache_dir() -> Path:
    """Return the folder of downloads: VONENET_HOME, or where torch.hub keeps checkpoints.

    With VONENET_HOME=~/.vonenet the files that the original package has downloaded are used.
    """
    home = os.environ.get("VONENET_HOME")
    return Path(home).expanduser() if home else Path(torch.hub.get_dir()) / "checkpoints"


def fetch(weights: PublishedWeights) -> Path:
    """Return the path of published weights on this machine; download them if needed.

    A file that is there is used without any request, also from a folder that cannot be written. It
    must still be the one that was stored; one that was put there by hand is examined as a download.

    Raises:
        DownloadError: the weights could not be fetched or are not what they should be.
        CheckpointError: the file that is there is damaged.
    """
    path = cache_dir() / weights.filename
    if not path.is_file():
        return download(weights.url, path, check=partial(_examine, sha1=weights.sha1))
    as_recorded = is_as_recorded(path)
    if as_recorded is False:
        raise CheckpointError(
            f"{path} is damaged: it is not the file that was stored there (its SHA-256 differs);"
            f" delete it and {path.name}.sha256 to download it again"
        )
    if as_recorded is None:  # put there by hand, or by the original package
        try:
            _examine(path, weights.sha1)
        except CheckpointError as error:
            raise CheckpointError(f"{error}; delete it to download it again") from None
        with suppress(OSError):  # a shared cache may be read-only
            record_sha256(path, content=path)
    return path


def read_torch_file(path: Path) -> dict[str, Any]:
    """Read what torch.save wrote (`.pth.tar`, `.pt`, zip or legacy format) to the CPU.

    No code of the file is run: beside tensors and plain values only `argparse.Namespace`, paths,
    and numbers, strings and arrays of numpy are accepted; the numbers become Python's.

    Returns:
        A dictionary with, at least, "state_dict": parameter names -> tensors. It may be called
        otherwise in the file (`STATE_DICT_KEYS`), or be all that the file holds.

    Raises:
        CheckpointError: the file is missing, damaged, hostile or holds no state dict.
    """
    content = _unpickled(path)
    if isinstance(content, dict):
        if state_dict := _state_dict(content):
            return {"state_dict": state_dict}
        for key in STATE_DICT_KEYS:
            if state_dict := _state_dict(content.get(key)):
                return {**content, "state_dict": state_dict}
    raise CheckpointError(
        f"cannot read {path}: it holds no state dict of tensors, neither alone nor as "
        f"{', '.join(STATE_DICT_KEYS)}"
    )


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a weights file, safetensors or torch.save's, by their plain names.

    Raises:
        CheckpointError: the file is missing, damaged, hostile or holds something else.
    """
    if not path.is_file():
        raise CheckpointError(f"no weights file {path}")
    if is_safetensors(path):
        return plain_names(read_safetensors(path))
    return plain_names(read_torch_file(path)["state_dict"])


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a safetensors file."""
    try:
        return dict(load_file(path))
    except SafetensorError as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error


def plain_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Take from tensors' names what torch.compile, DataParallel, FSDP and trainers put there.

    Raises:
        CheckpointError: they are of two VOneNets, or two would have one name.
    """
    named = [(ANYWHERE.sub("", key), value) for key, value in weights.items()]
    fronts = {match[1] for key, _ in named if (match := IN_FRONT_OF_V1.fullmatch(key))}
    if len(fronts) > 1:
        shown = " and ".join(repr(front) for front in sorted(fronts))
        raise CheckpointError(f"two VOneNets are in one state dict, called {shown}; keep one")
    if fronts:
        (front,) = fronts
        named = [(WRAPPED_CHILD.sub(r"\1.", k.removeprefix(front), 1), v) for k, v in named]
    while not fronts and (front := _common_front([key for key, _ in named])):
        named = [(key.removeprefix(front), value) for key, value in named]
    plain = dict(named)
    if len(plain) < len(weights):
        raise CheckpointError("two tensors of a state dict have one name without their wrappers")
    return plain


def _common_front(keys: list[str]) -> str:
    return next((f for f in FRONT if keys and all(key.startswith(f) for key in keys)), "")


def is_safetensors(path: Path) -> bool:
    """Tell whether a file begins like a safetensors file."""
    with path.open("rb") as file:
        head = file.read(9)
    return len(head) == 9 and head[8:] == b"{"


def _examine(path: Path, sha1: str | None) -> None:
    """Refuse another file, one that is no readable checkpoint, and one of wrong checksums."""
    if sha1 is not None and (actual := file_hash(path, "sha1")) != sha1:
        raise CheckpointError(f"{path} is another file: its SHA-1 is {actual}, not {sha1}")
    read_torch_file(path)
    if not zipfile.is_zipfile(path):
        return  # the legacy format has no checksums
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()  # torch itself does not compare them
    except (zipfile.BadZipFile, RuntimeError) as error:
        raise CheckpointError(f"cannot read {path}: damaged archive ({error})") from error
    if damaged is not None:
        raise CheckpointError(f"cannot read {path}: the checksum of {damaged} in it is wrong")


def _unpickled(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            head = file.read(256)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error
    if not head:
        raise CheckpointError(f"cannot read {path}: it is empty")
    if head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<"):
        raise CheckpointError(f"cannot read {path}: it is an HTML or XML page, not weights")
    try:
        with _ACCEPTING:
            # The program itself may accept some for good: these must stay.
            known = torch.serialization.get_safe_globals()
            with torch.serialization.safe_globals([x for x in _ACCEPTED if x not in known]):
                return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can raise anything
        reason = f"it is truncated, damaged or no file of torch.save ({type(error).__name__})"
        if wanted := re.search(r"GLOBAL (\S+)", str(error)):
            reason = f"it asks for {wanted[1]}, which weights do not need and which may run code"
        # "from None": torch's text explains how to switch the safety off.
        raise CheckpointError(f"cannot read {path}: {reason}") from None


def _state_dict(value: object) -> dict[str, Tensor] | None:
    """Return a state dict, numpy's arrays in it as tensors; None if it is none."""
    if not isinstance(value, dict) or not value:
        return None
    tensors: dict[Any, Any]
    tensors = {k: v.tensor() if isinstance(v, _Array) else v for k, v in value.items()}
    plain = all(isinstance(k, str) and isinstance(v, Tensor) for k, v in tensors.items())
    return tensors if plain else None


class _ScalarType:
    """Stands in for numpy.dtype in a file, whose own unpickling sets internal flags unchecked."""

    def __init__(self, code: str, align: bool = False, copy: bool = False) -> None:
        if re.fullmatch(r"b1|[iuf][1248]|[SU]\d+", code) is None:
            raise ValueError(f"not the type of a number or a string: {code!r}")
        self.code = code
        self.byte_order = "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] not in ("<", ">", "|"):
            raise ValueError(f"not a byte order: {state[1]!r}")
        self.byte_order = state[1]


def _scalar(kind: _ScalarType, data: bytes) -> Any:
    """Stand in for the function that numpy's scalars are unpickled with."""
    return np.frombuffer(data, kind.byte_order + kind.code, count=1)[0].item()


class _Array:
    """Stands in for numpy.ndarray in a file: bytes with a type and a shape, nothing else."""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, by_columns, data = state
        values = np.frombuffer(data, kind.byte_order + kind.code)
        self.values = values.reshape(shape, order="F" if by_columns else "C")

    def tensor(self) -> Tensor | None:
        """Return numbers as a tensor; None for strings."""
        if self.values.dtype.kind in "SU":
            return None
        native = self.values.dtype.newbyteorder("=")
        return torch.from_numpy(np.array(self.values, native, order="C"))


def _empty_array(*_: Any) -> _Array:
    """Stand in for the function that numpy's arrays are unpickled with."""
    return _Array()


def _path(*parts: str) -> str:
    """Stand in for pathlib's classes, of which only that of this system could be made."""
    return "/".join(parts)


# What old training scripts left in their files; versions of numpy and pathlib name it differently.
_ACCEPTED: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    Namespace,
    (_ScalarType, "numpy.dtype"),
    (_Array, "numpy.ndarray"),
    *((_scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    *((_empty_array, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")),
    *((_path, f"pathlib.{kind}") for kind in ("PosixPath", "WindowsPath")),
    *((_path, f"pathlib._local.{kind}") for kind in ("PosixPath", "WindowsPath")),
]
_ACCEPTING = threading.Lock()  # torch keeps the accepted types in one list for all threads
