"""dtbox plugins: what parts there are, a plugin to start from, and the contract of a kind of part."""
from __future__ import annotations

import argparse
import os

from dtbox.cli.options import add_config_options, add_plugin_option, read_options
from dtbox.cli.table import format_table, get_screen_width
from dtbox.cli.verb import Verb
from dtbox.errors import InputError, at, closest

KINDS = ('encoder', 'quantizer', 'decoder', 'loss', 'metric', 'dataset', 'head', 'lm', 'visual_embedding',
         'visual_head')
"""Kinds of parts, each with a contract and a scaffold."""
PLAIN = (bool, int, float, str, list, tuple, dict, type(None))
"""What a config can hold as text."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands list, new and check."""
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')
    shown = commands.add_parser('list', help='every registered part (built-in ones, and those of CONFIG or --plugin): '
                                           'where it comes from, what it is, its paper')
    shown.add_argument('config', nargs='?', metavar='CONFIG', help='config file or run folder, for its plugins')
    shown.add_argument('--room', metavar='NAME', help='one room alone, such as quantizers or losses')
    add_plugin_option(shown)
    new = commands.add_parser('new', help='write a plugin that works, to start from')
    new.add_argument('kind', type=read_kind, choices=KINDS, help=f'kind of part: {", ".join(KINDS)}', metavar='KIND')
    new.add_argument('name', metavar='NAME', help='of the class, the registered part and the folder')
    new.add_argument('--dir', default='plugins', metavar='DIR', help='where to put the folder NAME (default: plugins)')
    add_plugin_option(new)
    check = commands.add_parser('check', help='run the contract of a kind of part: exit code 0 if all holds, 1 if not')
    check.add_argument('subject', metavar='NAME_OR_CONFIG',
                       help='registered part; or config or run folder, for all its parts of the kind --kind')
    check.add_argument('--kind', type=read_kind, choices=KINDS, metavar='KIND',
                       help='kind of part, where a name stands in several registries (default of a config: quantizer)')
    add_config_options(check)


def read_kind(text: str) -> str:
    """Return a kind of part; an `ArgumentTypeError` names the closest one."""
    if text not in KINDS:
        raise argparse.ArgumentTypeError(f'there is no kind `{text}`.{closest(text, KINDS)} Kinds: '
                                         f'{", ".join(KINDS)}')
    return text


def list_parts(args: argparse.Namespace) -> None:
    """Print every registered part."""
    from dtbox.config import load_config
    from dtbox.extend import catalog, load_plugins
    if args.config:
        load_config(args.config, plugins=args.plugin)
    load_plugins(args.plugin)
    rows = [(p.name, p.room, p.origin, ', '.join(p.papers), p.text) for p in catalog.list_parts(args.room)]
    print(format_table(('name', 'room', 'from', 'paper', 'what it is'), rows, get_screen_width()))


def write_plugin(args: argparse.Namespace) -> None:
    """Write a plugin to start from."""
    from dtbox.config.find import find_config
    from dtbox.extend import load_plugins
    from dtbox.testing.scaffold import RECIPES, write_scaffold
    load_plugins(args.plugin)
    path, files = write_scaffold(args.kind, args.name, args.dir, find_config(RECIPES[args.kind]))
    print('\n'.join(files) + f'\n\nThe idea goes into {files[0]}. Then:\n  pytest {path}\n'
          f'  dtbox plugins check {args.name} --plugin {path}\n  dtbox train {os.path.join(path, "config.py")} --tiny')


