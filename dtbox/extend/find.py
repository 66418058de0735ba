"""Where a plugin is, and which of its files count as its content."""
from __future__ import annotations

import hashlib
import importlib.machinery
import importlib.util
import os
import re
import sys
from dataclasses import dataclass
from typing import Iterator

from dtbox.errors import InputError
from dtbox.packaged import find_packaged_path

RECIPE = re.compile(rb'^_base_ *=', re.MULTILINE)
STANDARD = getattr(sys, 'stdlib_module_names', ())  # from Python 3.10 on
"""Names of Python's own modules; some do something when they are imported."""
SKIP_FOLDERS = ('__pycache__', 'tests', 'results', 'work_dirs')
SKIP_FILES = ('test_', 'conftest.py', 'README', 'LICENSE')
"""What a plugin's parts do not depend on, beside hidden files, *.pyc, *.md and *.egg-info; files by how their names
start."""


@dataclass(frozen=True)
class Place:
    """Where a plugin is.

    Attributes:
        name: what to call it: the name of its folder, the stem of its file, or its dotted module name.
        kind: 'folder', 'file' or 'module'.
        entry: real path of the file that is executed; two spellings of one plugin have the same.
        root: real path of the folder or file whose content counts.
        source: what finds it again from anywhere: absolute path, or module name.
    """
    name: str
    kind: str
    entry: str
    root: str
    source: str


class Missing(InputError):
    """The plugin does not exist."""


def find(name: str | os.PathLike, near: str | None = None) -> Place:
    """Return the Place of a plugin.

    Args:
        name: folder (its __init__.py, or else NAME.py), .py file, or dotted module name.
        near: config file that names it: a relative path is tried from its folder, from every folder above that, and
            then from the current directory. None tries the current directory alone. Last, the plugins that travel with
            dtbox are tried, by their name (`residual_fsq`) or path (`plugins/residual_fsq`).
    """
    name = os.fspath(name)
    if not name:
        raise InputError("a plugin is named ''. Give a folder, a .py file or a module name.")
    tried = _candidates(os.path.expanduser(name), near)
    empty = None
    for path in tried:
        path = os.path.realpath(path)
        stem, suffix = os.path.splitext(os.path.basename(path))
        if os.path.isdir(path):
            folder = os.path.basename(path)
            for file in ('__init__.py', f'{folder}.py'):
                if os.path.isfile(os.path.join(path, file)):
                    return Place(folder, 'folder', os.path.join(path, file), path, path)
            empty = empty or path
        elif os.path.isfile(path) and suffix == '.py':
            folder = os.path.dirname(path)
            if stem == '__init__' or (stem == os.path.basename(folder)
                                      and not os.path.isfile(os.path.join(folder, '__init__.py'))):
                return Place(os.path.basename(folder), 'folder', path, folder, folder)
            return Place(stem, 'file', path, path, path)
        elif os.path.isfile(path) and _is_path(name):
            raise InputError(f'the plugin {name} is not a .py file. Give a folder, a .py file or a module name.')
    if empty and _is_path(name):
        raise InputError(f'the plugin folder {empty} has neither __init__.py nor {os.path.basename(empty)}.py.')
    if _is_path(name):
        raise Missing(f'the plugin {name} does not exist{_where(name, near)}. Give a folder, a .py file or a module '
                      'name.')
    return _module(name, near)


def _is_path(name: str) -> bool:
    return os.sep in name or name.endswith('.py') or name.startswith(('.', '~')) or not all(p.isidentifier()
                                                                                            for p in name.split('.'))


def _candidates(name: str, near: str | None) -> list[str]:
    if os.path.isabs(name):
        return [name]
    folders = []
    if near is not None:
        folders.append(os.path.dirname(os.path.abspath(near)))
        while os.path.dirname(folders[-1]) != folders[-1]:
            folders.append(os.path.dirname(folders[-1]))
    packaged = find_packaged_path(name) or find_packaged_path(f'plugins/{name}')
    return [*(os.path.join(folder, name) for folder in [*folders, os.getcwd()]), *([packaged] if packaged else [])]


