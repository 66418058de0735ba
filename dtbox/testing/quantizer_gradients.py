"""Quantizers: checks of the gradient.

Legend: B batch, N tokens, C code width.
"""
from __future__ import annotations

from typing import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from dtbox.counts import format_count
from dtbox.layers.estimators import StraightThrough
from dtbox.quantizers.base import Quantizer
from dtbox.testing.quantizer_subject import QuantizerSubject, compute_objective
from dtbox.testing.subject import (
    DoesNotApply,
    copy_state,
    list_idle_parameters,
    require,
    require_gradient,
    require_same,
    require_state,
)


def gradient_reaches_input(subject: QuantizerSubject) -> None:
    """The features alone carry a finite gradient to z, and not just zeros."""
    quantizer, z = subject.trained(), subject.z().requires_grad_(True)
    features = quantizer(z).features
    require(features.requires_grad, 'no gradient can pass through the features.')
    (features * torch.randn_like(features)).sum().backward()
    require_gradient(z.grad, 'z')
    quantizer.discard()


def straight_through(subject: QuantizerSubject) -> None:
    """With straight-through gradients, those of the features are the numerical ones of `smooth(z)`: what there is
    before the rounding."""
    quantizer = subject.trained()
    estimator, smooth = getattr(quantizer, 'estimator', None), quantizer.smooth
    if smooth is None or estimator is not None and not isinstance(estimator, StraightThrough):
        raise DoesNotApply('the gradient is not a straight-through one (`smooth` is None, or the estimator '
                           f'{type(estimator).__name__}).')
    z = subject.z(2, 3, scale=0.5).requires_grad_(True)
    weights = torch.randn(z.shape, generator=torch.Generator().manual_seed(0))
    (quantizer(z).features * weights).sum().backward()
    quantizer.discard()
    want = compute_numerical_gradient(lambda x: smooth(x).double().mul(weights).sum(), z.detach())
    tolerance = 2e-3 * max(1.0, want.abs().max().item())
    require_same(z.grad, want, 'gradient of the features and numerical gradient of the smooth path', tolerance)


def compute_numerical_gradient(f: Callable[[Tensor], Tensor], z: Tensor, step: float = 0.03) -> Tensor:
    """Return the gradient of a scalar function of z by the central five-point rule (error of order step^4; float32 is
    enough)."""
    gradient = torch.zeros_like(z)
    with torch.no_grad():
        for i in range(z.numel()):
            shift = torch.zeros_like(z)
            shift.view(-1)[i] = step
            near, far = f(z + shift) - f(z - shift), f(z + 2 * shift) - f(z - 2 * shift)
            gradient.view(-1)[i] = (8 * near - far) / (12 * step)
    return gradient


def parameters_get_gradient(subject: QuantizerSubject) -> None:
    """Every trainable parameter gets a finite gradient from features and losses."""
    quantizer = subject.build()
    if not any(p.requires_grad for p in quantizer.parameters()):
        raise DoesNotApply('the quantizer has no trainable parameters.')
    z = subject.z(16, 16)
    out = quantizer(z)
    require(compute_objective(out, z).requires_grad, 'features and losses carry no gradient to the parameters.')
    compute_objective(out, z).backward()
    idle = list_idle_parameters(quantizer)
    require(not idle, f'no gradient, zeros, or NaN at {", ".join(idle)}.')
    quantizer.discard()


def encode_builds_no_graph(subject: QuantizerSubject) -> None:
    """`encode` keeps nothing for a backward pass."""
    quantizer = subject.build()
    z = subject.z().requires_grad_(True)
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(1), lambda t: t):
        quantizer.encode(z)
    require(not saved, f'encode saves {format_count(len(saved), "tensor")} for a backward pass; it should run under '
                       '`torch.no_grad()`.')


def checkpointing(subject: QuantizerSubject) -> None:
    """A forward that activation checkpointing runs twice counts once: gradients, and the state after `commit`, are
    those of one run."""
    subject.collects_only()

    def run(wrapper: Callable) -> tuple[Quantizer, list[Tensor]]:
        quantizer, z = subject.build(), subject.z().requires_grad_(True)

        def loss(x: Tensor) -> Tensor:
            return compute_objective(quantizer(x), x)
        torch.manual_seed(0)
        wrapper(loss, z).backward()
        grads = [z.grad, *(p.grad for p in quantizer.parameters() if p.grad is not None)]
        quantizer.commit()
        return quantizer, grads
    want, gradients = run(lambda f, z: f(z))
    for reentrant in (False, True):
        again, others = run(lambda f, z: checkpoint(f, z, use_reentrant=reentrant))
        what = f'with use_reentrant={reentrant}'
        require(len(others) == len(gradients), f'{what}, {len(others)} of {format_count(len(gradients), "gradient")} '
                                               'arrive.')
        for a, b in zip(others, gradients):
            require_same(a, b, f'gradients {what}', 1e-6)
        require_state(again, copy_state(want), f'commit {what}')
