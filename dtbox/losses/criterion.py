"""The one place where terms are weighed, summed and named."""
from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Dict

import torch
import torch.nn as nn
from torch import Tensor

from dtbox.errors import Diverged, InputError, at, closest
from dtbox.losses.base import Loss, need, widen
from dtbox.losses.paths import check_paths
from dtbox.part_outputs import check_scalars
from dtbox.registry import LOSSES
from dtbox.structures import Batch, TokenizerOutput


class NonFiniteLoss(Diverged):
    """A term is NaN or infinite.

    Attributes:
        terms: dict name -> value of the terms that are.
    """

    def __init__(self, terms: dict[str, float]):
        self.terms = terms
        listing = ', '.join(f'`{k}` is {v}' for k, v in terms.items())
        super().__init__(f'{listing}. A lower learning rate or gradient clipping may help; so may a look at the last '
                         'batch.')


@dataclass(frozen=True)
class Terms:
    """The terms of a step, as the criterion computes them.

    Attributes:
        total: scalar to minimise: the sum of `weighted`.
        raw: name -> scalar, not weighted; with the graph, so that single terms can be differentiated.
        weighted: name -> scalar, for the terms whose weight is not 0.
        owners: name -> name of the loss that gave it.
    """
    total: Tensor
    raw: Dict[str, Tensor] = field(default_factory=dict)
    weighted: Dict[str, Tensor] = field(default_factory=dict)
    owners: Dict[str, str] = field(default_factory=dict)


def check_finite(terms: Any) -> None:
    """Raise `NonFiniteLoss`, which names them, where terms are NaN or infinite.

    Args:
        terms: Terms (those of weight 0 are only logged and not checked), or a dict name -> scalar tensor, all checked.
    """
    if isinstance(terms, Terms):
        weighted = {f'weighted {k}': v for k, v in terms.weighted.items()}
        terms = {**{k: terms.raw[k] for k in terms.weighted}, **weighted, 'total': terms.total}
    if not terms:
        return
    values = torch.stack([v.detach().reshape(()).float() for v in terms.values()])
    if bool(values.isfinite().all()):
        return
    bad = {k: v for k, v in zip(terms, values.tolist()) if not math.isfinite(v)}
    culprits = {k: v for k, v in bad.items() if not k.startswith('weighted ') and k != 'total'}
    raise NonFiniteLoss(culprits or bad)


class Criterion(nn.Module):
    """Named losses with their weights.

    Args:
        losses: dict name -> dict(type=..., weight=..., the loss's arguments), or None for an entry that a child config
            takes out. `weight` (1 where it is missing) is a number for all terms of the loss, or a dict term -> number;
            0 means: log only.

    Attributes:
        weights: dict name -> the entry's weight.
    """

    def __init__(self, losses: Mapping[str, dict | None]):
        super().__init__()
        if not isinstance(losses, dict):
            raise InputError(f'the criterion is {losses!r}; expected a dict name -> dict(type=..., weight=...).')
        self.losses = nn.ModuleDict()
        self.weights = {}
        for name, entry in losses.items():
            if entry is not None:
                with at(name):
                    self._add(name, entry)
        if not self.weights:
            raise InputError('the criterion has no losses; expected at least one entry name -> dict(type=..., '
                             'weight=...).')
        owners = {}
        for name, loss in self.losses.items():
            with at(name):
                self._check(name, loss, owners)

    def _add(self, name, entry):
        if not isinstance(entry, dict):
            raise InputError(f'expected a dict with `type` and `weight`, got {entry!r}.')
        if not isinstance(name, str) or not name or '.' in name or hasattr(nn.ModuleDict, name):
            raise InputError(f'{name!r} cannot be the name of a loss (no string, empty, with a dot, or reserved); '
                             'choose another.')
        entry = dict(entry)
        weight = entry.pop('weight', 1.)
        for value in weight.values() if isinstance(weight, dict) else (weight,):
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
                raise InputError(f'{weight!r} is not a weight; expected a finite number, or a dict term -> '
                                 'number.', 'weight')
        loss = LOSSES.build(entry)
        if not isinstance(loss, Loss):
            raise InputError(f'`{type(loss).__name__}` is not a term of the criterion. An adversarial loss has its '
                             'own place in the config; all others derive from dtbox.losses.base.Loss.')
        self.losses[name], self.weights[name] = loss, weight

    def _check(self, name: str, loss: Loss, owners: dict[str, str]) -> None:
        check_paths(loss.requires, type(loss).__name__)
        for term in loss.names or ():
            self._claim(owners, term, name)
            self.weight(name, term)
        if loss.names is not None:
            self._no_leftover(name, loss.names)

    def _claim(self, owners, term, name):
        if 'loss' in term.lower() or term == 'total':
            raise InputError(f'the term `{term}` is called "total" or contains "loss", which MMEngine would add to '
                             'the total a second time. Rename it.')
        if term in owners:
            raise InputError(f'the term `{term}` comes from `{owners[term]}` and from `{name}`; expected one loss per '
                             'term. Take one out, or name its term otherwise.')
        owners[term] = name

    def weight(self, name: str, term: str) -> float:
        """Return the weight of a term of the loss `name`."""
        weight = self.weights[name]
        if not isinstance(weight, dict):
            return float(weight)
        if term not in weight:
            raise InputError(f'there is no weight for the term `{term}`.{closest(term, weight)} '
                             f'Given: {", ".join(map(str, weight)) or "none"}. Add it; 0 only logs it.', 'weight')
        return float(weight[term])

    def _no_leftover(self, name, terms):
        weight = self.weights[name]
        for term in weight if isinstance(weight, dict) else ():
            if term not in terms:
                raise InputError(f'`{term}` is not a term of this loss.{closest(term, terms)} It has: '
                                 f'{", ".join(terms) or "none"}.', 'weight')

    @property
    def requires(self) -> list[str]:
        """Sorted dotted names of all the TokenizerOutput fields that the losses read."""
        return sorted({path for loss in self.losses.values() for path in loss.requires})

    def bind(self, teacher: Any) -> None:
        """Hand the frozen teacher to the losses that ask it something."""
        for name, loss in self.losses.items():
            with at(name):
                loss.bind(teacher)

    def forward(self, outputs: TokenizerOutput, batch: Batch) -> Terms:
        """Compute, weigh and sum.

        Args:
            outputs: the TokenizerOutput of this batch.
            batch: the Batch.

        Returns:
            Terms.

        Raises:
            InputError: a field that a loss requires is missing; two losses give the same term; a term has no weight.
        """
        raw = {}
        weighted = {}
        owners = {}
        for name, loss in self.losses.items():
            with at(name):
                for term, value in self._evaluate(name, loss, outputs, batch).items():
                    self._claim(owners, term, name)
                    raw[term] = value
                    weight = self.weight(name, term)
                    if weight:
                        weighted[term] = weight * value
        total = sum(weighted.values()) if weighted else torch.zeros((), device=outputs.images.device)
        return Terms(total, raw, weighted, owners)

    def _evaluate(self, name, loss, outputs, batch):
        for path in loss.requires:
            need(outputs, path, type(loss).__name__)
        weight = self.weights[name]
        used = any(weight.values()) if isinstance(weight, dict) else bool(weight)
        with torch.set_grad_enabled(used and torch.is_grad_enabled()):
            terms = loss(outputs, batch)
        check_scalars(loss, terms)
        self._no_leftover(name, terms)
        return {term: widen(value.reshape(())) for term, value in terms.items()}

    @staticmethod
    def check_finite(terms: Any) -> None:
        """As the function of this module."""
        check_finite(terms)
