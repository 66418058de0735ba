"""Count a recipe before it runs: python tools/describe.py CONFIG [--gpus 8 --memory 80 --peak 312 --utilisation 0.4 --batch N]"""
import argparse

from dtbox.cli.guard import main_guard
from dtbox.cli.options import add_config_options, add_tiny_option, read_config
from dtbox.errors import InputError


@main_guard
def main(argv=None):
    """Run the command line."""
    parser = argparse.ArgumentParser(description='Parameters of each part, tokens and bits of a picture, FLOPs and memory of training, and days on '
                                                 'so many GPUs. Builds nothing in memory and needs no weights.')
    parser.add_argument('config', help='config file or run folder')
    parser.add_argument('--gpus', type=int, default=8, help='their number (default: 8)')
    parser.add_argument('--memory', type=float, default=80, metavar='GB', help='of a GPU (default: 80, an A100)')
    parser.add_argument('--peak', type=float, default=312, metavar='TFLOPS', help='of a GPU in the type of training (default: 312, A100 in bfloat16)')
    parser.add_argument('--utilisation', type=float, default=0.4, help='share of it that training reaches (default: 0.4)')
    parser.add_argument('--batch', type=int, help='pictures a GPU (default: that of the config)')
    add_tiny_option(parser)
    add_config_options(parser)
    args = parser.parse_args(argv)
    if args.gpus < 1 or args.memory <= 0 or args.peak <= 0 or not 0 < args.utilisation <= 1 or (args.batch or 1) < 1:
        raise InputError('--gpus and --batch must be at least 1, --memory and --peak above 0, --utilisation in (0, 1].')
    from dtbox.config import resolve
    from dtbox.sizing.describe import describe
    from dtbox.sizing.fit import fit, format_description, format_fit
    cfg = resolve(read_config(args))
    found = describe(cfg)
    print(format_description(found))
    batch = args.batch or (cfg.get('train_dataloader') or {}).get('batch_size', 1)
    iterations = (cfg.get('train_cfg') or {}).get('max_iters')
    result = fit(found, batch, args.gpus, args.memory * 1e9, args.peak * 1e12, args.utilisation, iterations)
    print(format_fit(found, result, batch, args.gpus, args.peak, args.utilisation, iterations))


if __name__ == '__main__':
    main()
