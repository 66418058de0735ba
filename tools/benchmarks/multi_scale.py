"""Codes of several scales: `MultiScaleRQ.encode` against a direct implementation, scale by scale with `torch.cdist`.

    python tools/benchmarks/multi_scale.py [--only TEXT] [--images 8] [--rounds 5]

Both take turns in one process, so that a machine that slows down slows down both; their codes must be the same.
"""
from __future__ import annotations

import argparse
import functools
import statistics
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from measuring import check_counts, time_in_turns
from torch import Tensor

from dtbox.cli.guard import main_guard
from dtbox.errors import InputError
from dtbox.quantizers.multi_scale_base import MultiScale
from dtbox.registry import QUANTIZERS


@dataclass(frozen=True)
class Case:
    """What is timed.

    Attributes:
        name: of the published tokenizer.
        quantizer: config of the multi-scale quantizer.
    """
    name: str
    quantizer: dict


CASES = [
    Case('VAR, 256 pixels', dict(
        type='MultiScaleRQ', scales=[1, 2, 3, 4, 5, 6, 8, 10, 13, 16], convs=4,
        quantizer=dict(type='VQ', size=4096, dim=32))),
    Case('TokenFlow, 256 pixels', dict(
        type='ScaleWiseRQ', scales=[1, 2, 4, 6, 8, 10, 12, 14, 16],
        quantizer=dict(type='JointVQ', size=32768, members=dict(semantic=32, pixel=8))))]


class Direct:
    """The specification as one writes it down: all distances of a scale, their smallest, the map without its row.

    Args:
        quantizer: whose tables and convolutions it takes.
    """

    def __init__(self, quantizer: MultiScale) -> None:
        self.quantizer, self.inner = quantizer, quantizer.inner
        self.joint = quantizer.members is not None
        self.table = self.direct(self.inner.codebook.weight.detach())

    def direct(self, values: Tensor) -> Tensor:
        """Values [..., C] -> the direction of each member's part, where there are members."""
        if not self.joint:
            return values
        return torch.cat([F.normalize(part, dim=-1) for part in values.split(self.inner.widths, -1)], -1)

    @torch.no_grad()
    def encode(self, z: Tensor) -> Tensor:
        """z [B,N,C] -> codes [B,L,1]."""
        sizes, codes = self.quantizer.scales.sizes, []
        rest = z.transpose(1, 2).unflatten(2, sizes[-1])
        for i, size in enumerate(sizes):
            tokens = self.direct(F.interpolate(rest, size, mode='area').flatten(2).transpose(1, 2).flatten(0, 1))
            found = torch.cdist(tokens, self.table).argmin(1).view(len(z), -1)
            rows = self.table[found].transpose(1, 2).unflatten(2, size)
            x = rows if size == sizes[-1] else F.interpolate(rows, sizes[-1], mode='bicubic')
            if self.quantizer.convs is not None:
                conv = self.quantizer.convs.convs[self.quantizer.convs.choose(i, len(sizes))]
                x = x * 0.5 + conv(x) * 0.5
            rest = rest - x
            codes.append(found)
        return torch.cat(codes, 1)[..., None]


def measure(case: Case, images: int, rounds: int) -> dict[str, list[float]]:
    """Return contender -> seconds of every round, after one to warm up; `InputError` where their codes differ."""
    torch.manual_seed(0)
    quantizer = QUANTIZERS.build(case.quantizer).eval()
    z = torch.randn(images, quantizer.grid.tokens, quantizer.dim)
    with torch.no_grad():
        quantizer.inner.codebook.weight.copy_(torch.randn_like(quantizer.inner.codebook.weight))
    calls = dict(dtbox=quantizer.encode, direct=Direct(quantizer).encode)
    codes = {name: call(z) for name, call in calls.items()}
    same = (codes['dtbox'] == codes['direct']).double().mean().item()
    if same < 0.99:  # one code that rounding changes changes those of the finer scales
        raise InputError(f'{case.name}: only {same:.2%} of the codes agree; they are not the same method.')
    return time_in_turns({name: functools.partial(call, z) for name, call in calls.items()}, rounds)


def format_row(case: Case, times: dict[str, list[float]]) -> str:
    """Return a row of the table: medians in ms, and the median over rounds of the ratio."""
    ours, theirs = (1000 * statistics.median(times[name]) for name in ('dtbox', 'direct'))
    ratio = statistics.median(b / a for a, b in zip(times['dtbox'], times['direct']))
    return f'| {case.name} | {ours:,.1f} | {theirs:,.1f} | {ratio:.1f} |'


@main_guard
def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description='Time the codes of several scales against a direct implementation '
                                                 'with torch.cdist, in turn. Use an idle machine.')
    parser.add_argument('--only', metavar='TEXT', default='', help='cases whose name holds TEXT, such as VAR')
    parser.add_argument('--images', type=int, default=8, metavar='N', help='images of a call (default: 8)')
    parser.add_argument('--rounds', type=int, default=5, metavar='N',
                        help='rounds in which both take turns (default: 5)')
    args = parser.parse_args(argv)
    check_counts(images=args.images, rounds=args.rounds)
    cases = [case for case in CASES if args.only in case.name]
    if not cases:
        raise InputError(f'no case holds {args.only}. There are: {"; ".join(case.name for case in CASES)}.')
    print(f'{args.images} images, {torch.get_num_threads()} thread(s), torch {torch.__version__}\n')
    print('| | dtbox [ms] | direct [ms] | times faster |\n|---|---|---|---|')
    for case in cases:
        print(format_row(case, measure(case, args.images, args.rounds)), flush=True)


if __name__ == '__main__':
    main()
