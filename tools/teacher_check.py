"""Score the frozen encoder itself before training: python tools/teacher_check.py CONFIG_OR_RUN [--data CONFIG]"""
import argparse

from dtbox.cli.guard import main_guard
from dtbox.cli.options import add_config_options
from dtbox.config.options import parse_options
from dtbox.errors import InputError


def parse(argv=None):
    """Return the command line's arguments."""
    parser = argparse.ArgumentParser(description='Zero-shot and retrieval scores of a frozen encoder with its text tower, beside the published '
                                                 'value where one is known: a wrong preprocessing, activation or weights file shows at once.')
    parser.add_argument('config', metavar='CONFIG_OR_RUN', help='config, whose starting weights are measured, or run folder')
    parser.add_argument('--data', metavar='CONFIG', help='config of held-out data, such as configs/_base_/datasets/imagenet.py (default: that of '
                                                         'CONFIG_OR_RUN)')
    parser.add_argument('--encoder', default='teacher', metavar='NAME', help='`teacher`, or an encoder of the tokenizer (default: teacher)')
    parser.add_argument('--template', action='append', metavar='TEXT', help='sentence with {} for the class; may be given several times (default: '
                                                                            'CLIP\'s 80 for ImageNet, else "a photo of a {}")')
    parser.add_argument('--limit', type=int, metavar='N', help='pictures at most')
    parser.add_argument('--out', metavar='FILE', help='JSON file to write or replace')
    add_config_options(parser)
    return parser.parse_args(argv)


@main_guard
def main(argv=None):
    """Run the command line."""
    args = parse(argv)
    from dtbox.diagnostics.teacher_check import check_teacher, report
    from dtbox.evaluation import to_json
    if args.limit is not None and args.limit < 1:
        raise InputError(f'{args.limit} pictures; expected at least 1.', '--limit')
    templates = args.template or ('imagenet80' if 'imagenet' in (args.data or '') else ['a photo of a {}'])
    found = check_teacher(args.config, args.data, args.encoder, parse_options(args.cfg_options), args.plugin, templates, args.limit)
    print(report(found))
    if args.out:
        to_json(found, args.out)
        print(f'\nwritten to {args.out}')


if __name__ == '__main__':
    main()
