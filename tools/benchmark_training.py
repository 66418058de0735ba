"""Time training against a bare PyTorch loop of the same model and data: python tools/benchmark_training.py CONFIG [--iters N]"""
import argparse

from dtbox.cli.guard import main_guard
from dtbox.cli.options import add_config_options, add_tiny_option, read_config


@main_guard
def main(argv=None):
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Print what the Runner and its hooks cost over a bare loop. Use an idle machine; set "
                                                 "model.adversarial.start=0 to time steps with a discriminator.")
    parser.add_argument('config', metavar='CONFIG', help='config file or run folder')
    parser.add_argument('--iters', type=int, default=100, help='timed iterations of each loop (default: 100)')
    parser.add_argument('--block', type=int, default=1, help='iterations that one loop runs before the other has its turn (default: 1)')
    add_tiny_option(parser)
    add_config_options(parser)
    args = parser.parse_args(argv)
    from dtbox.training.benchmark import measure
    print(measure(read_config(args), args.iters, args.block))


if __name__ == '__main__':
    main()
