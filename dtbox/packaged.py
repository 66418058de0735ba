"""Folders that travel with dtbox: `configs`, `plugins` and `tools`.

An installed package has them in `dtbox/.mim` (the convention of OpenMMLab's package manager). In a clone, and in an
editable installation of one, they are the folders of the clone. This is the only module that knows where they are.
"""
from __future__ import annotations

import os

PACKAGE = os.path.dirname(os.path.abspath(__file__))
FOLDERS = ('configs', 'plugins', 'tools')


def packaged_folder(name: str) -> str | None:
    """Return the absolute path of one of `FOLDERS`, or None where this installation lacks it."""
    installed = os.path.join(PACKAGE, '.mim')
    if os.path.isdir(installed):
        folder = os.path.join(installed, name)
    else:
        clone = os.path.dirname(PACKAGE)
        if not os.path.isfile(os.path.join(clone, 'setup.py')):  # site-packages may hold a stranger's `plugins`
            return None
        folder = os.path.join(clone, name)
    return folder if os.path.isdir(folder) else None
