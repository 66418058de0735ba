"""Memory and time of an evaluation beside its model: python tools/benchmark_evaluation.py [--images 50000] [--captions]"""
import argparse

from dtbox.cli.guard import main_guard
from dtbox.errors import InputError


@main_guard
def main(argv=None):
    """Run the command line."""
    parser = argparse.ArgumentParser(description='Feed a synthetic stream to the metrics and print the memory that they hold; run a base model and '
                                                 'print the metrics\' share of its time. Use an idle machine.')
    parser.add_argument('--images', type=int, default=50000, help='pictures of the stream (default: 50000)')
    parser.add_argument('--size', type=int, default=64, help='their side in pixels, which does not change what is kept (default: 64)')
    parser.add_argument('--tokens', type=int, default=256, help='tokens a picture, which are not kept either (default: 256)')
    parser.add_argument('--captions', action='store_true', help='retrieval over a caption for each picture, too')
    parser.add_argument('--only', choices=['memory', 'share'], help='one of the two measurements')
    args = parser.parse_args(argv)
    if args.images < 2 or args.size < 11 or args.tokens < 1:
        raise InputError('--images must be at least 2, --size at least 11, --tokens at least 1.')
    from dtbox.diagnostics.evaluation_benchmark import measure_share, measure_stream
    if args.only != 'share':
        found = measure_stream(args.images, args.size, captions=args.captions, tokens=args.tokens)
        print(f'{found["images"]:,} pictures: the metrics held {found["megabytes"]:,.0f} MB at most and took {found["seconds"]:,.0f} s')
    if args.only != 'memory':
        metrics, model = measure_share()
        print(f'at 256 pixels, base size: metrics {metrics:.3f} s, model and teacher {model:.3f} s a picture: {metrics / model:.1%}')


if __name__ == '__main__':
    main()
