# PYTHON_ARGCOMPLETE_OK
"""The command `dtbox`: find the verb and run it. Importing this module imports neither torch nor a verb."""
from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING

from dtbox.cli.guard import main_guard
from dtbox.errors import InputError, closest

if TYPE_CHECKING:
    from dtbox.cli.verb import Verb

VERBS = ('train', 'test', 'reconstruct', 'export', 'ablate', 'report', 'diagnose', 'describe', 'scale', 'check-data',
         'teacher-check', 'print-config', 'plugins', 'convert', 'train-text-tokenizer', 'pack-zoo')
"""In the order of the list of verbs. The verb `check-data` is `VERB` of the module `dtbox.cli.check_data`."""


def load_verb(name: str) -> Verb:
    """Return the verb of a name; `InputError` with the closest match where there is none."""
    if name not in VERBS:
        what = 'option' if name.startswith('-') else 'verb'
        raise InputError(f'`{name}` is not a{"n" if what == "option" else ""} {what} of dtbox.{closest(name, VERBS)} '
                         '`dtbox --help` lists the verbs.')
    return importlib.import_module(f'dtbox.cli.{name.replace("-", "_")}').VERB


def format_help() -> str:
    """Return the text of `dtbox --help`: one line a verb."""
    width = max(map(len, VERBS)) + 2
    verbs = [f'  {name:<{width}}{load_verb(name).summary}' for name in VERBS]
    return '\n'.join(['usage: dtbox VERB [arguments]', '', 'A modular toolbox of visual '
                                                           'tokenizers.', '', 'Verbs:', *verbs, '',
                      '`dtbox VERB --help` shows the arguments of a verb, what it writes and an example. `dtbox '
                      '--version` shows the version.', '', 'Example: dtbox train dualtoken_rq --tiny'])


@main_guard
def main(argv: list[str] | None = None) -> int | None:
    """Run the command line `dtbox VERB ...`."""
    if '_ARGCOMPLETE' in os.environ:
        from dtbox.cli.completion import complete
        complete()
    words = sys.argv[1:] if argv is None else list(argv)
    if not words or words[0] in ('-h', '--help', 'help'):
        print(load_verb(words[1]).format_help() if len(words) > 1 else format_help())
    elif words[0] == '--version':
        import dtbox
        print(f'dtbox {dtbox.__version__}')
    else:
        return load_verb(words[0]).main(words[1:])


if __name__ == '__main__':
    main()
