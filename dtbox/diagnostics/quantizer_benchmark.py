"""Quantizers side by side: dtbox, the package vector-quantize-pytorch, a plain `torch.cdist().argmin()`, and this machine's own
matrix-product rate as the limit. All contenders of a case take turns in one process, so that a machine that slows down slows down all.

Legend: N vectors of a call, C code width, K codebook size, Q depth.
"""
import contextlib
import math
import os
import statistics
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import Dict, Optional

import torch

from dtbox.errors import InputError, need_package
from dtbox.registry import QUANTIZERS

SIDE = 2048
"""Side of the square product that gives the limit."""
LEAST = 0.03
"""Seconds that a contender runs at least in a round; quick ones are called several times."""


@dataclass(frozen=True)
class Case:
    """What is timed.

    Attributes:
        kind: 'RQ' (VQ where depth is 1), 'FSQ', 'LFQ' or 'BSQ'.
        count: N, as one image of N tokens.
        dim: C.
        size: K; 2^C for the lookup-free ones.
        depth: Q.
        training: a training step (forward, backward, update of the tables), or an evaluation.
    """
    kind: str
    count: int
    dim: int
    size: int
    depth: int = 1
    training: bool = False

    def __str__(self):
        depth = f', depth {self.depth}' if self.depth > 1 else ''
        return f'{"VQ" if self.kind == "RQ" and self.depth == 1 else self.kind} {self.size:,} x {self.dim}{depth}, {self.count:,} vectors'

    @property
    def flops(self):
        """Operations of the search's matrix products, 2 N K C Q; 0 where there is no search."""
        return 2 * self.count * self.size * self.dim * self.depth if self.kind == 'RQ' else 0

    @property
    def dense_bytes(self):
        """Bytes of the distance matrix of one depth, of which the others keep two to four at a time."""
        return 4 * self.count * self.size if self.kind == 'RQ' else 0


@dataclass
class Result:
    """What came out of a case; contenders: 'dtbox', 'vector-quantize-pytorch', 'cdist'.

    Attributes:
        case: the Case.
        seconds: contender -> median seconds of a call.
        rounds: contender -> seconds of every round.
        extra_bytes: contender -> peak of what a call allocates beyond what was there.
        rate: the limit in operations a second, median of the same rounds.
        left_out: contender -> why it did not take part.
    """
    case: Case
    seconds: Dict[str, float] = field(default_factory=dict)
    rounds: Dict[str, list] = field(default_factory=dict)
    extra_bytes: Dict[str, int] = field(default_factory=dict)
    rate: float = 0.0
    left_out: Dict[str, str] = field(default_factory=dict)

    def ratio(self, peer) -> Optional[float]:
        """Median over rounds of the peer's time over dtbox's; None where the peer did not take part."""
        if peer not in self.rounds:
            return None
        return statistics.median(b / a for a, b in zip(self.rounds['dtbox'], self.rounds[peer]))

    @property
    def share(self) -> Optional[float]:
        """Share of the limit that dtbox reaches in the search's operations; None where there is no search."""
        return self.case.flops / self.seconds['dtbox'] / self.rate if self.case.flops else None

    def to_dict(self):
        """Return plain types for JSON."""
        return dict(case=str(self.case), **asdict(self.case), seconds=self.seconds, rounds=self.rounds, extra_bytes=self.extra_bytes,
                    left_out=self.left_out, matmul_flops_per_second=self.rate, share_of_matmul=self.share,
                    ratio={peer: self.ratio(peer) for peer in self.seconds if peer != 'dtbox'})


def package():
    """Return the module vector_quantize_pytorch."""
    return need_package('vector_quantize_pytorch', 'compare', 'the benchmark')


def build_ours(case):
    """Return dtbox's quantizer of a case."""
    if case.kind == 'RQ' and case.depth == 1:
        return QUANTIZERS.build(dict(type='VQ', size=case.size, dim=case.dim))
    if case.kind == 'RQ':
        return QUANTIZERS.build(dict(type='RQ', size=case.size, dim=case.dim, depth=case.depth))
    if case.kind == 'FSQ':
        return QUANTIZERS.build(dict(type='FSQ', levels=[5] * case.dim))
    return QUANTIZERS.build(dict(type=case.kind, dim=case.dim))


def build_theirs(case):
    """Return the package's quantizer of a case, with the settings of ours."""
    vqp = package()
    if case.kind == 'RQ' and case.depth == 1:
        return vqp.VectorQuantize(dim=case.dim, codebook_size=case.size, decay=0.99, threshold_ema_dead_code=1)
    if case.kind == 'RQ':
        return vqp.ResidualVQ(dim=case.dim, codebook_size=case.size, num_quantizers=case.depth, shared_codebook=True, decay=0.99,
                              threshold_ema_dead_code=1)
    if case.kind == 'FSQ':
        return vqp.FSQ(levels=[5] * case.dim)
    return vqp.LFQ(dim=case.dim, codebook_size=2 ** case.dim, entropy_loss_weight=0.1, spherical=case.kind == 'BSQ')


def our_call(case, z):
    """Return a function without arguments that runs dtbox once."""
    module = build_ours(case).train(case.training)
    if not case.training:
        return lambda: module.encode(z) if case.kind == 'RQ' else no_grad(module, z)

    def step():
        out = module(z)
        (out.features.sum() + sum(out.losses.values())).backward()
        module.commit()
    return step


