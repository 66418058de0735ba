# PYTHON_ARGCOMPLETE_OK
"""The command `dtbox`: find the verb and run it. Importing this module imports neither torch nor a verb."""
from __future__ import annotations

import os
import sys

from dtbox.cli.guard import main_guard
from dtbox.cli.verbs import VERBS, load_verb


def format_help() -> str:
    """Return the text of `dtbox --help`: one line a verb."""
    width = max(map(len, VERBS)) + 2
    verbs = [f'  {name:<{width}}{load_verb(name).summary}' for name in VERBS]
    return '\n'.join([
        'usage: dtbox VERB [arguments]', '', 'A modular toolbox of visual tokenizers.', '', 'Verbs:', *verbs, '',
        '`dtbox VERB --help` shows the arguments of a verb, what it writes and an example.',
        '`dtbox --version` shows the version.', '', 'Example: dtbox train dualtoken_rq --tiny'])


@main_guard
def main(argv: list[str] | None = None) -> None:
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
        load_verb(words[0]).main(words[1:])


if __name__ == '__main__':
    main()
