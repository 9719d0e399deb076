"""Keeps freed memory in the process, so that big tensors on the CPU do not start from page faults.

glibc returns blocks above 32 MB to the system when they are freed; the next tensor of that size is
then mapped and zeroed page by page. Measured on a 2-core virtual machine: 18 of the 21 ms of an
elementwise operation on 33 MB were spent there, 2 of 5 ms after this call.
"""

import ctypes
import sys

# From glibc's malloc.h
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
_KEEP_BYTES = 2**31 - 1
_GROW_BYTES = 2**26


def keep_freed_memory() -> bool:
    """Ask glibc to keep what is freed; True if there is a glibc and it agreed.

    For the process that a command owns: a library must not decide this for its user.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = {
        _M_MMAP_THRESHOLD: 2**30,
        _M_TRIM_THRESHOLD: _KEEP_BYTES,
        _M_TOP_PAD: _GROW_BYTES,
    }
    return all(mallopt(option, value) == 1 for option, value in settings.items())
