"""Report on a grid or on runs: python tools/report.py GRID_DIR, or python tools/report.py RUN RUN ... --out DIR"""
import argparse

from dtbox.cli.guard import main_guard


def parse(argv=None):
    """Return the command line's arguments."""
    parser = argparse.ArgumentParser(description='Tables, plots and one HTML page of a grid or of runs, from what they left; no model is run.')
    parser.add_argument('folders', nargs='+', metavar='FOLDER', help='folder of a grid, or run folders (NAME-seedN are seeds of one variant)')
    parser.add_argument('--out', metavar='DIR', help='folder of the report (default: report/ in that of the grid); an earlier report is replaced')
    parser.add_argument('--metrics', nargs='+', default=[], metavar='SET/METRIC',
                        help='headline metrics, such as all/psnr variants/t2i_r1/tokens (default: those of the grid, or the usual ones)')
    parser.add_argument('--reference', metavar='NAME', help='variant that others are compared with (default: that of the grid, or the first run)')
    parser.add_argument('--mixed-protocols', action='store_true',
                        help='put numbers that were measured with different settings or on different data into one column all the same')
    return parser.parse_args(argv)


@main_guard
def main(argv=None):
    """Run the command line."""
    args = parse(argv)
    from dtbox.report import build
    print(f'written to {build(args.folders, args.out, args.metrics, args.reference, args.mixed_protocols)}')


if __name__ == '__main__':
    main()
