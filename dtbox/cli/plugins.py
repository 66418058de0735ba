"""dtbox plugins: what parts there are, a plugin to start from, and the contract of quantizers."""
from __future__ import annotations

import argparse
import os

from dtbox.cli.options import add_config_options, add_plugin_option, read_options
from dtbox.cli.table import format_table, screen_width
from dtbox.cli.verb import Verb
from dtbox.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands list, new and check."""
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')
    shown = commands.add_parser('list', help='every registered part: where it comes from, what it is, its paper')
    shown.add_argument('config', nargs='?', metavar='CONFIG', help='config file or run folder, for its plugins')
    shown.add_argument('--room', metavar='NAME', help='one room alone, such as quantizers or losses')
    add_plugin_option(shown)
    new = commands.add_parser('new', help='write a plugin that works, to start from')
    new.add_argument('kind', choices=['quantizer'])
    new.add_argument('name', metavar='NAME', help='of the class, the registered part and the folder')
    new.add_argument('--dir', default='plugins', metavar='DIR', help='where to put the folder NAME (default: plugins)')
    add_plugin_option(new)
    check = commands.add_parser('check', help='run the contract of quantizers: exit code 0 if all holds, 1 if not')
    check.add_argument('subject', metavar='NAME_OR_CONFIG',
                       help='registered quantizer; or config file or run folder, for all quantizers of its '
                            'vocabularies')
    add_config_options(check)


def list_parts(args: argparse.Namespace) -> None:
    """Print every registered part."""
    from dtbox.config import load_config
    from dtbox.extend import load_plugins
    from dtbox.extend.catalog import catalog
    if args.config:
        load_config(args.config, plugins=args.plugin)
    load_plugins(args.plugin)
    rows = [(p.name, p.room, p.origin, ', '.join(p.papers), p.text) for p in catalog(args.room)]
    print(format_table(('name', 'room', 'from', 'paper', 'what it is'), rows, screen_width()))


def new_plugin(args: argparse.Namespace) -> None:
    """Write a plugin to start from."""
    from dtbox.config.find import find_config
    from dtbox.extend import load_plugins
    from dtbox.testing.scaffold import new_quantizer
    load_plugins(args.plugin)
    path, files = new_quantizer(args.name, args.dir, find_config('dualtoken_rq'))
    print('\n'.join(files) + f'\n\nThe idea goes into {files[0]}. Then:\n  pytest {path}\n'
          f'  dtbox plugins check {args.name} --plugin {path}\n  dtbox train {os.path.join(path, "config.py")}')


def quantizers_of(args: argparse.Namespace) -> list[tuple[str, dict]]:
    """Return (title, config) of the quantizers to check, each distinct one once."""
    from dtbox.config import load_config, resolve, set_option
    from dtbox.extend import load_plugins
    from dtbox.registry import QUANTIZERS, check_arguments
    load_plugins(args.plugin)
    options = read_options(args)
    QUANTIZERS.import_from_location()
    is_path = os.path.exists(args.subject) or args.subject.endswith('.py') or os.sep in args.subject
    if args.subject in QUANTIZERS.module_dict or not is_path:
        target = QUANTIZERS.get(args.subject)
        if not isinstance(getattr(target, 'example', None) or {}, dict):
            raise InputError(f'the `example` of {args.subject} is {target.example!r}; expected a dict of constructor '
                             'arguments.')
        node = dict(quantizer={'type': args.subject, **(getattr(target, 'example', None) or {})})
        for key, value in options.items():
            set_option(node, f'quantizer.{key}', value)
        arguments = {k: v for k, v in node['quantizer'].items() if k != 'type'}
        try:
            check_arguments(target, arguments, f'`{args.subject}`')
        except InputError as e:
            if getattr(target, 'example', None):
                raise
            raise InputError(f'{e.message} The class has no `example`: add one, such as example = dict(size=64, '
                             'dim=8), or give a config, or the arguments: --cfg-options KEY=VALUE.') from e
        return [(args.subject, node['quantizer'])]
    if is_plugin(args.subject):
        raise InputError(f'{args.subject} is a plugin, not a config. Name the quantizer and the plugin: check NAME '
                         f'--plugin {args.subject}')
    cfg = resolve(load_config(args.subject, options, args.plugin))
    vocabularies = ((cfg.get('model') or {}).get('tokenizer') or {}).get('vocabularies')
    if not vocabularies:
        raise InputError(f'{args.subject} has no `model.tokenizer.vocabularies`, so there is no quantizer in it to '
                         'check.')
    found, shared = {}, cfg.model.tokenizer.get('quantizers') or {}
    for name, vocabulary in vocabularies.items():
        if not vocabulary.get('quantizer'):
            raise InputError('the vocabulary has no `quantizer`.', f'model.tokenizer.vocabularies.{name}')
        quantizer = vocabulary.quantizer
        if isinstance(quantizer, str):
            quantizer = shared.get(quantizer, quantizer)
        if isinstance(quantizer, str):
            raise InputError(f'`{quantizer}` is no quantizer of the tokenizer; `quantizers` has: '
                             f'{", ".join(shared) or "none"}.',
                             f'model.tokenizer.vocabularies.{name}.quantizer')
        found.setdefault(repr(quantizer), (quantizer.to_dict(), []))[1].append(name)
    return [(f'{cfg["type"]} of {", ".join(names)}', cfg) for cfg, names in found.values()]


def is_plugin(path: str) -> bool:
    """Whether a path is a plugin's folder without a recipe, or a .py file that registers parts."""
    if os.path.isdir(path):
        return not os.path.isfile(os.path.join(path, 'config.py')) and os.path.isfile(os.path.join(path, '__init__.py'))
    if not os.path.isfile(path):
        return False
    with open(path, encoding='utf-8', errors='replace') as f:
        return 'register_module' in f.read()


def check(args: argparse.Namespace) -> int:
    """Print what of the contract holds; returns how many checks fail."""
    from dtbox.config.text import format_config
    from dtbox.extend import LOADED
    from dtbox.testing import run_checks
    failed = 0
    for title, cfg in quantizers_of(args):
        plugins = [p.source for p in LOADED.values() if p.kind != 'installed']
        try:
            results = run_checks(cfg, plugins=plugins)
        except InputError as e:
            raise e.within(f'{args.subject}: {title}') from e.__cause__
        print(f'{title}: {format_config(dict(quantizer=cfg)).partition("= ")[2]}')
        rows = [(r.name, r.status, f'{r.seconds:.2f} s', ' '.join(r.detail.split())) for r in results]
        print(format_table(('check', 'status', 'time', 'detail'), rows, screen_width()))
        count = {status: sum(r.status == status for r in results) for status in ('holds', 'fails', 'does not apply')}
        print(f'\n{count["holds"]} hold, {count["fails"]} fail, {count["does not apply"]} do not apply.\n')
        failed += count['fails']
    return failed


def run(args: argparse.Namespace) -> int:
    """Run a subcommand; returns the exit code."""
    if args.command == 'check':
        return 1 if check(args) else 0
    (list_parts if args.command == 'list' else new_plugin)(args)
    return 0


VERB = Verb(
    'plugins', 'List the registered parts, start a plugin, check a quantizer',
    'list: a table. new: a folder with a plugin, its config, test and README; nothing is overwritten. check: a table '
    'of checks; exit code 1 where one fails.', 'dtbox plugins new quantizer MyIdea', add_arguments, run)
