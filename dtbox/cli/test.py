"""dtbox test: evaluate a tokenizer or a multimodal language model."""
from __future__ import annotations

import argparse
import os
import shlex

from dtbox.cli.options import add_config_options, read_options
from dtbox.cli.verb import Verb
from dtbox.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument('config', nargs='?', metavar='CONFIG_OR_RUN',
                        help='run folder, dtbox://NAME of a packaged model, or a config file or its name; left out '
                             'with --answers')
    parser.add_argument('checkpoint', nargs='?', metavar='CHECKPOINT',
                        help='checkpoint (default: that of the run folder), or a folder of save_pretrained')
    parser.add_argument('--protocol', nargs='+', metavar='NAME',
                        help="protocols instead of the config's own metrics: names of configs/protocols, or config "
                             'files; `list` shows them')
    parser.add_argument('--data', metavar='CONFIG', help='config of other held-out data, such as imagenet or '
                                                         'configs/_base_/datasets/imagenet.py (with --protocol)')
    parser.add_argument('--answers', metavar='FILE',
                        help='score this answer file of a benchmark, or a folder of them, instead of a run (with '
                             '--protocol and --data)')
    parser.add_argument('--out', metavar='FILE',
                        help='JSON file to write or replace (default: metrics.json beside the checkpoint, or '
                             'protocols.json with --protocol; where that exists, metrics.1.json and so on; of a '
                             'packaged model in work_dirs/NAME); beside a metrics.json, the scores of single '
                             'samples go to samples.npz')
    parser.add_argument('--dump', metavar='DIR',
                        help='new folder for the images that FID measures: source and reconstruction, the very bytes '
                             'that Inception gets')
    add_config_options(parser)


def run(args: argparse.Namespace) -> None:
    """Measure by the config's own metrics or by protocols."""
    if args.protocol == ['list']:
        from dtbox.protocols.find import list_protocols
        print('\n'.join(f'{name:<18} {summary}' for name, summary in list_protocols().items()))
        return
    check_subject(args)
    if args.data and not args.protocol:
        raise InputError('--data goes with --protocol: the metrics of the config are meant for its own data.', '--data')
    if args.out:
        from dtbox.apis.evaluation import choose_results_path
        from dtbox.files import check_writable
        check_writable(choose_results_path(None, args.out))
    command = shlex.join(['dtbox', 'test', *args.typed])
    (measure_by_protocols if args.protocol else measure_by_recipe)(args, command)


def check_subject(args: argparse.Namespace) -> None:
    """Raise `InputError` unless a run or an answer file is named, and no arguments contradict each other."""
    if args.answers is None:
        if args.config is None:
            raise InputError('there is nothing to measure: name a run, or an answer file with --answers.')
        return
    if args.config is not None:
        raise InputError(f'got the run {args.config} and --answers: answers are scored without a model. Leave one of '
                         'them out.', '--answers')
    if not args.protocol:
        raise InputError('--answers goes with --protocol, which says how the answers are scored, such as --protocol '
                         'pope.', '--answers')
    if args.dump:
        raise InputError('--dump writes images, and --answers scores without any. Leave one of them out.', '--dump')


def measure_by_recipe(args: argparse.Namespace, command: str) -> None:
    """Measure with the config's own metrics and data."""
    from dtbox.apis.evaluation import choose_results_path, choose_samples_path, measure_run, report
    from dtbox.apis.loading import open_config
    from dtbox.evaluation import write_samples
    from dtbox.files import check_writable, find_unused_path
    if not args.out:
        check_writable(choose_results_path(open_config(args.config, args.checkpoint, plugins=args.plugin)[1]))
    results, samples = measure_run(args.config, args.checkpoint, read_options(args), args.plugin, args.dump)
    results.evaluation['command'] = command
    print(report(results))
    path = choose_results_path(results.evaluation['checkpoint'], args.out)
    replaced = os.path.isfile(path)
    results.write(path)
    beside = choose_samples_path(path)
    if beside is not None:
        beside = beside if replaced else find_unused_path(beside)  # those of another run stay
        write_samples(samples, beside)
    print(f'\nwritten to {path}' + (f' and {beside}' if beside else '') + _dumped(args))


def measure_by_protocols(args: argparse.Namespace, command: str) -> None:
    """Measure by named protocols."""
    from dtbox.apis.evaluation import choose_images_folder, choose_results_path
    from dtbox.apis.loading import open_config
    from dtbox.files import check_writable
    from dtbox.protocols import measure_protocols, report_protocols, score_answers
    from dtbox.protocols.find import load_protocols
    protocols, rest = load_protocols(args.protocol, read_options(args))
    beside = args.answers or open_config(args.config, args.checkpoint, plugins=args.plugin)[1]
    path = choose_results_path(beside, args.out, protocols=True)
    check_writable(path)
    if args.answers:
        results = score_answers(args.answers, protocols, args.data, rest, args.plugin)
    else:
        folder = choose_images_folder(path)  # protocols.1/ beside protocols.1.json
        results = measure_protocols(args.config, protocols, args.checkpoint, args.data, rest, args.plugin, folder,
                                    dump=args.dump)
    results.evaluation['command'] = command
    print(report_protocols(results))
    results.write(path)
    print(f'\nwritten to {path}{_dumped(args)}')


def _dumped(args: argparse.Namespace) -> str:
    return f'; the images that Inception got, to {args.dump}' if args.dump else ''


VERB = Verb(
    'test', 'Evaluate a tokenizer or a language model with the metrics of its config or by named protocols',
    'A table of scores. One JSON file: metrics.json (with samples.npz) or protocols.json beside the checkpoint (of a '
    'packaged model in work_dirs/NAME), or FILE.',
    'dtbox test work_dirs/dualtoken_rq --protocol rfid_clean --data imagenet --cfg-options '
    'data_root=PATH', add_arguments, run)
