"""Processes that end with the one that started them, so that a killed run, grid or test leaves nothing running."""
from __future__ import annotations

import ctypes
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping

from dtbox.errors import InputError

PR_SET_PDEATHSIG = 1
"""Number of the option in Linux's prctl.h: the signal that a process gets when the thread that started it ends."""
ORPHANED = 137
"""Exit code of a process that ends because its parent has ended: that of SIGKILL."""


def end_with_parent(parent: int | None = None) -> None:
    """Let this process end when the process that started it ends, however that ends (SIGKILL included).

    On Linux the kernel sends SIGKILL, and keeps this setting when the process becomes another program (`exec`). The
    kernel watches the thread that started this process, so that thread has to live on. On other systems a thread looks
    once a second.

    Args:
        parent: process id of the parent; it may have ended before this call, then this process ends at once. None: the
            parent at this moment.
    """
    parent = os.getppid() if parent is None else parent
    if sys.platform == 'linux':
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(ORPHANED)
    else:
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def check_number(env: Mapping[str, str], name: str, low: int = 0, high: float = math.inf, default: str = '') -> None:
    """Raise `InputError` unless an environment variable is a whole number from `low` to `high`.

    Args:
        env: environment variables.
        name: of the variable.
        low, high: bounds, both allowed.
        default: what a variable that is not set counts as.
    """
    value = env.get(name, default)
    if not value.isdecimal() or not low <= int(value) <= high:
        most = '' if high == math.inf else f', at most {high}'
        raise InputError(f'the environment variable {name} is {value!r}; expected a whole number of at least {low}'
                         f'{most}. What starts ranks (torchrun, srun, mpirun) sets it; otherwise: unset {name}.')


def _use_one_thread() -> None:
    """In a forked process, let torch compute on one thread.

    A fork copies none of the threads of its parent. Where these have computed with OpenMP, GNU's library waits for them
    in the child, for ever, as soon as it divides work. PyTorch's DataLoader does the same in its workers.
    """
    torch = sys.modules.get('torch')
    if torch is not None and hasattr(torch, 'set_num_threads'):
        torch.set_num_threads(1)


if hasattr(os, 'register_at_fork'):
    os.register_at_fork(after_in_child=_use_one_thread)


def watch_parent(worker: int = 0) -> None:
    """Let this process end a second after the process that started it, whichever thread of that did. For DataLoader's
    `worker_init_fn`: workers whose run is killed would wait for each other.

    Args:
        worker: number of the worker.
    """
    threading.Thread(target=_watch, args=(os.getppid(),), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(ORPHANED)
