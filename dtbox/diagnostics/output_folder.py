"""Where a diagnosis goes: a folder of its own, so that nothing is overwritten."""
from __future__ import annotations

import os

from dtbox.errors import InputError
from dtbox.runs import RunFolder, name_run


def is_run(path: str | os.PathLike) -> bool:
    """Whether `path` is a run folder with a checkpoint."""
    return RunFolder(path).has_checkpoint()


def choose_result_folder(source: str | os.PathLike, kind: str, out: str | None = None) -> str:
    """Return the folder for a diagnosis, which is new or empty; it is not made yet.

    Args:
        source: run folder or config file that is diagnosed.
        kind: name of the diagnosis.
        out: the folder asked for; None takes RUN/diagnostics/KIND of a run folder, work_dirs/diagnostics/NAME_KIND of a
            config.

    Returns:
        that folder, or where it holds something already, the first of FOLDER.1, FOLDER.2, ... that does not.

    Raises:
        InputError: it is a file.
    """
    source = os.path.normpath(str(source))
    if out is None and os.path.isdir(source):
        out = os.path.join(RunFolder(source).diagnostics, kind)
    elif out is None:
        out = os.path.join('work_dirs', 'diagnostics', f'{name_run(source)}_{kind}')
    if os.path.exists(out) and not os.path.isdir(out):
        raise InputError(f'the output folder {out} is a file. Name a folder that is new or empty.', '--out')
    number, free = 0, os.path.normpath(out)
    while os.path.exists(free) and not (os.path.isdir(free) and not os.listdir(free)):
        number += 1
        free = f'{os.path.normpath(out)}.{number}'
    return free
