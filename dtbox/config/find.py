"""Where a config is: by its path, or by a name such as `dualtoken_rq`, `decoupling` or `paper/vqgan_f16`."""
from __future__ import annotations

import ast
import os

from dtbox.errors import InputError, closest, reason
from dtbox.packaged import find_packaged_folder, find_packaged_path
from dtbox.runs import RunFolder

KINDS = {'recipe': '', 'paper': 'paper', 'grid': 'ablations', 'protocol': 'protocols',
         'data': os.path.join('_base_', 'datasets')}
"""Kind of config -> its folder below configs/, in the order in which a name is looked up."""
NOUNS = {'grid': 'grid', 'protocol': 'protocol'}
"""Kind of config -> what error messages call it, where that is not `config`."""


def find_config(name: str | os.PathLike, kind: str | None = None, where: str = '') -> str:
    """Return the path of a config file or run folder.

    A path that exists is returned as it is. Any other name is looked up, with and without `.py`, in the current folder,
    in its folder `configs`, and in the configs that travel with dtbox; in the last two also in the subfolders of
    `KINDS`. A path as in a clone, such as `configs/vqgan.py` or `plugins/ternary/config.py`, is found in the folders
    that travel with dtbox, too.

    Args:
        name: path or name.
        kind: a key of `KINDS` whose folders come first; None for their usual order.
        where: option or config key that holds the name, for the error.

    Raises:
        InputError: nothing of that name.
    """
    name = os.fspath(name)
    if os.path.isfile(name) or RunFolder(name).has_config():
        return name
    if not os.path.isabs(name) and not name.startswith('.'):
        file = name if name.endswith('.py') else f'{name}.py'
        for path in [file, *(os.path.join(folder, file) for folder in _folders(kind)), find_packaged_path(file)]:
            if path and os.path.isfile(path):
                return path
    path = RunFolder(name).config if os.path.isdir(name) else name
    raise InputError(f'the {NOUNS.get(kind or "", "config")} {path} does not exist.{_hint(path, kind)}', where)


def list_configs(kind: str | None = None) -> dict[str, str]:
    """Return name -> path of the configs in the folders `configs`, the first of each name.

    Args:
        kind: a key of `KINDS`; None for all.
    """
    configs = {}
    for at in KINDS if kind is None else [kind]:
        for root in _roots():
            folder = os.path.normpath(os.path.join(root, KINDS[at]))
            for file in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
                if file.endswith('.py'):
                    name = f'paper/{file[:-3]}' if at == 'paper' else file[:-3]
                    configs.setdefault(name, os.path.join(folder, file))
    return configs


def read_summary(path: str) -> str:
    """Return the first line of a config's docstring, '' where it has none."""
    try:
        with open(path, 'rb') as file:
            text = ast.get_docstring(ast.parse(file.read())) or ''
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError) as e:
        return f'cannot be read: {reason(e)}'
    return text.partition('\n')[0]


def _roots() -> list[str]:
    """Return the folders of configs: `configs` of the current folder, and that of dtbox."""
    return [root for root in ('configs', find_packaged_folder('configs')) if root]


def _folders(kind: str | None) -> list[str]:
    """Return the folders in which names are looked up, those of `kind` first."""
    kinds = KINDS if kind is None else [kind, *(at for at in KINDS if at != kind)]
    return [os.path.normpath(os.path.join(root, KINDS[at])) for at in kinds for root in _roots()]


def _hint(path: str, kind: str | None) -> str:
    """Return a hint for a path that does not exist: the closest config beside it, or the closest name."""
    folder = os.path.dirname(path) or '.'
    files = [os.path.join(folder, f) for f in os.listdir(folder) if f.endswith('.py')] if os.path.isdir(folder) else []
    return closest(path, files) or closest(path, list_configs(kind)) or \
        ' Give the path of a config file or of a run folder, or a name that `dtbox print-config --list` shows.'
