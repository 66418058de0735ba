"""Cases of the quantizer benchmark, and what each contender runs: dtbox, vector-quantize-pytorch,
`torch.cdist().argmin()`; on the device of the vectors.

Legend: N vectors of a call, C code width, K codebook size, Q depth.
"""
from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass, field
from types import ModuleType
from typing import Callable, Sequence

import torch

from dtbox.errors import need_package
from dtbox.registry import QUANTIZERS

PEERS = ('vector-quantize-pytorch', 'cdist')
"""Contenders beside dtbox."""


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

    def __str__(self) -> str:
        depth = f', depth {self.depth}' if self.depth > 1 else ''
        kind = 'VQ' if self.kind == 'RQ' and self.depth == 1 else self.kind
        return f'{kind} {self.size:,} x {self.dim}{depth}, {self.count:,} vectors'

    @property
    def flops(self) -> int:
        """Operations of the search's matrix products, 2 N K C Q; 0 where there is no search."""
        return 2 * self.count * self.size * self.dim * self.depth if self.kind == 'RQ' else 0

    @property
    def dense_bytes(self) -> int:
        """Bytes of the distance matrix of one depth, of which the others keep two to four at a time."""
        return 4 * self.count * self.size if self.kind == 'RQ' else 0


@dataclass
class Result:
    """Results of a case; contenders: 'dtbox', 'vector-quantize-pytorch', 'cdist'.

    Attributes:
        case: the Case.
        seconds: contender -> median seconds of a call.
        rounds: contender -> seconds of every round.
        extra_bytes: contender -> peak of what a call allocates beyond what was there.
        rate: the limit in operations a second, median of the same rounds.
        left_out: contender -> why it did not take part.
    """
    case: Case
    seconds: dict[str, float] = field(default_factory=dict)
    rounds: dict[str, list] = field(default_factory=dict)
    extra_bytes: dict[str, int] = field(default_factory=dict)
    rate: float = 0.0
    left_out: dict[str, str] = field(default_factory=dict)

    def ratio(self, peer: str) -> float | None:
        """Median over rounds of the peer's time over dtbox's; None where the peer did not take part."""
        if peer not in self.rounds:
            return None
        return statistics.median(b / a for a, b in zip(self.rounds['dtbox'], self.rounds[peer]))

    @property
    def fraction(self) -> float | None:
        """Fraction of the limit that dtbox reaches in the search's operations; None where there is no search."""
        return self.case.flops / self.seconds['dtbox'] / self.rate if self.case.flops else None

    def to_dict(self) -> dict:
        """Return plain types for JSON."""
        return dict(case=str(self.case), **asdict(self.case), seconds=self.seconds, rounds=self.rounds,
                    extra_bytes=self.extra_bytes, left_out=self.left_out, matmul_flops_per_second=self.rate,
                    share_of_matmul=self.fraction,
                    ratio={peer: self.ratio(peer) for peer in self.seconds if peer != 'dtbox'})


def import_package() -> ModuleType:
    """Return the module vector_quantize_pytorch."""
    return need_package('vector_quantize_pytorch', 'compare', 'the benchmark')


def build_ours(case: Case) -> torch.nn.Module:
    """Return dtbox's quantizer of a case."""
    if case.kind == 'RQ' and case.depth == 1:
        return QUANTIZERS.build(dict(type='VQ', size=case.size, dim=case.dim))
    if case.kind == 'RQ':
        return QUANTIZERS.build(dict(type='RQ', size=case.size, dim=case.dim, depth=case.depth))
    if case.kind == 'FSQ':
        return QUANTIZERS.build(dict(type='FSQ', levels=[5] * case.dim))
    return QUANTIZERS.build(dict(type=case.kind, dim=case.dim))


def build_theirs(case: Case) -> torch.nn.Module:
    """Return the package's quantizer of a case, with the settings of ours."""
    vqp = import_package()
    if case.kind == 'RQ' and case.depth == 1:
        return vqp.VectorQuantize(dim=case.dim, codebook_size=case.size, decay=0.99, threshold_ema_dead_code=1)
    if case.kind == 'RQ':
        return vqp.ResidualVQ(dim=case.dim, codebook_size=case.size, num_quantizers=case.depth, shared_codebook=True,
                              decay=0.99, threshold_ema_dead_code=1)
    if case.kind == 'FSQ':
        return vqp.FSQ(levels=[5] * case.dim)
    return vqp.LFQ(dim=case.dim, codebook_size=2 ** case.dim, entropy_loss_weight=0.1, spherical=case.kind == 'BSQ')


def prepare_ours(case: Case, z: torch.Tensor) -> Callable[[], object]:
    """Return a function without arguments that runs dtbox once."""
    module = build_ours(case).to(z.device).train(case.training)
    if not case.training:
        return lambda: module.encode(z) if case.kind == 'RQ' else run_frozen(module, z)

    def step():
        out = module(z)
        (out.features.sum() + sum(out.losses.values())).backward()
        module.commit()
    return step


def prepare_theirs(case: Case, z: torch.Tensor) -> Callable[[], object]:
    """Return a function without arguments that runs the package once; its tables are updated in the forward."""
    module = build_theirs(case).to(z.device).train(case.training)
    if not case.training:
        return lambda: run_frozen(module, z)

    def step():
        output = module(z)
        losses = [t.sum() for t in output[2:] if isinstance(t, torch.Tensor) and t.is_floating_point()]
        (output[0].sum() + sum(losses)).backward()
    return step


def run_frozen(module: torch.nn.Module, z: torch.Tensor) -> object:
    """Run a forward without gradient."""
    with torch.no_grad():
        return module(z)


def prepare_cdist(case: Case, z: torch.Tensor) -> Callable[[], object]:
    """Return a function without arguments that runs the plain search of a residual quantizer."""
    table = torch.randn(case.size, case.dim).to(z.device)

    @torch.no_grad()
    def search():
        residual, codes = z.detach()[0], []
        for _ in range(case.depth):
            codes.append(torch.cdist(residual, table).argmin(1))
            residual = residual - table[codes[-1]]
        return codes
    return search


def prepare_contenders(case: Case, z: torch.Tensor, memory: float, peers: Sequence[str] = PEERS
                       ) -> tuple[dict[str, Callable], dict[str, str]]:
    """Return (contender -> function, contender -> why it is left out).

    Args:
        case: Case.
        z: [1,N,C], on the device on which all run.
        memory: bytes that a contender may need for its distance matrices.
        peers: contenders beside dtbox.
    """
    calls, left_out = {'dtbox': prepare_ours(case, z)}, {}
    copies = {'vector-quantize-pytorch': 4 if case.training else 2, 'cdist': 2}
    prepare = {'vector-quantize-pytorch': prepare_theirs, 'cdist': prepare_cdist}
    for name, function in ((name, prepare[name]) for name in peers):
        needs = copies[name] * case.dense_bytes
        if name == 'cdist' and (case.training or case.kind != 'RQ'):
            continue
        if needs > memory:
            left_out[name] = (f'would need about {needs / 2 ** 30:.1f} GB for its distance matrices, more than '
                              f'{memory / 2 ** 30:g}')
        else:
            calls[name] = function(case, z)
    return calls, left_out


def standard_cases() -> list[Case]:
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
