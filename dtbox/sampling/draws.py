"""One draw for each row, with the row's own generator, so that it does not depend on the rows beside it.

Legend: R rows, K ids.
"""
from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from dtbox.errors import InputError
from dtbox.sampling.filters import filter_logits
from dtbox.sampling.rule import Choice


def draw_uniforms(generators: Sequence[torch.Generator], count: int, device: torch.device | str = 'cpu') -> Tensor:
    """Draw `count` numbers in [0, 1) for each row, float64 [R, count], R generators."""
    if not generators:
        return torch.zeros(0, count, dtype=torch.float64, device=device)
    rows = [torch.rand(count, generator=generator, dtype=torch.float64, device=generator.device)
            for generator in generators]
    return torch.stack(rows).to(device)


def draw(logits: Tensor, choice: Choice, uniforms: Tensor) -> Tensor:
    """Draw one id for each row by the inverse of the cumulative distribution.

    Args:
        logits: [R,K], of any float type; minus infinity where an id must not come.
        choice: temperature, top-k and top-p.
        uniforms: [R] float64 in [0, 1).

    Returns:
        ids [R] int64.

    Raises:
        InputError: the numbers of rows differ.
    """
    if logits.ndim != 2 or uniforms.shape != logits.shape[:1]:
        raise InputError(f'logits are {list(logits.shape)} and uniforms {list(uniforms.shape)}; expected [R, K] and '
                         '[R], a number for each row.')
    if choice.greedy:
        return logits.argmax(-1)
    bounds = filter_logits(logits, choice).softmax(-1).double().cumsum(-1)
    # the first id whose bound lies above the point: one of probability 0 has the bound of the id before it
    point = uniforms[:, None] * bounds[:, -1:]
    return torch.searchsorted(bounds, point, right=True)[:, 0].clamp_(max=logits.shape[-1] - 1)


def seed_generator(*parts: object) -> torch.Generator:
    """Return the generator of one row, which depends on what names the row (its seed, its prompt, ...) alone."""
    digest = hashlib.sha256(' '.join(map(str, parts)).encode('utf-8', 'surrogatepass')).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], 'big', signed=True))
