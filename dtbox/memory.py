"""The most memory that a stretch of work holds; and that of freed tensors, kept for the next ones."""
from __future__ import annotations

import ctypes

import torch

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Numbers of mallopt's parameters in glibc's malloc.h."""


class Peak:
    """Measure the peak between entering and leaving the block.

    Attributes:
        megabytes: 10^6 bytes: of the GPU where there is one, else resident memory of the process (Linux); None where
            that cannot be told.
    """
    megabytes = None

    def __enter__(self):
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        else:
            try:
                with open('/proc/self/clear_refs', 'w') as f:
                    f.write('5')  # resets VmHWM
                self._able = True
            except OSError:
                self._able = False
        return self

    def __exit__(self, *error):
        if torch.cuda.is_available():
            self.megabytes = torch.cuda.max_memory_allocated() / 1e6
        elif self._able:
            with open('/proc/self/status') as f:
                self.megabytes = next(int(line.split()[1]) for line in f if line.startswith('VmHWM:')) * 1024 / 1e6


def measure_resident_megabytes() -> float:
    """Return the resident memory of this process now, in 10^6 bytes (Linux); 0 where that cannot be told."""
    try:
        with open('/proc/self/status') as f:
            return next(int(line.split()[1]) for line in f if line.startswith('VmRSS:')) * 1024 / 1e6
    except OSError:
        return 0.0


def keep_freed_memory() -> bool:
    """Let this process keep what it frees, on the CPU, and hand it to the next tensors.

    By default glibc asks the system for each tensor above 32 MB and gives it back when it is freed; the system clears
    its pages again each time, which takes a fifth of a training step at 256 pixels. The peak stays about the same, but
    the process does not shrink after it. An allocator that stands in for glibc's (jemalloc, tcmalloc) is not touched.

    Returns:
        whether it could be set (glibc only).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, -1))
