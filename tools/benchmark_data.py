"""Time reading of data beside open_clip and torchvision: python tools/benchmark_data.py [--urls PATTERN --folder DIR]"""
import argparse
import os
import tempfile

from dtbox.cli.guard import main_guard
from dtbox.errors import InputError


@main_guard
def main(argv=None):
    """Run the command line."""
    parser = argparse.ArgumentParser(description='Images a second, read, decoded and resized to 256: WebDataset shards beside open_clip\'s '
                                                 'pipeline, folders beside torchvision\'s ImageFolder. Use an idle machine. Needs the extra `test`.')
    parser.add_argument('--count', type=int, default=512, help='photographs to write, or that the shards hold (default: 512)')
    parser.add_argument('--urls', metavar='PATTERN', help='shards of your own with captions (.txt), such as data/{000..007}.tar; with --folder')
    parser.add_argument('--folder', metavar='DIR', help='class folders of your own')
    parser.add_argument('--rounds', type=int, default=5, help='turns of each contender (default: 5)')
    parser.add_argument('--batches', type=int, default=8, help='timed batches of 16 a turn (default: 8)')
    parser.add_argument('--workers', type=int, default=0, help='worker processes (default: 0: this process alone, so that a rate is one a core)')
    args = parser.parse_args(argv)
    if bool(args.urls) != bool(args.folder):
        raise InputError('--urls and --folder go together.')
    if min(args.count, args.rounds, args.batches) < 1 or args.workers < 0:
        raise InputError('--count, --rounds and --batches must be at least 1, --workers at least 0.')
    import torch

    from dtbox.diagnostics.data_benchmark import measure, write_photos
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        urls, pictures = args.urls, args.folder
        if urls is None:
            write_photos(folder, args.count)
            urls, pictures = os.path.join(folder, 'shards', '{000..003}.tar'), os.path.join(folder, 'folder')
        measure(urls, pictures, args.count, args.rounds, args.batches, workers=args.workers)


if __name__ == '__main__':
    main()