def list_subjects(args: argparse.Namespace) -> tuple[str, list[tuple[str, dict]]]:
    """Return the kind of the parts to check, and (title, config) of each distinct one."""
    from dtbox.config import load_config, resolve
    from dtbox.extend import load_plugins
    from dtbox.registry import ALL
    from dtbox.testing import CONTRACTS, config_parts
    from dtbox.testing.contracts import find_kind
    load_plugins(args.plugin)
    rooms = [contract.room for contract in CONTRACTS.values() if args.kind in (None, contract.kind)]
    for room in rooms:
        ALL[room].import_from_location()
    if not is_config(args.subject) or any(args.subject in ALL[room].module_dict for room in rooms):
        kind = args.kind or find_kind(args.subject)
        return kind, [(args.subject, read_example(args.subject, kind, read_options(args)))]
    if is_plugin(args.subject):
        raise InputError(f'{args.subject} is a plugin, not a config. Name the part and the plugin: check NAME --plugin '
                         f'{args.subject}')
    cfg, kind = resolve(load_config(args.subject, read_options(args), args.plugin)), args.kind or 'quantizer'
    parts = config_parts.list_parts(cfg, kind, args.subject)
    return kind, [(f'{part["type"]} of {where}', part) for where, part in parts]


def read_example(name: str, kind: str, options: dict) -> dict:
    """Return the config of a registered part: the arguments of its `example`, changed by options.

    Raises:
        InputError: the name is not registered, or arguments are missing or wrong.
    """
    from dtbox.config import set_option
    from dtbox.registry import ALL, check_arguments
    from dtbox.testing import CONTRACTS
    contract = CONTRACTS[kind]
    target = ALL[contract.room].get(name)
    example = getattr(target, 'example', None)
    if not isinstance(example or {}, dict):
        raise InputError(f'the `example` of {name} is {example!r}; expected a dict of constructor arguments.')
    node = {kind: {'type': name, **(example or {})}}
    for key, value in options.items():
        set_option(node, f'{kind}.{key}', value)
    arguments = {k: v for k, v in node[kind].items() if k != 'type'}
    try:
        check_arguments(target, contract.subject.complete(target, arguments), f'`{name}`')
    except InputError as e:
        if example:
            raise
        raise InputError(f'{e.message} The class has no `example`: add one, such as example = dict(size=64, dim=8), or '
                         'give a '
                         'config, or the arguments: --cfg-options KEY=VALUE.') from e
    return node[kind]


def is_config(name: str) -> bool:
    """Whether an argument is the path of a config, run folder or plugin, or the name of a config."""
    from dtbox.config.find import list_configs
    return name.endswith('.py') or os.sep in name or os.path.exists(name) or name in list_configs()


def is_plugin(path: str) -> bool:
    """Whether a path is a plugin's folder, with or without a recipe beside it, or a .py file that registers parts."""
    if os.path.isdir(path):
        return os.path.isfile(os.path.join(path, '__init__.py'))
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
    kind, subjects = list_subjects(args)
    for title, cfg in subjects:
        plugins = [p.source for p in LOADED.values() if p.kind != 'installed']
        with at(f'{args.subject}: {title}'):
            results = run_checks(cfg, plugins=plugins, kind=kind)
        shown = {key: value if isinstance(value, PLAIN) else str(value) for key, value in cfg.items()}
        print(f'{title}: {format_config({kind: shown}).partition("= ")[2]}')
        rows = [(r.name, r.status, f'{r.seconds:.2f} s', ' '.join(r.detail.split())) for r in results]
        print(format_table(('check', 'status', 'time', 'detail'), rows, get_screen_width()))
        count = {status: sum(r.status == status for r in results) for status in ('holds', 'fails', 'does not apply')}
        print(f'\n{count["holds"]} hold, {count["fails"]} fail, {count["does not apply"]} do not apply.\n')
        failed += count['fails']
    return failed


def run(args: argparse.Namespace) -> int:
    """Run a subcommand; returns the exit code."""
    if args.command == 'check':
        return 1 if check(args) else 0
    (list_parts if args.command == 'list' else write_plugin)(args)
    return 0


VERB = Verb(
    'plugins', 'List the registered parts, start a plugin, check a part',
    'list: a table. new: a folder with a plugin, its config, test and README; nothing is overwritten. check: a table '
    'of checks; exit code 1 where one fails.', 'dtbox plugins new quantizer MyIdea', add_arguments, run)
