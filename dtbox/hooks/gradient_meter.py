"""Gradients of two sides of an objective at each block of a network, without a trace of it in the task that trains.

Legend: g_R, g_S gradients of the weighted reconstruction and semantic terms at the parameters of one block, joined to
one vector.
"""
from __future__ import annotations

from typing import Any, ContextManager, Mapping, Protocol, Sequence

import numpy as np
import torch
from torch import Tensor

from dtbox import distributed
from dtbox.errors import InputError, closest

SIDES = ('reconstruction', 'semantics')
SEMANTIC = ('teacher.', 'text_pooled')
"""What a semantic term requires of the TokenizerOutput (beginnings of names)."""


class GradientProbe(Protocol):
    """What a task answers to be measured (see `Task.make_gradient_probe`)."""

    @property
    def losses(self) -> Mapping[str, Any]:
        """Name -> loss, with its `names` (of its terms, None where they are not known) and `requires`."""

    @property
    def weights(self) -> Mapping[str, Any]:
        """Name of a loss -> weight, or dict term -> weight."""

    def check(self) -> None:
        """Raise `InputError` where no gradients can be in conflict."""

    def find_blocks(self) -> list[tuple[str, list[torch.nn.Parameter]]]:
        """Return (layer, its trainable parameters), in order."""

    def compute_terms(self, batch: Any) -> Any:
        """Run a Batch up to the Terms of the criterion, with the graph."""

    def untouched(self) -> ContextManager[None]:
        """Run a block with gradient, and leave no trace of it in the task."""


class Sides:
    """Which terms belong to which side.

    Args:
        reconstruction, semantics: names of terms, or None for those whose losses require what that side reads.
    """

    def __init__(self, reconstruction: str | Sequence[str] | None = None,
                 semantics: str | Sequence[str] | None = None) -> None:
        self.named = {side: [names] if isinstance(names, str) else None if names is None else list(names)
                      for side, names in zip(SIDES, (reconstruction, semantics))}
        both = set(self.named[SIDES[0]] or ()) & set(self.named[SIDES[1]] or ())
        if both:
            raise InputError(f'the term `{sorted(both)[0]}` is named for both sides; it can be of one only.')

    def find_side(self, term: str, loss: Any) -> str | None:
        """Return the side of a term of a Loss, or None."""
        for side, names in self.named.items():
            if term in (names or ()):
                return side
        natural = find_natural_side(loss)
        return natural if natural and self.named[natural] is None else None

    def check(self, probe: GradientProbe | None) -> None:
        """Raise `InputError` where a GradientProbe cannot have both sides, or has no gradients that could be in
        conflict.

        Args:
            probe: what `Task.make_gradient_probe` returns; None is refused.
        """
        if probe is None:
            raise InputError('the task has no terms of reconstruction and semantics whose gradients could be in '
                             'conflict. Take the hook out.')
        probe.check()
        losses = probe.losses
        weights = {name: w if isinstance(w, dict) else {None: w} for name, w in probe.weights.items()}
        fixed = {term: loss for loss in losses.values() for term in loss.names or ()}
        open_ended = [loss for loss in losses.values() if loss.names is None]
        for side, names in self.named.items():
            wrong = [name for name in names or () if name not in fixed and not open_ended]
            if wrong:
                raise InputError(f'the criterion has no term `{wrong[0]}`.{closest(wrong[0], fixed)} It has: '
                                 f'{", ".join(fixed)}.', side)
            active = {name: loss for name, loss in losses.items() if any(weights[name].values())}
            if names is None and not any(find_natural_side(loss) == side for loss in active.values()):
                listing = ', '.join(f'{name} ({type(loss).__name__})' for name, loss in active.items())
                raise InputError(f'the criterion has no term of {side}, so there is nothing to compare. It has: '
                                 f'{listing or "none"}. Take a recipe with both, or name terms of {side}.', side)

    def split(self, terms: Any, losses: Mapping[str, Any]) -> dict[str, dict[str, Tensor]]:
        """Divide the criterion's Terms: dict side (or 'neither') -> dict term -> weighted scalar.

        Args:
            terms: Terms.
            losses: dict name -> Loss of the criterion.

        Raises:
            InputError: a named term is not there or has the weight 0; a side is empty.
        """
        parts = {side: {} for side in (*SIDES, 'neither')}
        for term, value in terms.weighted.items():
            parts[self.find_side(term, losses[terms.owners[term]]) or 'neither'][term] = value
        for side in SIDES:
            for name in self.named[side] or ():
                if name not in parts[side]:
                    problem = f'`{name}` has the weight 0 in the criterion.' if name in terms.raw else \
                        f'the criterion has no term `{name}`.{closest(name, terms.raw)}'
                    raise InputError(f'{problem} Terms with a weight: {", ".join(terms.weighted)}.', side)
            if not parts[side]:
                raise InputError(f'no term of {side} has a weight; terms with one: '
                                 f'{", ".join(terms.weighted) or "none"}.', side)
        return parts


