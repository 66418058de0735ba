"""A lock on a folder that dies with the process that holds it."""
from __future__ import annotations

import os
import time

from dtbox.errors import InputError


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
        if not _take(self.file):
            with self.file:
                raise InputError(f'another process (pid {_holder(self.file)}) is working on {self.what} in '
                                 f'{os.path.dirname(self.path)}. Wait for it, or stop it.')
        self.file.truncate(0)
        self.file.write(str(os.getpid()))
        self.file.flush()
        return self

    def __exit__(self, *_):
        self.file.close()


def _take(file):
    import fcntl
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
    try:
        with open(path, 'r+') as file:  # some network file systems lock for writing only what may be written
            return '' if _take(file) else _holder(file)
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