def _where(name: str, near: str | None) -> str:
    if os.path.isabs(os.path.expanduser(name)):
        return ''
    beside = f'{os.path.dirname(os.path.abspath(near))}, every folder above it, and ' if near is not None else ''
    return f' (tried from {beside}the current directory {os.getcwd()})'


def _module(name: str, near: str | None) -> Place:
    """Return the Place of a module without importing it or its packages."""
    parts = name.split('.')
    root: str | None = None
    file, below = _top(parts[0])
    for i in range(len(parts)):
        if i:
            file, below = _member(below or [], parts[i])
        if file is None and below is None:
            raise Missing(f'the plugin {name} is neither a module that can be imported (there is no '
                          f'`{".".join(parts[:i + 1])}`; is the folder '
                          f'that holds it on PYTHONPATH?) nor a folder{_where(name, near)}.')
        if file is None:  # a namespace: what lies below it need not belong together
            root = None
        elif root is None:
            root = os.path.dirname(file) if below else file
    if file is None or root is None:
        raise InputError(f'the plugin {name} is a module without a file, which registers nothing. Name the module that '
                         'does.')
    if parts[0] in STANDARD:
        raise InputError(f'the plugin {name} is a module of Python itself, which registers nothing. Name the module '
                         'that does.')
    return Place(name, 'module', os.path.realpath(file), os.path.realpath(root), name)


def _top(name: str) -> tuple[str | None, list[str] | None]:
    """Return (file, folders of its submodules) of a top-level module; (None, None) where there is none."""
    try:
        spec = importlib.util.find_spec(name)
    except ValueError:  # a module without a spec, such as __main__
        spec = None
    if spec is None:
        return None, None
    return spec.origin if spec.has_location else None, list(spec.submodule_search_locations or [])


def list_holders(name: str) -> list[str]:
    """Return the real paths of the folders on sys.path in which the top-level package of a module lies; several of a
    namespace."""
    file, below = _top(name.partition('.')[0])
    return [os.path.realpath(os.path.dirname(os.path.abspath(path))) for path in below or ([file] if file else [])]


def _member(folders: list[str], name: str) -> tuple[str | None, list[str] | None]:
    """As `_top`, of a module in a package; importlib would import the package to tell."""
    for folder in folders:
        path = os.path.join(folder, name)
        for suffix in importlib.machinery.all_suffixes():
            if os.path.isfile(file := os.path.join(path, f'__init__{suffix}')):
                return file, [path]
            if os.path.isfile(path + suffix):
                return path + suffix, []
    spaces = [os.path.join(folder, name) for folder in folders if os.path.isdir(os.path.join(folder, name))]
    return None, spaces or None


def hash_content(root: str) -> str:
    """Return 16 hex digits that change with the code and the data of a plugin.

    Args:
        root: a file, or a folder: all in it but tests, recipes (.py that set `_base_`), results, documents, and what
            Python or a run leaves.
    """
    digest = hashlib.sha256()
    for name, path in [('', root)] if os.path.isfile(root) else sorted(_files(root)):
        part = hashlib.sha256()
        with open(path, 'rb') as f:
            head = chunk = f.read(1 << 20)
            while chunk:
                part.update(chunk)
                chunk = f.read(1 << 20)
        if not (name.endswith('.py') and RECIPE.search(head)):
            digest.update(f'{name}\0'.encode() + part.digest())
    return digest.hexdigest()[:16]


def _files(root: str) -> Iterator[tuple[str, str]]:
    for folder, below, files in os.walk(root):
        below[:] = [d for d in below if d not in SKIP_FOLDERS and not d.startswith('.') and not d.endswith('.egg-info')]
        for file in files:
            if not file.startswith(('.', *SKIP_FILES)) and not file.endswith(('.pyc', '.md')):
                path = os.path.join(folder, file)
                yield os.path.relpath(path, root).replace(os.sep, '/'), path
