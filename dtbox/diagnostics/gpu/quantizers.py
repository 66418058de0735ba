"""Part `quantizers`: codes, features, gradients and updates of every registered quantizer against those of the CPU."""
from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from dtbox.diagnostics.gpu.results import Report
from dtbox.diagnostics.gpu.settings import Settings
from dtbox.diagnostics.rates import allow_tf32
from dtbox.registry import QUANTIZERS

CLOSE = 2e-4
"""Of gradients and features, relative to the largest: float32 sums of some hundred terms, and functions of them."""


def list_quantizers() -> dict[str, dict[str, Any]]:
    """Return name -> config of the small example of every quantizer that is registered."""
    QUANTIZERS.import_from_location()
    return {name: dict(type=name, **part.example) for name, part in sorted(QUANTIZERS.module_dict.items())
            if getattr(part, 'example', None) is not None}


def check(settings: Settings, report: Report) -> None:
    """Check every quantizer by itself: one that fails keeps none of the others from being checked."""
    with allow_tf32(False):
        for name, cfg in list_quantizers().items():
            try:
                detail, difference = compare(cfg, settings.device)
            except (RuntimeError, ValueError, AssertionError) as e:
                if 'CUDA error' in str(e):
                    raise
                report.check(name, False, f'{type(e).__name__}: {" ".join(str(e).split())[:200]}')
                continue
            report.check(name, not detail and difference <= CLOSE, detail or 'codes equal, largest difference beside',
                         difference)


def compare(cfg: dict[str, Any], device: torch.device) -> tuple[str, float]:
    """Run a quantizer on the CPU and on a device; return (what is wrong, or ''; the largest relative difference of
    features and gradients)."""
    torch.manual_seed(1)
    ours = QUANTIZERS.build(copy.deepcopy(cfg)).train()
    layout = ours.needs_layout
    if layout:
        ours.set_layout(layout)
    z = torch.randn(4, layout.tokens if layout else 25, ours.input_dim, generator=torch.Generator().manual_seed(2))
    if is_random(ours, z):
        ours.eval()
    theirs = copy.deepcopy(ours).to(device)
    wanted, found = run(ours, z), run(theirs, z.to(device))
    if ours.codebook_sizes and not torch.equal(wanted.pop('codes'), found.pop('codes')):
        return 'other codes', 0.0
    if wanted.keys() != found.keys():
        return f'gradients of {sorted(wanted.keys() ^ found.keys())} on one device alone', 0.0
    difference = max(measure_difference(found[key], wanted[key]) for key in wanted)
    for quantizer in (ours, theirs):
        quantizer.commit()
    if not all(value.isfinite().all() for value in theirs.state_dict().values() if value.is_floating_point()):
        return 'the update leaves values that are not finite', difference
    return '', difference


def is_random(quantizer: nn.Module, z: Tensor) -> bool:
    """Whether a training forward draws random numbers, which differ by device."""
    features = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        with torch.no_grad():
            features.append(copy.deepcopy(quantizer)(z).features)
    return not torch.equal(*features)


def run(quantizer: Any, z: Tensor) -> dict[str, Tensor]:
    """Return codes, features and gradients of one forward and backward pass, on the CPU."""
    z = z.clone().requires_grad_(True)
    out = quantizer(z)
    loss = (out.features - z[..., :out.features.shape[-1]]).pow(2).mean() + sum(out.losses.values())
    if loss.requires_grad:
        (loss + (out.features * torch.linspace(-1, 1, out.features.shape[-1], device=z.device)).mean()).backward()
    got = dict(features=out.features.detach(), loss=loss.detach())
    if quantizer.codebook_sizes:
        got['codes'] = quantizer.encode(z.detach())
        if not torch.equal(got['codes'], out.codes):
            raise AssertionError('`forward` and `encode` give other codes')
    if z.grad is not None:
        got['gradient of z'] = z.grad
    got.update({f'gradient of {name}': p.grad for name, p in quantizer.named_parameters() if p.grad is not None})
    return {name: value.detach().cpu() for name, value in got.items()}


def measure_difference(a: Tensor, b: Tensor) -> float:
    """Return the largest difference of two tensors over the largest value of the second; infinite for other shapes or
    values that are not finite."""
    if a.shape != b.shape or not a.isfinite().all():
        return float('inf')
    if not a.numel():
        return 0.0
    return float((a.double() - b.double()).abs().max() / b.double().abs().max().clamp_min(1e-4))
