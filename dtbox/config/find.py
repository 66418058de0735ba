"""Where a config is: by its path, or by a name such as `dualtoken_rq`, `decoupling` or `paper/vqgan_f16`."""
from __future__ import annotations

import ast
import os

from dtbox.errors import InputError, closest
from dtbox.packaged import packaged_folder

KINDS = {'recipes': '', 'recipes at paper scale': 'paper', 'grids': 'ablations', 'protocols': 'protocols',
         'data': os.path.join('_base_', 'datasets')}
"""What a folder of configs holds -> its path below configs/, in the order in which a bare name is looked up."""

START = 'configs/'


def find_config(name: str | os.PathLike, where: str = '') -> str:
    """Return the path of a config file or run folder.

    A path that exists is returned as it is. Any other name is looked up, with and without `.py`, in the current folder, in its
    folder `configs`, and in the configs that travel with dtbox; in the last two also in the subfolders of `KINDS`. A path that begins
    with `configs/` is looked up in the configs that travel with dtbox, too.

    Args:
        name: path or name.
        where: option or config key that holds the name, for the error.

    Raises:
        InputError: nothing of that name.
    """
    name = os.fspath(name)
    if os.path.isfile(name) or os.path.isfile(os.path.join(name, 'config.py')):
        return name
    if not os.path.isabs(name) and not name.startswith(('.', os.sep)):
        file = name if name.endswith('.py') else f'{name}.py'
        below = file[len(START):] if file.startswith(START) else file
        for path in [file, *(os.path.join(folder, below) for folder in _folders())]:
            if os.path.isfile(path):
                return path
    path = os.path.join(name, 'config.py') if os.path.isdir(name) else name
    raise InputError(f'the config {path} does not exist.{_neighbours(path)}', where)


def list_configs(kind: str | None = None) -> dict[str, str]:
    """Return name -> path of the configs that `find_config` finds by name in the folders `configs`, the first of each name.

    Args:
        kind: a key of `KINDS`; None for all.
    """
    configs = {}
    for folder in _folders(kind):
        below = next((sub for sub in KINDS.values() if sub and folder.endswith(os.sep + sub)), '')
        for file in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
            if file.endswith('.py'):
                name = file[:-3] if below != 'paper' else f'paper/{file[:-3]}'
                configs.setdefault(name, os.path.join(folder, file))
    return configs


def read_summary(path: str) -> str:
    """Return the first line of a config's docstring, '' where it has none."""
    with open(path, encoding='utf-8') as file:
        text = ast.get_docstring(ast.parse(file.read())) or ''
    return text.partition('\n')[0]


def _folders(kind: str | None = None) -> list[str]:
    """Return the folders in which names are looked up, the current folder's own `configs` first."""
    roots = ['configs', packaged_folder('configs')]
    return [os.path.join(root, sub) if sub else root for root in roots if root
            for at, sub in KINDS.items() if kind in (None, at)]


def _neighbours(path: str) -> str:
    """Return a hint: the closest config beside a path, or the closest name."""
    folder = os.path.dirname(path) or '.'
    files = [os.path.join(folder, f) for f in os.listdir(folder) if f.endswith('.py')] if os.path.isdir(folder) else []
    return closest(path, files) or closest(path, list_configs()) or \
        ' Give the path of a config file or of a run folder, or a name that `dtbox print-config --list` shows.'
