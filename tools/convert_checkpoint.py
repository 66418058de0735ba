"""Turn published weights into a run folder: python tools/convert_checkpoint.py dualtoken SRC DST [--siglip DIR]"""
import argparse

from dtbox.cli import main_guard


@main_guard
def main(argv=None):
    """Run the command line."""
    parser = argparse.ArgumentParser(description='Turn published weights into a run folder that dtbox opens.')
    kinds = parser.add_subparsers(dest='kind', required=True, metavar='KIND')
    dualtoken = kinds.add_parser('dualtoken', help='DualToken (arXiv 2503.14324): a folder with config.json and one .pt')
    dualtoken.add_argument('src', help='folder with config.json and one .pt')
    dualtoken.add_argument('dst', help='run folder to write')
    dualtoken.add_argument('--siglip', metavar='DIR', help='Hugging Face SigLIP folder (default: pretrained_model of the config)')
    args = parser.parse_args(argv)
    from dtbox.converters.run_folder import convert_dualtoken
    count = convert_dualtoken(args.src, args.dst, args.siglip)
    print(f'{args.dst}: {count / 1e6:.2f} M parameters; open it with dtbox.load({args.dst!r})')


if __name__ == '__main__':
    main()
