"""How long DualToken's CNN decoder takes beside a direct implementation: nearest doubling, then convolution, in the
layout that comes.

    python tools/benchmarks/decoding.py [--only TEXT] [--images 1] [--rounds 5] [--threads N]

Random weights, no gradients. Both take turns in one process, so that a machine that slows down slows down both; their
images must agree.
"""
from __future__ import annotations

import argparse
import statistics
from unittest import mock

import torch
import torch.nn as nn
import torch.nn.functional as F
from measuring import check_counts, time_in_turns
from torch import Tensor

from dtbox.cli.guard import main_guard
from dtbox.decoders.cnn import CNNStack
from dtbox.errors import InputError
from dtbox.layers import conv

CASES = {'DualToken, 384 pixels': 24, 'DualToken, 256 pixels': 16}
"""Name -> rows of the latent map."""
TOLERANCE = {torch.float32: 5e-5, torch.bfloat16: 0.3}
"""Largest difference of pixels, which lie around [-3, 3] with random weights."""


def double_and_convolve(x: Tensor, layer: nn.Conv2d) -> Tensor:
    """Nearest x2, then the convolution: what `upsample_conv` replaces."""
    return layer(F.interpolate(x, scale_factor=2, mode='nearest'))


def run_directly(decoder: CNNStack, x: Tensor) -> Tensor:
    """Decode without the two ways in which dtbox departs from the direct implementation."""
    with mock.patch.object(conv, 'upsample_conv', double_and_convolve), \
            mock.patch.object(conv, 'fast_layout', lambda x, scale=1: x):
        return decoder(x)


def make_decoder(channels: int = 128) -> CNNStack:
    """Return the decoder of published layout; `channels` is its base width."""
    attention = [False, False, False, False, True]
    return CNNStack(8 * channels, channels, (1, 1, 4, 4, 8), 2, attention).eval()


@torch.no_grad()
def measure(side: int, images: int, rounds: int, dtype: torch.dtype) -> tuple[float, float, float]:
    """Time a decoder.

    Args:
        side: rows of the latent map.
        images: of a batch.
        rounds: in which both take turns, after one to warm up.
        dtype: of weights and activations.

    Returns:
        tuple: median seconds of the direct implementation, of dtbox, and the median over rounds of their ratio.
    """
    torch.manual_seed(0)
    decoder = make_decoder().to(dtype)
    x = torch.randn(images, decoder.conv_in.in_channels, side, side).to(dtype)
    calls = dict(direct=lambda: run_directly(decoder, x), dtbox=lambda: decoder(x))
    found = {name: call() for name, call in calls.items()}
    difference = float((found['direct'] - found['dtbox']).abs().max())
    if difference > TOLERANCE[dtype]:
        raise InputError(f'the images differ by {difference:.1g}; expected at most {TOLERANCE[dtype]:g}.')
    times = time_in_turns(calls, rounds)
    ratio = statistics.median(b / a for a, b in zip(times['direct'], times['dtbox']))
    return statistics.median(times['direct']), statistics.median(times['dtbox']), ratio


@main_guard
def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Time DualToken's decoder against a direct implementation. Use an "
                                                 'idle machine.')
    parser.add_argument('--only', metavar='TEXT', default='', help='cases whose name holds TEXT, such as 384')
    parser.add_argument('--images', type=int, default=1, metavar='N', help='of a batch (default: 1)')
    parser.add_argument('--rounds', type=int, default=5, metavar='N',
                        help='rounds in which both take turns (default: 5)')
    parser.add_argument('--threads', type=int, default=torch.get_num_threads(), metavar='N',
                        help='OpenMP threads (default: those of torch)')
    args = parser.parse_args(argv)
    check_counts(images=args.images, rounds=args.rounds, threads=args.threads)
    cases = {name: side for name, side in CASES.items() if args.only in name}
    if not cases:
        raise InputError(f'no case holds {args.only}. There are: {", ".join(CASES)}.')
    torch.set_num_threads(args.threads)
    print(f'{args.threads} thread(s), torch {torch.__version__}\n\n| decoder | type | direct s | dtbox s | ratio |\n'
          '|---|---|---|---|---|')
    for name, side in cases.items():
        for dtype in TOLERANCE:
            direct, own, ratio = measure(side, args.images, args.rounds, dtype)
            print(f'| {name} | {str(dtype)[6:]} | {direct:.2f} | {own:.2f} | {ratio:.2f} |', flush=True)


if __name__ == '__main__':
    main()
