"""Spare big tensors on the CPU most of their page faults.

glibc returns blocks above 32 MB to the system when they are freed; the next tensor of that size is
then mapped and zeroed page by page. Measured on a 2-core virtual machine: 18 of the 21 ms of an
elementwise operation on 33 MB were spent there, 2 of 5 ms after `keep_freed_memory`.
"""

from __future__ import annotations

import ctypes
import mmap
import sys

import torch
from torch import Tensor

# From glibc's malloc.h
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3


def keep_freed_memory() -> bool:
    """Ask the C library (glibc) to keep memory that is freed, for the next big tensors.

    Call it once at the start of a program, as `vonenet demo` and the benchmarks do. The package
    does not do so when it is imported: this holds for the whole process, which then keeps the most
    memory that it ever used.

    Returns:
        Whether there is a glibc and it agreed.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = {_M_MMAP_THRESHOLD: 2**30, _M_TRIM_THRESHOLD: 2**31 - 1, _M_TOP_PAD: 2**26}
    return all(mallopt(option, value_bytes) == 1 for option, value_bytes in settings.items())


# Smaller blocks have few pages to fault.
_WORTH_BYTES = 2**22
_HUGE_PAGE_BYTES = 2**21


def in_memory_order(tensor: Tensor) -> Tensor:
    """Return a tensor without gaps as a view of one dimension, whatever its layout."""
    return tensor.as_strided((tensor.numel(),), (1,))


def in_huge_pages(tensor: Tensor) -> Tensor:
    """Advise Linux to use pages of 2 MB for a new tensor, if it is a big one; return the tensor."""
    advice = getattr(mmap, "MADV_HUGEPAGE", None)
    if advice is None or tensor.device.type != "cpu" or torch.compiler.is_compiling():
        return tensor
    size_bytes = tensor.numel() * tensor.element_size()
    if size_bytes < _WORTH_BYTES:
        return tensor
    start = -(-tensor.data_ptr() // _HUGE_PAGE_BYTES) * _HUGE_PAGE_BYTES
    end = (tensor.data_ptr() + size_bytes) // _HUGE_PAGE_BYTES * _HUGE_PAGE_BYTES
    madvise = getattr(ctypes.CDLL(None), "madvise", None)
    if madvise is not None and end > start:
        madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), ctypes.c_int(advice))
    return tensor
