"""Reconstruct images, input and reconstruction side by side: python tools/reconstruct.py RUN IMAGE... --out DIR"""
import argparse
import sys

from dtbox.cli.guard import main_guard
from dtbox.cli.options import add_plugin_option


@main_guard
def main(argv=None):
    """Run the command line; exit code 2 where images could not be read, after all others are done."""
    parser = argparse.ArgumentParser(description='Write input and reconstruction of images side by side, and what their codes cost.')
    parser.add_argument('run', metavar='RUN', help='run folder; or a config file, with --checkpoint')
    parser.add_argument('images', nargs='+', metavar='IMAGE', help='image, or folder: all images in it')
    parser.add_argument('--out', required=True, metavar='DIR', help='folder for the pictures; nothing in it is overwritten')
    parser.add_argument('--vocabularies', nargs='+', metavar='NAME', help='encode and count these (default: those that the decoder reads)')
    parser.add_argument('--checkpoint', metavar='FILE', help='checkpoint (default: that of the run folder)')
    parser.add_argument('--device', default='cpu', help='torch device (default: cpu)')
    add_plugin_option(parser)
    args = parser.parse_args(argv)
    from dtbox.apis.loading import load
    from dtbox.apis.reconstruction import reconstruct_files
    tokenizer = load(args.run, args.checkpoint, device=args.device, plugins=args.plugin)
    failed = 0
    for result in reconstruct_files(tokenizer, args.images, args.out, args.vocabularies):
        failed += result.error is not None
        print(f'error: {result}' if result.error else result, file=sys.stderr if result.error else sys.stdout)
    if failed:
        print(f'{failed} could not be reconstructed.', file=sys.stderr)
        raise SystemExit(2)


if __name__ == '__main__':
    main()