def their_call(case, z):
    """Return a function without arguments that runs the package once; its tables are updated in the forward."""
    module = build_theirs(case).train(case.training)
    if not case.training:
        return lambda: no_grad(module, z)

    def step():
        found = module(z)
        losses = [t.sum() for t in found[2:] if isinstance(t, torch.Tensor) and t.is_floating_point()]
        (found[0].sum() + sum(losses)).backward()
    return step


def no_grad(module, z):
    """Run a forward without gradient."""
    with torch.no_grad():
        return module(z)


def cdist_call(case, z):
    """Return a function without arguments that runs the plain search of a residual quantizer."""
    table = torch.randn(case.size, case.dim)

    @torch.no_grad()
    def search():
        residual, codes = z.detach()[0], []
        for _ in range(case.depth):
            codes.append(torch.cdist(residual, table).argmin(1))
            residual = residual - table[codes[-1]]
        return codes
    return search


def contenders(case, z, memory):
    """Return (contender -> function, contender -> why it is left out)."""
    calls, left_out = {'dtbox': our_call(case, z)}, {}
    copies = {'vector-quantize-pytorch': 4 if case.training else 2, 'cdist': 2}
    makers = {'vector-quantize-pytorch': their_call, 'cdist': cdist_call}
    for name, make in makers.items():
        needs = copies[name] * case.dense_bytes
        if name == 'cdist' and (case.training or case.kind != 'RQ'):
            continue
        if needs > memory:
            left_out[name] = f'would need about {needs / 2 ** 30:.1f} GB for its distance matrices, more than {memory / 2 ** 30:g}'
        else:
            calls[name] = make(case, z)
    return calls, left_out


def measure(case, rounds=5, memory=6 * 2 ** 30):
    """Time a case.

    Args:
        case: Case.
        rounds: rounds in which the contenders take turns, in changing order, after two calls to warm up.
        memory: bytes that a contender may need for its distance matrices; one that needs more is left out.

    Returns:
        Result.
    """
    if rounds < 1:
        raise InputError(f'{rounds} rounds; expected at least 1.')
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(1, case.count, case.dim, generator=generator).requires_grad_(case.training)
    torch.manual_seed(0)
    calls, left_out = contenders(case, z, memory)
    a, b = torch.randn(SIDE, SIDE), torch.randn(SIDE, SIDE)
    calls['limit'] = lambda: a @ b
    times = {name: [] for name in calls}
    extra = {name: peak_extra(call) for name, call in calls.items()}  # also warms up
    repeats = {name: min(100, math.ceil(LEAST / timed(call, 1))) for name, call in calls.items()}
    for number in range(rounds):
        names = list(calls)
        for name in names[number % len(names):] + names[:number % len(names)]:
            times[name].append(timed(calls[name], repeats[name]))
    limit = times.pop('limit')
    extra.pop('limit')
    return Result(case, {n: statistics.median(t) for n, t in times.items()}, times, extra, 2 * SIDE ** 3 / statistics.median(limit), left_out)


def timed(call, repeats):
    """Return seconds a call takes, the mean of so many in a row."""
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) / repeats


@contextlib.contextmanager
def quiet_stderr():
    """Keep what the profiler's C++ part says about missing GPUs off the screen."""
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, 'wb') as nothing:
        os.dup2(nothing.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def peak_extra(call):
    """Return the most bytes that torch's CPU allocator held during a call, beyond what it held before."""
    from torch.profiler import ProfilerActivity, profile
    with quiet_stderr(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        call()
    held = peak = 0
    events = [e for e in recorded.profiler.kineto_results.events() if e.name() == '[memory]']
    for event in sorted(events, key=lambda e: e.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def format_table(results):
    """Return results as a Markdown table."""
    lines = ['| | dtbox [ms] | times faster than vector-quantize-pytorch | than cdist | share of the matmul rate | extra MB: dtbox | package |',
             '|---|---|---|---|---|---|---|']
    for training in (False, True):
        part = [r for r in results if r.case.training is training]
        if part:
            lines.append(f'| **{"training step" if training else "evaluation"}** | | | | | | |')
        for r in part:
            cell = {peer: f'{ratio:.1f}' if (ratio := r.ratio(peer)) else '' for peer in ('vector-quantize-pytorch', 'cdist')}
            memory = {n: f'{b / 2 ** 20:,.0f}' for n, b in r.extra_bytes.items()}
            share = f'{100 * r.share:.0f} %' if r.share else ''
            lines.append(f'| {r.case} | {1000 * r.seconds["dtbox"]:,.1f} | {cell["vector-quantize-pytorch"] or "too large"} | {cell["cdist"]} '
                         f'| {share} | {memory["dtbox"]} | {memory.get("vector-quantize-pytorch", "")} |')
    return '\n'.join(lines)


def standard_cases():
    """Return the cases of the tool: the figures of the README, and sweeps over K, C, Q and N."""
    rq = [dict(count=1458, size=16384, dim=32, depth=8)]
    rq += [dict(count=4096, size=k, dim=32) for k in (1024, 16384, 65536, 262144)]
    rq += [dict(count=1458, size=16384, dim=c) for c in (8, 64, 256)]
    rq += [dict(count=1458, size=16384, dim=32, depth=q) for q in (4, 16)]
    rq += [dict(count=n, size=4096, dim=32, depth=4) for n in (256, 16384)]
    cases = [Case('RQ', training=training, **args) for args in rq for training in (False, True)]
    for kind, dim, size in (('FSQ', 6, 5 ** 6), ('LFQ', 14, 2 ** 14), ('BSQ', 14, 2 ** 14)):
        cases += [Case(kind, 16384, dim, size, training=training) for training in (False, True)]
    return cases
