"""Errors that a user can read: one sentence on stderr, and the exit code that says what kind it is."""
from __future__ import annotations

import contextlib
import errno
import functools
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from typing import Any, Callable, NoReturn

from dtbox.errors import Diverged, InputError, RankLost, Remark, Stopped
from dtbox.files import is_disk_full

SYSTEM = (errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG,
          errno.ELOOP, errno.ESTALE)
"""What a system says of files that it does not let be read or written."""


def main_guard(main: Callable) -> Callable:
    """Wrap a command line's main(argv=None): errors of users become one sentence on stderr.

    Exit codes: 2 for `InputError`, a full disk, too little memory, and files that may not be read or written;
    1 for `Diverged` and `RankLost`, 143 for `Stopped`, 130 for Ctrl-C.
    A reader that has gone (`| head`) ends it quietly with 141. Any other exception keeps its traceback.
    """
    @functools.wraps(main)
    def guarded(argv: list[str] | None = None) -> object:
        open_streams()
        try:
            try:
                result = main(argv)
            except SystemExit:  # argparse has printed its help, and nobody may read it
                sys.stdout.flush()
                raise
            sys.stdout.flush()
            return result
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left cannot be written either
            raise SystemExit(141) from None
        except InputError as e:
            leave(f'error: {e}', 2)
        except (Diverged, RankLost) as e:
            leave(f'stopped: {e}', 1)
        except Stopped as e:
            leave(f'stopped: {e}', 143)
        except OSError as e:
            if e.errno in SYSTEM and e.filename:
                leave(f'error: {os.fsdecode(e.filename)} cannot be read or written ({e.strerror}). Mend that, or give '
                      'another place.', 2)
            if not is_disk_full(e):
                raise
            leave(f'error: no space is left on the disk{f" for {e.filename}" if e.filename else ""}. Make room and run '
                  'the command again (a run or grid resumes with --resume).', 2)
        except (MemoryError, RuntimeError) as e:
            if not is_memory_short(e):
                raise
            said = '. '.join(str(e).split('DefaultCPUAllocator: ')[-1].split('. ')[:2]) or type(e).__name__
            leave(f'error: there is not enough memory ({said}). Lower batch_size (accumulative_counts makes up for it '
                  'in a training), let the parts recompute (recompute=True), or take smaller images or a smaller '
                  'model; `dtbox describe RECIPE` predicts what a training needs. A run that has a checkpoint resumes '
                  'from it (--resume).', 2)
        except KeyboardInterrupt:
            leave('interrupted.', 130)
    return guarded


def is_memory_short(error: BaseException) -> bool:
    """Whether an exception says that a tensor or an object found no memory, on a GPU or elsewhere."""
    return (isinstance(error, MemoryError) or type(error).__name__ == 'OutOfMemoryError'
            or isinstance(error, RuntimeError) and "DefaultCPUAllocator: can't allocate memory" in str(error))


@contextlib.contextmanager
def logging_remarks() -> Iterator[None]:
    """Within the block, log a `Remark`, and what Pillow remarks on an image, as a sentence: Python would print the
    place in the code, too, which says nothing to whoever runs a command."""
    before = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
        if not issubclass(category, Remark) and category.__module__ != 'PIL.Image':
            before(message, category, *place, **more)
            return
        from mmengine.logging import print_log
        print_log(str(message), 'current', level=logging.WARNING)
    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = before


def open_streams() -> None:
    """Let standard streams that are closed (`>&-`, some daemons) lead nowhere: the next files that are opened would
    take their numbers and get what is printed, and Python has None in their place."""
    for number, name in enumerate(('stdin', 'stdout', 'stderr')):
        try:
            os.fstat(number)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, 'w' if number else 'r', encoding='utf-8', closefd=False))


def leave(line: str, code: int) -> NoReturn:
    """Print a line on stderr and leave with an exit code."""
    print(line, file=sys.stderr)
    raise SystemExit(code) from None
