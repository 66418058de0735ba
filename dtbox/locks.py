"""A lock on a folder that dies with the process that holds it."""
from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator

from dtbox.errors import InputError
from dtbox.files import move_aside


class Locked:
    """Hold a lock file for a block.

    Args:
        path: of the lock file, which is made and stays.
        what: what is locked, for the message.

    Raises:
        InputError: another process holds it.
    """

    def __init__(self, path: str | os.PathLike, what: str) -> None:
        self.path = path
        self.what = what
        self.file = None

    def __enter__(self):
        self.file = open(self.path, 'a+')
        if not any(_take(self.file, wait) for wait in (0, 0.02, 0.1)):  # `find_holder` of another process is short
            with self.file:
                raise InputError(f'another process (pid {_holder(self.file)}) is working on {self.what} in '
                                 f'{os.path.dirname(self.path)}. Wait for it, or stop it.')
        self.file.truncate(0)
        self.file.write(str(os.getpid()))
        self.file.flush()
        return self

    def __exit__(self, *_):
        self.release()

    def release(self) -> None:
        """Let go of the lock, also where forked processes have inherited the open file; twice does no harm."""
        if self.file is not None and not self.file.closed:
            import fcntl
            fcntl.flock(self.file, fcntl.LOCK_UN)
            self.file.close()


@contextlib.contextmanager
def one_at_a_time(folder: str | os.PathLike) -> Iterator[None]:
    """Let one process at a time run the block, of those that name the same folder: to look and then act on what was
    seen. Where the file system does not lock folders, all run it."""
    import fcntl
    number = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(number, fcntl.LOCK_EX)
        yield
    finally:
        os.close(number)


def take_folder(folder: str, lock: Locked, move: bool) -> str | None:
    """Make a folder and take its lock, as one step: of two processes that want it at the same moment, one gets it and
    the other one changes nothing.

    Args:
        folder: that need not exist. A link stays, and what it leads to is taken: it may name a larger disk.
        lock: of a file in it, to be let go by the caller.
        move: rename a folder that holds something to FOLDER.1 (or the next free number) first.

    Returns:
        where it was moved to, or None.

    Raises:
        InputError: another process holds the lock.
    """
    folder = os.path.realpath(folder) if os.path.islink(folder) else folder
    parent = os.path.dirname(os.path.abspath(folder))
    os.makedirs(parent, exist_ok=True)
    with one_at_a_time(parent):
        if other := find_holder(lock.path):
            raise InputError(f'another run (pid {other}) uses the folder {folder}. Wait for it or stop it, or give '
                             'another --work-dir.')
        moved = move_aside(folder) if move else None
        os.makedirs(folder, exist_ok=True)
        lock.__enter__()
    return moved


def _take(file, wait=0):
    import fcntl
    time.sleep(wait)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False


def _holder(file):
    file.seek(0)
    return file.read().strip() or 'unknown'


def find_holder(path: str | os.PathLike) -> str:
    """Return the pid (text) of the process that holds the lock file `path`, '' where none does."""
    try:  # some network file systems lock for writing only what may be written
        with open(path, 'r+' if os.access(path, os.W_OK) else 'r') as file:
            if not _take(file):
                return _holder(file)
            import fcntl
            fcntl.flock(file, fcntl.LOCK_UN)
            return ''
    except FileNotFoundError:
        return ''


def wait_until_free(path: str | os.PathLike, seconds: float = 10, every: float = 0.1) -> str:
    """Wait for a lock file to be let go; returns the pid (text) of the process that still holds it after `seconds`, or
    ''."""
    for _ in range(int(seconds / every)):
        if not find_holder(path):
            return ''
        time.sleep(every)
    return find_holder(path)
