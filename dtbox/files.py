"""Writing files so that a reader never sees half of one, and keeping what a user had."""
from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Container, Iterator
from typing import Any

LEFTOVER = re.compile(r'\..+\.part(\.\w+)?|\.metrics\.json\..+')
"""Names of files that are being written, or were when their process died (see `replacing`)."""


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[str]:
    """Give the path of a temporary file beside `path`; it takes the place of `path` when the block ends well.

    When the block raises, or the process dies, `path` stays as it was. What a process that was killed has left of the
    same file is taken away.
    """
    folder = os.path.dirname(os.path.abspath(path))
    os.makedirs(folder, exist_ok=True)
    stem, suffix = os.path.splitext(os.path.basename(path))
    remove_leftovers(folder, re.compile(rf'\.{re.escape(stem)}\.\w+\.part{re.escape(suffix)}'))
    handle, temporary = tempfile.mkstemp(prefix=f'.{stem}.', suffix=f'.part{suffix}', dir=folder)
    os.close(handle)
    try:
        with in_use(temporary):
            yield temporary
        with open(temporary, 'rb') as f:
            os.fsync(f.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    finally:
        if os.path.exists(temporary):
            os.remove(temporary)


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


def find_damage(path: str | os.PathLike, names: Container[str] | None = None) -> str | None:
    """Return the name of a record of a zip file (as torch writes checkpoints) whose content does not match its CRC-32;
    None where all do, or the file is no zip.

    Args:
        path: of the file.
        names: last parts of the names of the records to check; None checks all.
    """
    if not zipfile.is_zipfile(path):
        return None
    with zipfile.ZipFile(path) as archive:
        for record in archive.infolist():
            if names is None or record.filename.rpartition('/')[2] in names:
                try:
                    with archive.open(record) as file:
                        while file.read(1 << 22):
                            pass
                except (zipfile.BadZipFile, zlib.error, EOFError):
                    return record.filename
    return None


def is_disk_full(error: BaseException | None) -> bool:
    """Whether an exception, or one that led to it, says that a disk has no room (or its user none left)."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__ or error.__context__
    return False


def write_atomic(path: str | os.PathLike, text: str) -> None:
    """Write a text file in one step."""
    with replacing(path) as temporary:
        with open(temporary, 'w', encoding='utf-8') as f:
            f.write(text)


def parse_json(text: str | bytes) -> Any:
    """Return the value of a JSON text; `ValueError` for one that is broken, or nested deeper than Python follows."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError('it is nested too deeply') from None


def read_rows(path: str) -> list[dict]:
    """Return the rows of a .jsonl file that have `iteration`, [] where there is no file; lines cut short by a kill are
    left out."""
    rows = []
    if os.path.isfile(path):
        with open(path, encoding='utf-8', errors='replace') as file:
            for line in file:
                try:
                    row = parse_json(line)
                except ValueError:
                    continue
                if isinstance(row, dict) and isinstance(row.get('iteration'), (int, float)):
                    rows.append(row)
    return rows


def write_rows(path: str, rows: list[dict]) -> None:
    """Write rows as a .jsonl file in one step."""
    write_atomic(path, ''.join(json.dumps(row) + '\n' for row in rows))


def append_row(path: str, row: dict) -> None:
    """Append a row to a .jsonl file."""
    with open(path, 'a', encoding='utf-8') as file:
        file.write(json.dumps(row) + '\n')


def find_unused_path(path: str) -> str:
    """Return `path`, or where that exists the first free one of NAME.1.SUFFIX, NAME.2.SUFFIX, ..."""
    stem, suffix = os.path.splitext(path)
    number, free = 0, path
    while os.path.lexists(free):
        number += 1
        free = f'{stem}.{number}{suffix}'
    return free


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
