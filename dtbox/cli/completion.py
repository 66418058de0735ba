"""Completion of verbs, options and names of configs in the shell, by the package argcomplete."""
from __future__ import annotations

import argparse
import os

from dtbox.cli.verbs import VERBS, load_verb
from dtbox.packaged import find_packaged_folder


def build_parser() -> argparse.ArgumentParser:
    """Return one parser of all verbs."""
    parser = argparse.ArgumentParser('dtbox')
    parser.add_argument('--version', action='store_true')
    verbs = parser.add_subparsers(metavar='VERB')
    for name in VERBS:
        verb = load_verb(name)
        one = verb.fill_parser(verbs.add_parser(name, help=verb.summary))
        for action in one._actions:
            if action.dest in ('config', 'grid', 'source', 'data') and action.metavar != 'RUN':
                action.completer = complete_config  # type: ignore[attr-defined]  # argcomplete reads it
    return parser


def complete_config(prefix: str, **_: object) -> list[str]:
    """Return the names of configs and the paths that begin with `prefix`."""
    from argcomplete.completers import FilesCompleter
    names = []
    root = find_packaged_folder('configs') or ''
    for folder in ('', 'ablations', 'paper', os.path.join('_base_', 'datasets')):
        place = os.path.join(root, folder)
        for file in sorted(os.listdir(place)) if os.path.isdir(place) else ():
            if file.endswith('.py'):
                names.append(f'paper/{file[:-3]}' if folder == 'paper' else file[:-3])
    return [name for name in names if name.startswith(prefix)] + list(FilesCompleter()(prefix))


def complete() -> None:
    """Answer the shell and leave, where argcomplete is installed."""
    try:
        import argcomplete
    except ImportError:
        return
    argcomplete.autocomplete(build_parser())
