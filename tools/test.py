"""Evaluate a tokenizer on its held-out sets: python tools/test.py RUN, or python tools/test.py CONFIG CHECKPOINT"""
import argparse
import shlex
import sys

from dtbox.cli import add_config_options, main_guard, parse_options


def parse(argv=None):
    """Return the command line's arguments."""
    parser = argparse.ArgumentParser(description='Evaluate a tokenizer with the metrics and the held-out data of its config: '
                                                 'one table on the screen, one JSON file.')
    parser.add_argument('config', metavar='CONFIG_OR_RUN', help='run folder, or a config file')
    parser.add_argument('checkpoint', nargs='?', metavar='CHECKPOINT', help='checkpoint (default: that of the run folder)')
    parser.add_argument('--out', metavar='FILE', help='JSON file to write or replace (default: metrics.json beside the checkpoint; '
                                                      'where that exists, metrics.1.json and so on); beside a metrics.json, the scores '
                                                      'of single samples go to samples.npz')
    add_config_options(parser)
    return parser.parse_args(argv)


@main_guard
def main(argv=None):
    """Run the command line."""
    args = parse(argv)
    from dtbox.apis.evaluation import measure_run, report, results_path, samples_path
    from dtbox.evaluation import to_json, write_samples
    from dtbox.files import unused_path
    if args.out:
        results_path(None, args.out)
    results, samples = measure_run(args.config, args.checkpoint, parse_options(args.cfg_options), args.plugin)
    results['evaluation']['command'] = shlex.join(['python', 'tools/test.py', *(sys.argv[1:] if argv is None else argv)])
    print(report(results))
    path = results_path(results['evaluation']['checkpoint'], args.out)
    to_json(results, path)
    beside = samples_path(path)
    if beside is not None:
        beside = beside if args.out else unused_path(beside)
        write_samples(samples, beside)
    print(f'\nwritten to {path}' + (f' and {beside}' if beside else ''))


if __name__ == '__main__':
    main()
