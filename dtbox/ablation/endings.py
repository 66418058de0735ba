"""How trials and grids end that do not end well: exit codes, signals, what the system refuses."""
from __future__ import annotations

import errno
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from dtbox.ablation.trial import NO_ROOM
from dtbox.errors import InputError

DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ENOTDIR)
"""Error numbers that say that a place cannot be written to."""


def explain_exit(code: int, why: str = '') -> tuple[str, str]:
    """Return (status, reason) for the exit code of a trial's process that could not say it itself.

    Args:
        code: negative (or above 128, of a shell): the signal that ended it.
        why: what the engine knows of it.
    """
    if code == NO_ROOM:
        return 'killed', why or 'there was no space left on its disk'
    if code < 0 or code > 128:
        number = -code if code < 0 else code - 128
        name = signal.Signals(number).name if number in set(signal.Signals) else f'signal {number}'
        return 'killed', why or f'its process was ended by {name}' + (' (out of memory?)' if number == signal.SIGKILL
                                                                      else '')
    return 'failed', why or f'its process ended with exit code {code}; see log.txt'


@contextmanager
def stop_on_sigterm() -> Iterator[None]:
    """Let a request to terminate end the grid as Ctrl-C does."""
    def stop(*_):
        raise KeyboardInterrupt
    try:
        before = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not the main thread
        before = None
    try:
        yield
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)


@contextmanager
def explain_os_errors(path: str) -> Iterator[None]:
    """Turn what the system refuses to write in the folder of a grid into a sentence; everything that was written is
    whole."""
    try:
        yield
    except OSError as e:
        what = f'cannot write to {path}' if e.errno in DISK else f'the grid in {path} cannot continue'
        raise InputError(f'{what}: {e.strerror or e}. The trials that finished are kept; mend that, then continue '
                         'with --resume.') from e
