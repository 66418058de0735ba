"""Writing files so that a reader never sees half of one, and keeping what a user had."""
from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
import stat
import tempfile
from collections import Counter
from collections.abc import Iterator
from typing import Any

from dtbox.errors import InputError

LEFTOVER = re.compile(r'\..+\.part(\.\w+)?|\.metrics\.json\..+')
"""Names of files that are being written, or were when their process died (see `replacing`)."""


@contextlib.contextmanager
def replacing(path: str | os.PathLike, sweep: bool = True) -> Iterator[str]:
    """Give the path of a temporary file beside `path`; it takes the place of `path` when the block ends well.

    When the block raises, or the process dies, `path` stays as it was. What a process that was killed has left of the
    same file is taken away.

    Args:
        path: file to write or replace.
        sweep: look for such leftovers. It reads all names of the folder, which takes long where there are very many;
            without it they stay for `remove_leftovers`.
    """
    folder = os.path.dirname(os.path.abspath(path))
    os.makedirs(folder, exist_ok=True)
    stem, suffix = os.path.splitext(os.path.basename(path))
    if sweep:
        remove_leftovers(folder, re.compile(rf'\.{re.escape(stem)}\.\w+\.part{re.escape(suffix)}'))
    try:
        handle, temporary = tempfile.mkstemp(prefix=f'.{stem}.', suffix=f'.part{suffix}', dir=folder)
    except OSError as e:
        e.filename = os.fspath(path)  # that of the temporary file says nothing
        raise
    os.close(handle)
    try:
        with in_use(temporary):
            yield temporary
            _put(temporary, path)
    finally:
        if os.path.exists(temporary):
            os.remove(temporary)


def _put(temporary: str, path: str | os.PathLike) -> None:
    """Let a file that is whole take its place."""
    with open(temporary, 'rb') as f:
        os.fsync(f.fileno())
    apply_umask(temporary)
    os.replace(temporary, path)


@contextlib.contextmanager
def replacing_files(folder: str | os.PathLike, name: str) -> Iterator[str]:
    """Give a temporary folder in `folder`, of which the files move to `folder` when the block ends well; otherwise
    `folder` stays as it was. For what is written as several files that belong together.

    Args:
        folder: that exists.
        name: of what is written; it names the temporary folder.
    """
    remove_leftovers(folder, re.compile(rf'\.{re.escape(name)}\.\w+\.part'))
    temporary = tempfile.mkdtemp(prefix=f'.{name}.', suffix='.part', dir=folder)
    try:
        with in_use(temporary):
            yield temporary
            for file in sorted(os.listdir(temporary)):
                _put(os.path.join(temporary, file), os.path.join(folder, file))
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def renaming(path: str | os.PathLike) -> Iterator[str]:
    """As `replacing`, for one of very many files in a folder of this process: nothing is searched, locked or flushed to
    the disk."""
    folder, name = os.path.split(os.path.abspath(path))
    temporary = os.path.join(folder, f'.{name}.part')
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        if os.path.exists(temporary):
            os.remove(temporary)


def apply_umask(path: str | os.PathLike) -> None:
    """Give a file or folder the mode that the umask leaves new ones; those of `tempfile` are for their owner alone."""
    umask = os.umask(0)
    os.umask(umask)
    os.chmod(path, (0o777 if os.path.isdir(path) else 0o666) & ~umask)


@contextlib.contextmanager
def in_use(path: str | os.PathLike) -> Iterator[None]:
    """Within the block, `remove_leftovers` of no process takes away the file or folder `path`. The system lets go of
    what a process that is killed has held."""
    number = os.open(path, os.O_RDONLY)
    try:
        _try_lock(number)
        yield
    finally:
        os.close(number)


def _try_lock(number: int) -> bool:
    """Lock an open file or folder for this process; False where another one holds it, or nothing is ever locked."""
    try:
        import fcntl
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except (ImportError, OSError):  # no such system, or file system
        return False


