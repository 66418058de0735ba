"""A new plugin to start from: a folder with a part that works, a recipe that uses it, its test and a README.

The texts are the files of `templates/`, in which `$name` stands for the part's name, `$base` for the recipe that its
own is a child of, and `$shown` for the folder's path.
"""
from __future__ import annotations

import keyword
import os
import re
import string
from pathlib import Path

from dtbox.config.find import list_configs
from dtbox.errors import InputError, closest
from dtbox.files import write_atomic
from dtbox.registry import ALL
from dtbox.testing.contracts import CONTRACTS

TEMPLATES = Path(__file__).parent / 'templates'
FILES = {'__init__.py': '{kind}_part.txt', 'config.py': '{kind}_config.txt', 'test_{name}.py': '{kind}_test.txt',
         'README.md': 'readme.txt'}
"""File of a new plugin -> its template."""
RECIPES = dict(encoder='vqgan', quantizer='dualtoken_rq', decoder='dualtoken_rq', loss='dualtoken_rq',
               metric='dualtoken_rq',
               dataset='dualtoken_rq', head='dualtoken_rq', lm='mllm_twemoji', visual_embedding='mllm_twemoji',
               visual_head='mllm_twemoji')
"""Kind of part -> the recipe of dtbox that a new part is tried in."""
WORDS = dict(lm='language model', visual_embedding='visual embedding', visual_head='visual head')
"""Kind of part -> what texts call it, where that is not its own name."""


def write_scaffold(kind: str, name: str, folder: str, recipe: str) -> tuple[str, list[str]]:
    """Write a plugin with a working part into FOLDER/NAME.

    Args:
        kind: of the part, a key of `RECIPES`.
        name: of the class, the registered part and the folder.
        folder: where to put it; made where it does not exist.
        recipe: config file that the plugin's own is a child of.

    Returns:
        path of the new folder, and list of its files.

    Raises:
        InputError: the name cannot be used or is registered already, or the folder exists.
    """
    if kind not in RECIPES:
        raise InputError(f'there is no template for the kind `{kind}`.{closest(kind, RECIPES)} Kinds: '
                         f'{", ".join(RECIPES)}.')
    templates = {file: (TEMPLATES / template.format(kind=kind)).read_text(encoding='utf-8')
                 for file, template in FILES.items()}
    _check_name(kind, name, templates['__init__.py'])
    path = os.path.join(folder, name)
    if os.path.lexists(path):
        raise InputError(f'{path} exists already; nothing in it was changed. Choose another name or another --dir.')
    if os.path.lexists(folder) and not os.path.isdir(folder):
        raise InputError(f'{folder} is a file. Give --dir a folder.')
    if not os.path.isfile(recipe):
        raise InputError(f'the recipe {recipe}, which the plugin\'s own would be a child of, does not exist.')
    base = RECIPES[kind]  # by name, so that the folder can be moved
    if os.path.realpath(recipe) != os.path.realpath(list_configs().get(base, '')):
        base = os.path.relpath(os.path.realpath(recipe), os.path.realpath(path)).replace(os.sep, '/')
    words = dict(kind=kind, what=WORDS.get(kind, kind), name=name, base=base, shown=os.path.normpath(path))
    written = []
    for file, template in templates.items():
        written.append(os.path.join(path, file.format(name=name)))
        write_atomic(written[-1], string.Template(template).substitute(words))
    return path, written


def _check_name(kind: str, name: str, template: str) -> None:
    """Raise `InputError` unless a name can be that of a class, of a folder and of a new part."""
    mine = 'My' + ''.join(word.capitalize() for word in kind.split('_'))
    if not name.isidentifier() or keyword.iskeyword(name) or name.startswith('_') or not name.isascii():
        raise InputError(f'`{name}` cannot be the name of a class and of a folder. Take letters, digits and '
                         'underscores, a letter '
                         f'first, such as {mine}.')
    used = {word.strip(',') for line in template.splitlines() if line.startswith(('import ', 'from '))
            for word in line.split()} | set(re.findall(r'^class (\w+)', template, re.MULTILINE))
    if name in used:
        raise InputError(f'`{name}` is a name that the module itself uses. Choose another, such as '
                         f'{mine}.')
    registry = ALL[CONTRACTS[kind].room]
    registry.import_from_location()
    taken = {known.lower(): known for known in registry.module_dict}
    if name.lower() in taken:
        raise InputError(f'the {WORDS.get(kind, kind)} `{taken[name.lower()]}` exists already. Choose another name.')
