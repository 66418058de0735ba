"""The adversarial terms and when and how strongly they act (hinge: arXiv 1705.02894; adaptive weight: VQGAN, arXiv
2012.09841).

DualToken (arXiv 2503.14324) uses a leaky hinge: logits beyond the margin still get 1 % of the gradient.
"""
from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Dict, Optional, Tuple, Union

import torch
import torch.nn.functional as F
from torch import Tensor

from dtbox import distributed
from dtbox.errors import InputError, closest
from dtbox.losses.base import widen
from dtbox.registry import LOSSES
from dtbox.values import Count, Factor, PositiveNumber, check_values


def hinge(real: Tensor, reconstruction: Tensor, slope: float = 0.) -> Tensor:
    """0.5 * (mean f(1 - real) + mean f(1 + reconstruction)), f a leaky ReLU.

    Args:
        real, reconstruction: logits of any shape for images and for reconstructions.
        slope: of f below zero; 0 is the plain hinge.
    """
    real, reconstruction = widen(real), widen(reconstruction)
    return .5 * (F.leaky_relu(1 - real, slope).mean() + F.leaky_relu(1 + reconstruction, slope).mean())


def leaky_hinge(real: Tensor, reconstruction: Tensor) -> Tensor:
    """Hinge with slope 0.01."""
    return hinge(real, reconstruction, slope=.01)


def generator_term(reconstruction: Tensor) -> Tensor:
    """- mean of the logits for reconstructions."""
    return -widen(reconstruction).mean()


def adaptive_weight(nll_grad: Tensor, gen_grad: Tensor, low: float = .3, high: float = 10.,
                    eps: float = 1e-4) -> Tensor:
    """clamp(|nll_grad| / (|gen_grad| + eps), low, high), detached.

    Args:
        nll_grad: gradient of the reconstruction terms at the decoder's last weight.
        gen_grad: gradient of the generator term there, of the same shape.
        low, high: bounds.
        eps: keeps the denominator from 0.
    """
    nll, gen = (torch.linalg.vector_norm(widen(g.detach())) for g in (nll_grad, gen_grad))
    return (nll / (gen + eps)).clamp(low, high)


KINDS = dict(hinge=hinge, leaky_hinge=leaky_hinge)


@LOSSES.register_module()
@dataclass(frozen=True)
class AdversarialLoss:
    """How a GAN acts in training; the criterion does not sum it, the training step does. Defaults are the paper's.

    The generator's part of the total is `weight * adaptive * generator_term(D(reconstruction))`.

    Attributes:
        kind: `leaky_hinge` or `hinge`.
        weight: factor of the generator's term.
        start: first iteration, counted from 0, in which the discriminator exists for either side.
        adaptive: bounds (low, high) of the adaptive weight, or None for a constant 1.
        against: criterion terms whose sum the adaptive weight compares with: names, which count 1 each whatever their
            weights in the criterion are, or a dict name -> factor.
        discriminator_weight: factor of the discriminator's own term.
        later: None, or (iteration, factor): the discriminator's factor from that iteration on.
        ramp: iterations from `start` on in which the generator's factor rises from 0 to `weight`, in equal steps
            (UniTok, arXiv 2502.20321); 0 sets it at once.
        per_rank: compare the gradients of each rank by themselves (the published DualToken); otherwise their means over
            all ranks, so that the weight is that of one rank with the global batch.
        eps: added to the generator's norm in the adaptive weight (VQGAN and DualToken 1e-4, UniTok 1e-6).
    """
    kind: str = 'leaky_hinge'
    weight: Factor = .75
    start: Count = 0
    adaptive: Optional[Tuple[float, float]] = (.3, 10.)
    against: Union[str, Tuple[str, ...], Dict[str, float]] = ('l2', 'lpips')
    discriminator_weight: Factor = 1.
    later: Optional[Tuple[Count, Factor]] = None
    ramp: Count = 0
    per_rank: bool = False
    eps: PositiveNumber = 1e-4

    def __post_init__(self):
        check_values(AdversarialLoss, vars(self))
        if self.kind not in KINDS:
            raise InputError(f'`kind` is {self.kind!r}.{closest(self.kind, KINDS)} Expected one of: '
                             f'{", ".join(KINDS)}.')
        if self.adaptive is not None and not (len(self.adaptive) == 2 and 0 <= self.adaptive[0] <= self.adaptive[1]):
            raise InputError(f'`adaptive` is {self.adaptive!r}; expected the bounds (low, high) with 0 <= low <= '
                             'high, or None.')
        if isinstance(self.against, str):
            object.__setattr__(self, 'against', (self.against,))
        if not all(map(math.isfinite, self.compared_terms().values())):
            raise InputError(f'`against` is {self.against!r}; expected names of terms, or a dict name -> number.')

    def compared_terms(self) -> dict[str, float]:
        """Return the terms that the adaptive weight compares with, and their factors."""
        return dict(self.against) if isinstance(self.against, Mapping) else dict.fromkeys(self.against, 1.0)

    def active(self, iteration: int) -> bool:
        """Whether the discriminator takes part in `iteration` (from 0)."""
        return iteration >= self.start

    def discriminator_factor(self, iteration: int) -> float:
        """Return the factor of the discriminator's term in `iteration`."""
        return self.later[1] if self.later and iteration >= self.later[0] else self.discriminator_weight

    def generator_factor(self, iteration: int) -> float:
        """Return the factor of the generator's term in `iteration`."""
        return self.weight * (min(1.0, (iteration - self.start + 1) / self.ramp) if self.ramp else 1.0)

    def discriminator_terms(self, real: Tensor, reconstruction: Tensor, iteration: int) -> tuple[Tensor,
                                                                                                 dict[str, Tensor]]:
        """Return what the discriminator minimises, and what to log.

        Args:
            real, reconstruction: logits for images and for reconstructions, any shape.
            iteration: counted from 0.

        Returns:
            (weighted scalar, dict with `discriminator` (not weighted), `logits_real`, `logits_fake` (means)).
        """
        term = KINDS[self.kind](real, reconstruction)
        logs = dict(discriminator=term, logits_real=widen(real).mean(), logits_fake=widen(reconstruction).mean())
        return self.discriminator_factor(iteration) * term, {k: v.detach() for k, v in logs.items()}

    def balance(self, nll: Tensor, generator: Tensor, batch_weight: float = 1.0) -> Tensor:
        """Return the adaptive weight, a detached scalar (see `adaptive_weight`).

        Args:
            nll: gradient of the sum of the terms `against` at the decoder's last weight.
            generator: gradient of the generator's term there, of the same shape.
            batch_weight: weight of the gradients of this rank among all ranks (samples * ranks / samples of all ranks).
        """
        if not self.per_rank and distributed.get_world_size() > 1:
            both = torch.stack([widen(nll), widen(generator)]) * batch_weight
            distributed.average_in_place(both)
            nll, generator = both.unbind(0)
        assert self.adaptive is not None  # asked for where there are bounds
        return adaptive_weight(nll, generator, *self.adaptive, eps=self.eps)