def remove_leftovers(folder: str | os.PathLike, names: re.Pattern = LEFTOVER) -> None:
    """Take away files and folders that a process was killed over, each the unfinished copy of another one; what a
    living process holds (see `in_use`) stays.

    Args:
        folder: that is looked through; not those below it.
        names: of what may go.
    """
    for name in os.listdir(folder):
        if names.fullmatch(name):
            path = os.path.join(folder, name)
            with contextlib.suppress(OSError):  # another process was faster, or it is not ours
                number = os.open(path, os.O_RDONLY | getattr(os, 'O_NONBLOCK', 0))  # it may be a pipe
                try:
                    if _try_lock(number):
                        shutil.rmtree(path) if os.path.isdir(path) else os.remove(path)
                finally:
                    os.close(number)


def is_disk_full(error: BaseException | None) -> bool:
    """Whether an exception, or one that led to it, says that a disk has no room (or its user none left)."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__ or error.__context__
    return False


@contextlib.contextmanager
def explain_writing(folder: str | os.PathLike) -> Iterator[None]:
    """Turn what the system says of a folder that cannot be written to into an `InputError`; a full disk stays what it
    is."""
    try:
        yield
    except OSError as e:
        if is_disk_full(e):
            raise
        raise InputError(f'{os.fspath(e.filename or folder)} cannot be written ({e.strerror or e}). Give another '
                         'folder, or mend that.') from e


def write_atomic(path: str | os.PathLike, text: str) -> None:
    """Write a text file in one step."""
    with replacing(path) as temporary:
        with open(temporary, 'w', encoding='utf-8') as f:
            f.write(text)


def require_file(path: str | os.PathLike) -> None:
    """Raise OSError for a pipe or a device, whose reader may wait for ever or never come to an end; `open` does so for
    folders and for what is not there."""
    if not stat.S_ISREG(mode := os.stat(path).st_mode) and not stat.S_ISDIR(mode):
        raise OSError('it is a pipe or a device, not a file')


def parse_json(text: str | bytes) -> Any:
    """Return the value of a JSON text; `ValueError` for one that is broken, nested deeper than Python follows, or has a
    name twice in one object, of which Python would keep the last value alone."""
    try:
        return json.loads(text, object_pairs_hook=_make_dict)
    except RecursionError:
        raise ValueError('it is nested too deeply') from None


def _make_dict(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise ValueError(f'the name {twice[:80]!r} comes twice in one object')
    return values


def find_unused_path(path: str, *others: str) -> str:
    """Return `path`, or where that exists the first free one of NAME.1.SUFFIX, NAME.2.SUFFIX, ...

    Args:
        path: wanted.
        others: endings in the place of the suffix that must be free, too ('' for a folder of the file's name).
    """
    stem, suffix = os.path.splitext(path)
    number, free = 0, stem
    while any(os.path.lexists(free + ending) for ending in (suffix, *others)):
        number += 1
        free = f'{stem}.{number}'
    return free + suffix


def check_name(path: str | os.PathLike) -> None:
    """Raise `InputError` for a place of results whose name is not UTF-8: much of what writes and draws there (torch,
    safetensors, matplotlib) takes no such name."""
    try:
        os.path.abspath(path).encode('utf-8')
    except UnicodeEncodeError:
        raise InputError(f'the name of {os.path.abspath(path)!r} is not UTF-8. Give a place with another name, or '
                         'rename the folder.') from None


def check_writable(path: str | os.PathLike) -> None:
    """Raise `InputError` where a file could not be written, before hours are spent on its content: it is a folder, or
    its folder, or the first one above that exists, is no folder or may not be written to."""
    if os.path.isdir(path):
        raise InputError(f'{os.fspath(path)} is a folder; expected the name of a file to write.')
    folder = os.path.dirname(os.path.abspath(path))
    while not os.path.lexists(folder):
        folder = os.path.dirname(folder)
    if not os.path.isdir(folder) or not os.access(folder, os.W_OK | os.X_OK):
        why = 'may not be written to' if os.path.isdir(folder) else 'is no folder'
        raise InputError(f'{os.fspath(path)} cannot be written: {folder} {why}. Give another place, or mend that.')


def move_aside(folder: str | os.PathLike) -> str | None:
    """Rename an existing folder to FOLDER.1 (or the next free number); return the new name, or None where there was
    none."""
    folder = os.path.normpath(folder)
    if not os.path.isdir(folder) or not os.listdir(folder):
        return None
    number = 1
    while os.path.exists(f'{folder}.{number}'):
        number += 1
    os.rename(folder, f'{folder}.{number}')
    return f'{folder}.{number}'
