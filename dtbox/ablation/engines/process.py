"""The process of a trial, as every engine starts it: its command line and its environment."""
from __future__ import annotations

import os
import sys

from dtbox.packaged import IMPORT_ROOT


def build_command(folder: str) -> list[str]:
    """Return the command line of a trial's process, to be started by this one."""
    return [sys.executable, '-m', 'dtbox.ablation.trial', folder, str(os.getpid())]


def build_environment(threads: int, device: str | None = None) -> dict[str, str]:
    """Return the environment of a trial's process: this one's, with `threads` for every library that would otherwise
    take all cores.

    Args:
        threads: CPU threads.
        device: what CUDA_VISIBLE_DEVICES is to be, or None to leave it.
    """
    env = dict(os.environ)
    env.update({name: str(threads) for name in ('OMP_NUM_THREADS', 'MKL_NUM_THREADS', 'OPENBLAS_NUM_THREADS',
                                                'NUMEXPR_NUM_THREADS')})
    env['PYTHONPATH'] = os.pathsep.join(p for p in (IMPORT_ROOT, os.environ.get('PYTHONPATH')) if p)
    if device is not None:
        env['CUDA_VISIBLE_DEVICES'] = device
    return env
