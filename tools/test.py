"""Evaluate a tokenizer: python tools/test.py RUN [--protocol NAME ...] [--data CONFIG], or python tools/test.py CONFIG CHECKPOINT ..."""
import argparse
import os
import shlex
import sys

from dtbox.cli.guard import main_guard
from dtbox.cli.options import add_config_options
from dtbox.config.options import parse_options
from dtbox.errors import InputError, closest

PROTOCOLS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'configs', 'protocols')


def parse(argv=None):
    """Return the command line's arguments."""
    parser = argparse.ArgumentParser(description='Evaluate a tokenizer with the metrics and the held-out data of its config, or by named '
                                                 'protocols on any data: one table on the screen, one JSON file.')
    parser.add_argument('config', metavar='CONFIG_OR_RUN', help='run folder, or a config file')
    parser.add_argument('checkpoint', nargs='?', metavar='CHECKPOINT', help='checkpoint (default: that of the run folder)')
    parser.add_argument('--protocol', nargs='+', metavar='NAME', help='protocols instead of the config\'s own metrics: names of '
                                                                      'configs/protocols, or config files; `list` shows them')
    parser.add_argument('--data', metavar='CONFIG', help='config of other held-out data, such as configs/_base_/datasets/imagenet.py '
                                                         '(with --protocol)')
    parser.add_argument('--out', metavar='FILE', help='JSON file to write or replace (default: metrics.json beside the checkpoint, or '
                                                      'protocols.json with --protocol; where that exists, metrics.1.json and so on); beside a '
                                                      'metrics.json, the scores of single samples go to samples.npz')
    add_config_options(parser)
    return parser.parse_args(argv)


@main_guard
def main(argv=None):
    """Run the command line."""
    args = parse(argv)
    if args.protocol == ['list']:
        return print('\n'.join(f'{name:<18} {summary}' for name, summary in known().items()))
    if args.data and not args.protocol:
        raise InputError('--data goes with --protocol: the metrics of the config are meant for its own data.', '--data')
    command = shlex.join(['python', 'tools/test.py', *(sys.argv[1:] if argv is None else argv)])
    return by_protocols(args, command) if args.protocol else by_recipe(args, command)


def by_recipe(args, command):
    """Measure with the config's own metrics and data."""
    from dtbox.apis.evaluation import measure_run, report, results_path, samples_path
    from dtbox.evaluation import to_json, write_samples
    from dtbox.files import unused_path
    if args.out:
        results_path(None, args.out)
    results, samples = measure_run(args.config, args.checkpoint, parse_options(args.cfg_options), args.plugin)
    results['evaluation']['command'] = command
    print(report(results))
    path = results_path(results['evaluation']['checkpoint'], args.out)
    to_json(results, path)
    beside = samples_path(path)
    if beside is not None:
        beside = beside if args.out else unused_path(beside)
        write_samples(samples, beside)
    print(f'\nwritten to {path}' + (f' and {beside}' if beside else ''))


def by_protocols(args, command):
    """Measure by named protocols."""
    from dtbox.apis.evaluation import results_path
    from dtbox.apis.loading import open_config
    from dtbox.evaluation import to_json
    from dtbox.protocols import load_protocol, measure_protocols, report_protocols
    if args.out:
        results_path(None, args.out)
    options, protocols = parse_options(args.cfg_options), []
    paths, used = [path_of(name) for name in args.protocol], set()
    for path in paths:
        own = own_options(path, options, len(paths) == 1)
        used |= set(own)
        protocols.append(load_protocol(path, own))
    rest = {k: v for k, v in options.items() if k not in used}
    for key, value in rest.items():
        refuse(paths, key, value)
    _, checkpoint = open_config(args.config, args.checkpoint, plugins=args.plugin)
    folder = os.path.join(os.path.dirname(checkpoint), 'protocols')
    results = measure_protocols(args.config, protocols, args.checkpoint, args.data, rest, args.plugin, folder)
    results['evaluation']['command'] = command
    print(report_protocols(results))
    path = results_path(checkpoint, args.out, 'protocols.json')
    to_json(results, path)
    print(f'\nwritten to {path}')


def known():
    """Return name -> first line of the docstring of each protocol."""
    import ast
    found = {}
    for file in sorted(os.listdir(PROTOCOLS)):
        if file.endswith('.py'):
            with open(os.path.join(PROTOCOLS, file), encoding='utf-8') as f:
                found[file[:-3]] = (ast.get_docstring(ast.parse(f.read())) or '').split('\n')[0]
    return found


def path_of(name):
    """Return the config of a protocol by its name or path."""
    if os.path.isfile(name):
        return name
    path = os.path.join(PROTOCOLS, f'{name}.py')
    if not os.path.isfile(path):
        raise InputError(f'there is no protocol `{name}`.{closest(name, known())} There are: {", ".join(known())}.', '--protocol')
    return path


def own_options(path, options, alone):
    """Return those of the options that are for a protocol: their first word is a variable of its config, and, where it is not measured alone,
    so is all of their key (`protocol.sizes` is for one that has sizes)."""
    from dtbox.config import load_config
    top = load_config(path)
    return {k: v for k, v in options.items() if k.split('.')[0] in top and (alone or _takes(path, k, v))}


def refuse(paths, key, value):
    """Raise what the last of some protocols says of an option that is meant for protocols and fits none of them."""
    from dtbox.config import load_config
    meant = [path for path in paths if key.split('.')[0] in load_config(path)]
    if meant:
        load_config(meant[-1], {key: value})


def _takes(path, key, value):
    from dtbox.config import load_config
    try:
        load_config(path, {key: value})
    except InputError:
        return False
    return True


if __name__ == '__main__':
    main()
