"""The machine that a grid runs on: its processor, and how many cores are ours."""
from __future__ import annotations

import os
import platform


def read_processor_name() -> str:
    """Return the name of the CPU."""
    try:
        with open('/proc/cpuinfo') as f:
            return next(line.split(':', 1)[1].strip() for line in f if line.startswith('model name'))
    except (OSError, StopIteration):
        return platform.processor() or 'unknown'


def count_cores(quota: str = '/sys/fs/cgroup/cpu.max') -> int:
    """Return how many CPU cores this process may use: by its affinity, and by the quota of the container that it runs
    in.

    Args:
        quota: file of the container's quota.
    """
    count = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
    try:
        with open(quota) as f:
            microseconds, period = f.read().split()
        return min(count, max(1, int(microseconds) // int(period)))
    except (OSError, ValueError):  # no container, or one with `max`
        return count
