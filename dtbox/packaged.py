"""Folders that travel with dtbox: `configs`, `plugins` and `tools`.

An installed package has them in `dtbox/.mim` (the convention of OpenMMLab's package manager). In a clone, and in an
editable installation of one, they are the folders of the clone. This is the only module that knows where they are.
"""
from __future__ import annotations

import os

PACKAGE = os.path.dirname(os.path.abspath(__file__))
IMPORT_ROOT = os.path.dirname(PACKAGE)
"""Folder from which dtbox is imported: a clone, or site-packages. For the PYTHONPATH of other processes."""
FOLDERS = ('configs', 'plugins', 'tools')


def find_packaged_folder(name: str) -> str | None:
    """Return the absolute path of one of `FOLDERS`, or None where this installation lacks it."""
    root = os.path.join(PACKAGE, '.mim')
    if not os.path.isdir(root):
        root = IMPORT_ROOT
        if not os.path.isfile(os.path.join(root, 'setup.py')):  # other packages in site-packages have a `plugins`, too
            return None
    folder = os.path.join(root, name)
    return folder if os.path.isdir(folder) else None


def find_packaged_path(name: str) -> str | None:
    """Return the absolute path of a file or folder that is named as in a clone (`configs/vqgan.py`), None where there
    is none."""
    folder, _, rest = name.replace(os.sep, '/').partition('/')
    root = find_packaged_folder(folder) if folder in FOLDERS and rest else None
    path = root and os.path.normpath(os.path.join(root, rest))
    return path if path and os.path.exists(path) else None
