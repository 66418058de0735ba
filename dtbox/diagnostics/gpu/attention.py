"""Part `attention`: every backend against the written-out formula in float64 on the CPU, forward and backward.

Legend: B batch, H heads, N queries, W head width.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from dtbox.diagnostics.gpu.quantizers import measure_difference
from dtbox.diagnostics.gpu.results import Report
from dtbox.diagnostics.gpu.settings import Settings
from dtbox.diagnostics.rates import allow_tf32
from dtbox.layers.attention import eager, find_xformers_flaw
from dtbox.registry import ATTENTION

CLOSE = {torch.float32: 1e-4, torch.bfloat16: 4e-2}
"""Largest difference over the largest value. bfloat16 has 8 bits: each of a few roundings errs by 2^-9, and gradients
are differences of such numbers."""
KINDS = ('plain', 'causal', 'bias')


def check(settings: Settings, report: Report) -> None:
    """Check every registered backend in float32 and bfloat16: plain, causal, and with a bias."""
    ATTENTION.import_from_location()
    shape = settings.choose((2, 12, 256, 64), (1, 2, 24, 16))
    for name, backend in sorted(ATTENTION.module_dict.items()):
        why = find_xformers_flaw() if name == 'xformers' else None
        if why:
            report.skip(name, why)
            continue
        for dtype in [torch.float32] + [torch.bfloat16] * settings.half:
            differences = {kind: compare(backend, kind, shape, dtype, settings.device) for kind in KINDS}
            worst = max(differences, key=lambda kind: differences[kind])
            report.check(f'{name}, {str(dtype).removeprefix("torch.")}', differences[worst] <= CLOSE[dtype],
                         f'largest difference of outputs and gradients ({worst})', differences[worst])


def compare(backend: Callable[..., Tensor], kind: str, shape: tuple[int, int, int, int], dtype: torch.dtype,
            device: torch.device) -> float:
    """Return the largest relative difference of output and gradients of q, k and v."""
    generator = torch.Generator().manual_seed(0)
    q, k, v, weights = (torch.randn(shape, generator=generator).to(dtype) for _ in range(4))
    bias = torch.randn(1, 1, shape[2], shape[2], generator=generator).to(dtype) if kind == 'bias' else None
    wanted = run(eager, q.double(), k.double(), v.double(), weights.double(), kind == 'causal',
                 None if bias is None else bias.double())
    with allow_tf32(False):
        found = run(backend, q.to(device), k.to(device), v.to(device), weights.to(device), kind == 'causal',
                    None if bias is None else bias.to(device))
    return max(measure_difference(a, b) for a, b in zip(found, wanted))


def run(backend: Callable[..., Tensor], q: Tensor, k: Tensor, v: Tensor, weights: Tensor, causal: bool,
        bias: Tensor | None) -> list[Any]:
    """Return the output and the gradients of q, k, v, on the CPU; all [B,H,N,W]."""
    inputs = [t.clone().requires_grad_(True) for t in (q, k, v)]
    out = backend(*inputs, causal=causal, bias=bias)
    (out * weights).sum().backward()
    return [t.detach().cpu() for t in (out, *(t.grad for t in inputs if t.grad is not None))]