def find_natural_side(loss: Any) -> str | None:
    """Return the side of a Loss by what it requires, or None."""
    if 'reconstructions' in loss.requires:
        return SIDES[0]
    return SIDES[1] if any(name.startswith(SEMANTIC) for name in loss.requires) else None


def measure(probe: GradientProbe, batch: Any, blocks: Sequence[tuple[str, list[torch.nn.Parameter]]],
            sides: Sides) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """Measure the conflict on one batch, at the weights as they are.

    Args:
        probe: GradientProbe of a task in training mode.
        batch: Batch as the data loader gives it.
        blocks: as `GradientProbe.find_blocks` returns them.
        sides: Sides.

    Returns:
        (dict of `layers`, `cosine`, `reconstruction`, `semantics`, `together`, see GradientConflict; dict side or
        'neither' -> names of terms).
    """
    parameters = list({id(p): p for _, group in blocks for p in group}.values())
    with probe.untouched():
        parts = sides.split(probe.compute_terms(batch), probe.losses)
        gradients = {}
        for side in SIDES:
            values = differentiate(sum(parts[side].values()), parameters)
            gradients[side] = dict(zip(map(id, parameters), values))
        row: dict[str, Any] = dict(layers=[name for name, _ in blocks], cosine=[], **{side: [] for side in SIDES})
        sums = torch.zeros(3, dtype=torch.float64)
        for _, group in blocks:
            r, s = (join(group, gradients[side]) for side in SIDES)
            for side, vector in zip(SIDES, (r, s)):
                row[side].append(compute_norm(vector))
            products = sums.new_zeros(3) if r is None or s is None else torch.stack([r @ s, r @ r, s @ s]).cpu()
            row['cosine'].append(compute_cosine(products))
            sums = sums if row['cosine'][-1] is None else sums + products
    return dict(row, together=compute_cosine(sums)), {side: list(values) for side, values in parts.items()}


def differentiate(total: Tensor, parameters: Sequence[Tensor]) -> Sequence[Tensor | None]:
    """Return the gradient of a scalar at each parameter, None where it does not depend on it; the graph is kept."""
    if not total.requires_grad:
        return [None] * len(parameters)
    try:
        return torch.autograd.grad(total, parameters, retain_graph=True, allow_unused=True)
    except RuntimeError as e:
        if 'use_reentrant' in str(e) or 'Checkpointing' in str(e):
            raise InputError('a part of this recipe recomputes its activations with use_reentrant=True, which allows '
                             'no gradient of single terms. Let it use use_reentrant=False, or set '
                             'recompute=False.') from e
        raise


def join(group: Sequence[Tensor], gradients: Mapping[int, Tensor | None]) -> Tensor | None:
    """Join the gradients of a block to one float64 vector, averaged over ranks; None where none of them is there."""
    if all(gradients[id(p)] is None for p in group):
        return None
    parts = [torch.zeros_like(p) if gradients[id(p)] is None else gradients[id(p)] for p in group]
    vector = torch.cat([p.detach().flatten().double() for p in parts])
    return distributed.sum_tensor(vector) / distributed.get_world_size()


def compute_norm(vector: Tensor | None) -> float | None:
    """Return the length of a vector as a float; None for None or where it is not finite."""
    length = float('nan') if vector is None else float(torch.linalg.vector_norm(vector))
    return length if np.isfinite(length) else None


def compute_cosine(products: Tensor) -> float | None:
    """Return <r,s> / (|r| |s|) of the products [<r,s>, <r,r>, <s,s>]; None where a vector is zero or not finite."""
    both, r, s = products.tolist()
    return both / (r * s) ** 0.5 if r * s > 0 and np.isfinite([both, r, s]).all() else None
