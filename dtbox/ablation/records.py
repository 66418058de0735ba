"""Records of a grid's finished trials in one small file, from which the grid continues where its folders are gone.

A ZIP with grid.json and, for each trial that is done or diverged, its record, scores and scores of single images. No
weights: a finished trial needs none, and a trial without a result starts from its beginning.
"""
from __future__ import annotations

import io
import json
import os
import re
import zipfile

from dtbox.ablation.folder import GridFolder
from dtbox.ablation.grid import Grid
from dtbox.ablation.trial import read_record
from dtbox.counts import format_count
from dtbox.errors import InputError
from dtbox.files import parse_json, replacing
from dtbox.runs import RunFolder

ABOUT = 'grid.json'
EXPECTED = 'Expected the records of a grid, as dtbox ablate GRID --pack FILE writes them.'
FINISHED = ('done', 'diverged')
LOCAL = ('config', 'place', 'command', 'commands')
"""Keys of grid.json that say where it was run."""
MOST_BYTES = 1 << 26
"""Size of a member, unpacked, from which on it is none of a grid's records."""
NAME = re.compile(r'trials/[A-Za-z0-9][\w.+-]*/[A-Za-z]\w*(\.\d+)?\.(json|npz)')
DATE = (1980, 1, 1, 0, 0, 0)


def pack_records(grid: Grid, folder: str, path: str) -> int:
    """Write the records of a grid's finished trials to a file, in one step; returns how many trials there are.

    Raises:
        InputError: no trial has finished, or the file cannot be written.
    """
    place = GridFolder(folder)
    finished = [trial for trial in grid.trials if read_record(place.trial(trial)).get('status') in FINISHED]
    if not finished:
        raise InputError(f'{folder} holds no finished trial of the grid {grid.name}, so there are no records. Run it '
                         'first, or name its folder with --work-dir.', '--pack')
    about = {key: value for key, value in place.about().items() if key not in LOCAL}
    try:
        with replacing(path) as temporary, zipfile.ZipFile(temporary, 'w', zipfile.ZIP_DEFLATED) as archive:
            _add(archive, ABOUT, (json.dumps(about, indent=1) + '\n').encode())
            for trial in finished:
                run = RunFolder(place.trial(trial))
                for file in (run.record, run.metrics, run.samples, *run.list_protocols()):
                    if os.path.isfile(file):
                        with open(file, 'rb') as f:
                            _add(archive, f'trials/{trial.name}/{os.path.basename(file)}', f.read())
    except OSError as e:
        raise InputError(f'the records cannot be written to {path} ({e}).', '--pack') from e
    return len(finished)


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    info = zipfile.ZipInfo(name, DATE)  # the same records are the same bytes
    info.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(info, content)


def unpack_records(path: str, name: str, folder: str) -> int:
    """Add the trials of a file of records to a grid's folder; what is there already stays. Returns how many were added.

    Args:
        path: of the file.
        name: of the grid.
        folder: of the grid, which need not exist.

    Raises:
        InputError: the file cannot be read, holds something else than records, or those of another grid.
    """
    members = _read(path)
    try:
        own = parse_json(members[ABOUT].decode())['name']
    except (ValueError, KeyError, TypeError) as e:
        raise InputError(f'{ABOUT} in {path} cannot be read ({type(e).__name__}: {e}). {EXPECTED}', '--records') from e
    if own != name:
        raise InputError(f'{path} holds records of the grid {own}; expected those of {name}.', '--records')
    place = GridFolder(folder)
    with place.lock():
        names = sorted({member.split('/')[1] for member in members if member != ABOUT})
        added = [trial for trial in names if not os.path.lexists(place.file(os.path.join('trials', trial)))]
        wanted = [] if place.about() else [ABOUT]
        wanted += [member for member in members if member.split('/')[1:2] in [[trial] for trial in added]]
        record = os.path.basename(RunFolder('').record)
        for member in sorted(wanted, key=lambda member: member.endswith(f'/{record}')):  # by which a trial is finished
            with replacing(place.file(member)) as temporary, open(temporary, 'wb') as f:
                f.write(members[member])
    return len(added)


def _read(path: str) -> dict[str, bytes]:
    """Return name -> content of the members of a file of records."""
    try:
        with open(path, 'rb') as f, zipfile.ZipFile(io.BytesIO(f.read())) as archive:
            odd = [info.filename for info in archive.infolist()
                   if info.filename != ABOUT and not NAME.fullmatch(info.filename)
                   or info.file_size > MOST_BYTES]
            if odd or ABOUT not in archive.namelist():
                what = f'holds {odd[0]}' if odd else f'has no {ABOUT}'
                raise InputError(f'{path} {what}. {EXPECTED}', '--records')
            return {name: archive.read(name) for name in archive.namelist()}
    except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as e:
        raise InputError(f'{path} cannot be read ({e}). {EXPECTED}', '--records') from e


def tell_unpacked(count: int, path: str) -> str:
    """Return a sentence on what was added."""
    return f'{format_count(count, "finished trial")} added from {path}.'
