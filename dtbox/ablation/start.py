"""What a command line says about a grid: which grid, in which folder, and what an earlier start there remembers."""
from __future__ import annotations

import os
import shlex

from dtbox.ablation.folder import GridFolder
from dtbox.config.find import find_config
from dtbox.config.options import parse_value
from dtbox.errors import InputError
from dtbox.extend import as_list
from dtbox.extend.foreign import is_exact, lies_in, refuse_foreign
from dtbox.trust import require_trust


def find_grid(grid: str, work_dir: str | None = None, resume: bool = False) -> tuple[str, str, dict]:
    """Return (config of a grid, its folder, what grid.json tells of earlier starts there).

    Args:
        grid: config or name of a grid, or the folder of one that was started.
        work_dir: folder of the grid; None takes work_dirs/ablations/NAME of a config.
        resume: whether the grid is resumed, so that grid.json of a config's folder counts.
    """
    if not os.path.isdir(grid):
        path = find_config(grid, 'grid')
        folder = work_dir or os.path.join('work_dirs', 'ablations', os.path.splitext(os.path.basename(path))[0])
        return path, folder, GridFolder(folder).about() if resume else {}
    about = GridFolder(grid).about()
    if not about:
        raise InputError(f'{grid} is not the folder of a grid (it has no grid.json). Give the config of a grid, such '
                         'as configs/ablations/decoupling.py.')
    places = [path for path in (about.get('place'), about.get('config')) if isinstance(path, str) and path]
    if not places:
        raise InputError(f'grid.json in {grid} names no config. Give its path: dtbox ablate CONFIG --work-dir '
                         f'{shlex.quote(grid)} --resume.')
    found = next(filter(os.path.isfile, places), None)
    if found is None:
        raise InputError(f'the config of the grid in {grid} is no longer at {places[0]}. Give its path: dtbox ablate '
                         f'CONFIG --work-dir {shlex.quote(grid)} --resume.')
    if not is_exact(os.path.dirname(found)) or lies_in(os.path.realpath(found), os.path.realpath(grid)):
        require_trust(f'grid.json in {grid} names the config {found}')
    for name in as_list(about.get('given', {}).get('plugins')) if resume else []:
        refuse_foreign(name, os.path.join(grid, 'grid.json'), f'grid.json in {grid}')
    return found, work_dir or grid, about


def merge_settings(options: dict, plugins: list[str], seeds: list[int] | None, threads: int | None,
                   about: dict | None = None) -> dict:
    """Return the settings that decide about the trials: as typed now, and, where a grid is resumed, as typed at its
    start.

    Args:
        options: dotted config key -> value.
        plugins: of --plugin.
        seeds, threads: in place of the grid's, or None.
        about: grid.json of the grid that is resumed; None for a new grid.

    Returns:
        dict of `options`, `plugins`, `seeds`, `threads`.
    """
    plugins = [os.path.abspath(p) if os.path.exists(p) else p for p in plugins]
    settings = dict(options=options, plugins=plugins, seeds=seeds, threads=threads)
    if about is not None:
        earlier = about.get('given', {})
        settings['options'] = {**{key: parse_value(text) for key, text in about.get('options', {}).items()}, **options}
        for key in ('plugins', 'seeds', 'threads'):
            settings[key] = settings[key] or earlier.get(key)
    return settings
