"""The verbs of the command `dtbox`, by name. A verb's module is imported when the verb is asked for."""
from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from dtbox.errors import InputError, closest

if TYPE_CHECKING:
    from dtbox.cli.verb import Verb

VERBS = ('train', 'test', 'reconstruct', 'draw', 'ask', 'chat', 'serve', 'app', 'export', 'ablate', 'report',
         'diagnose', 'describe', 'scale', 'encode', 'decode', 'check-tokens', 'export-tokens', 'search', 'check-data',
         'show-sample', 'score-drawings', 'teacher-check', 'print-config', 'plugins', 'convert', 'train-text-tokenizer',
         'pack-zoo')
"""In the order of the list of verbs. The verb `check-data` is `VERB` of the module `dtbox.cli.check_data`."""


def load_verb(name: str) -> Verb:
    """Return the verb of a name; `InputError` with the closest match where there is none."""
    if name not in VERBS:
        what = 'option' if name.startswith('-') else 'verb'
        raise InputError(f'`{name}` is not a{"n" if what == "option" else ""} {what} of dtbox.{closest(name, VERBS)} '
                         '`dtbox --help` lists the verbs.')
    return importlib.import_module(f'dtbox.cli.{name.replace("-", "_")}').VERB
