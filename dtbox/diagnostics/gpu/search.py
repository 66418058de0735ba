"""Part `search`: the codes of the device against those of a plain search in float64 on the CPU.

Products in float32 round, so two codes whose distances differ by less than the rounding error may change places. Where
codes differ, both distances are compared in float64: more than the error bound apart is a wrong code (those of TF32
are). How many codes differ from those that dtbox finds on the CPU is told, too.

Legend: M vectors, K codes, C code width.
"""
from __future__ import annotations

import torch
from torch import Tensor

from dtbox.counts import format_count
from dtbox.diagnostics.gpu.results import Report
from dtbox.diagnostics.gpu.settings import Settings
from dtbox.quantizers.search import nearest_codes

SHAPES = ((1458, 16384, 32), (4096, 1024, 8), (513, 65536, 64), (300, 262144, 16), (7, 37, 5))
"""(M, K, C): DualToken's, a small codebook, wide rows, a huge codebook, nothing that divides."""
SMALL = ((64, 512, 32), (128, 64, 8), (33, 1024, 64), (16, 4096, 16), (7, 37, 5))
ROUNDING = 2.0 ** -24
"""Largest relative error of one float32 operation."""


def check(settings: Settings, report: Report) -> None:
    """Check five shapes, and ties between rows that are the same."""
    for m, k, c in settings.choose(SHAPES, SMALL):
        generator = torch.Generator().manual_seed(k)
        z, table = (torch.randn(n, c, generator=generator) for n in (m, k))
        wanted, found = search_plainly(z, table), nearest_codes(z.to(settings.device), table.to(settings.device)).cpu()
        differ = wanted != found
        excess = measure_excess(z[differ], table, found[differ], wanted[differ])
        other = int((nearest_codes(z, table) != found).sum())
        report.check(f'{m:,} vectors, {k:,} x {c}', bool((excess <= 1).all()),
                     f'{format_count(int(differ.sum()), "code", "differs")} from float64' + (
                         f', by {float(excess.max()):.2g} of the rounding error at most' if len(excess) else '')
                     + f', {other} from those of the CPU')
    half = settings.choose(1024, 64)
    rows = torch.randn(half, 8, generator=torch.Generator().manual_seed(1))
    codes = nearest_codes(rows.to(settings.device), torch.cat([rows, rows]).to(settings.device)).cpu()
    report.check('rows that are there twice: the first', bool((codes == torch.arange(half)).all()),
                 f'{format_count(int((codes >= half).sum()), "code")} of the second')


def search_plainly(z: Tensor, table: Tensor, rows: int = 128) -> Tensor:
    """Return the nearest codes [M] of z [M,C] in a table [K,C], in float64, so many vectors at a time."""
    wide = table.double()
    return torch.cat([(part.double() @ wide.t() - wide.pow(2).sum(1) / 2).argmax(1) for part in z.split(rows)])


def measure_excess(z: Tensor, table: Tensor, found: Tensor, wanted: Tensor) -> Tensor:
    """Return by how much the distance of codes exceeds that of others, in units of the rounding error of both.

    Scores are z . e - |e|^2 / 2; a float32 sum of C + 1 products errs by at most (C + 1) u times the sum of their
    sizes, where u is `ROUNDING`.

    Args:
        z: [M,C] vectors.
        table: [K,C].
        found, wanted: [M] codes.
    """
    z, one = z.double(), table.double()[found]
    other = table.double()[wanted]
    size = sum((z * e).abs().sum(1) + e.pow(2).sum(1) for e in (one, other))
    bound = 2 * (z.shape[1] + 2) * ROUNDING * size
    gap = ((z * other).sum(1) - other.pow(2).sum(1) / 2) - ((z * one).sum(1) - one.pow(2).sum(1) / 2)
    return gap / bound.clamp_min(1e-30)
