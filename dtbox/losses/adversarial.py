"""The adversarial terms and when and how strongly they act (hinge: arXiv 1705.02894; adaptive weight: VQGAN, arXiv
2012.09841).

DualToken (arXiv 2503.14324) uses a leaky hinge: logits beyond the margin still get 1 % of the gradient. Non-saturating
terms are those of arXiv 1406.2661; StyleGAN's discriminators learn with them. LeCam regularisation: arXiv 2104.03310.
"""
from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Dict, Optional, Sequence, Tuple, Union

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dtbox import distributed
from dtbox.errors import InputError, closest
from dtbox.losses.base import widen
from dtbox.registry import AUGMENTATIONS, LOSSES
from dtbox.values import Average, Count, Factor, PositiveNumber, check_values


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


def non_saturating(real: Tensor, reconstruction: Tensor) -> Tensor:
    """0.5 * (mean softplus(-real) + mean softplus(reconstruction)), half the cross entropy of real against not real."""
    return .5 * (F.softplus(-widen(real)).mean() + F.softplus(widen(reconstruction)).mean())


def generator_term(reconstruction: Tensor) -> Tensor:
    """- mean of the logits for reconstructions."""
    return -widen(reconstruction).mean()


def non_saturating_generator_term(reconstruction: Tensor) -> Tensor:
    """Mean softplus(-logit) of the logits for reconstructions."""
    return F.softplus(-widen(reconstruction)).mean()


def lecam(real: Tensor, reconstruction: Tensor, means: Tensor) -> Tensor:
    """LeCam regularisation: mean relu(real - mean of reconstructions)^2 + mean relu(mean of real - reconstruction)^2.

    Args:
        real, reconstruction: logits of any shape for images and for reconstructions.
        means: [2], running means of the logits for images and for reconstructions.
    """
    of_real, of_reconstruction = means.detach().clone()
    return ((widen(real) - of_reconstruction).relu().square().mean()
            + (of_real - widen(reconstruction)).relu().square().mean())


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


KINDS = dict(hinge=hinge, leaky_hinge=leaky_hinge, non_saturating=non_saturating)
MEANS = 'lecam_means'
"""Buffer of a discriminator that learns with LeCam regularisation: running means of its logits for images and for
reconstructions [2]. It is part of the discriminator's state, so that a run resumes with it."""


@LOSSES.register_module()
@dataclass(frozen=True)
class AdversarialLoss:
    """How a GAN acts in training; the criterion does not sum it, the training step does. Defaults are the paper's.

    The generator's part of the total is `weight * adaptive * term(D(augment(reconstruction)))`, the discriminator's
    `discriminator_weight * term + consistency * consistency term + lecam * LeCam's term`.

    Attributes:
        kind: `leaky_hinge`, `hinge` or `non_saturating`.
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
        augment: config of what augments all that the discriminator sees, such as dict(type='DiffAug'); None: nothing.
        consistency: factor of the mean square distance between the logits of images augmented by `augment` and those of
            the same images augmented by `consistency_augment`, plus that of reconstructions (balanced consistency,
            arXiv 2002.04724; UniTok 4); 0 takes no second view.
        consistency_augment: config of the second augmentation.
        lecam: factor of LeCam regularisation (arXiv 2104.03310), of each logit as in its code; 0 keeps no means.
        lecam_decay: weight of the past in its running means.
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
    augment: Optional[Dict[str, Any]] = None
    consistency: Factor = 0.
    consistency_augment: Optional[Dict[str, Any]] = None
    lecam: Factor = 0.
    lecam_decay: Average = .999

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
        if bool(self.consistency) != (self.consistency_augment is not None):
            raise InputError(f'`consistency` is {self.consistency} and `consistency_augment` '
                             f'{self.consistency_augment!r}; expected both or neither.')
        parts = {name: AUGMENTATIONS.build(dict(cfg), where=name) if cfg is not None else None
                 for name, cfg in (('augment', self.augment), ('consistency_augment', self.consistency_augment))}
        object.__setattr__(self, '_parts', parts)

    def prepare(self, discriminator: nn.Module) -> None:
        """Give a discriminator the buffer that LeCam regularisation needs."""
        if self.lecam:
            discriminator.register_buffer(MEANS, torch.zeros(2))

    def augment_images(self, images: Tensor, iteration: int) -> Tensor:
        """Return images [B,3,H,W] as the discriminator sees them in `iteration` (from 0)."""
        part = self._parts['augment']  # type: ignore[attr-defined]
        return images if part is None else part(images, iteration - self.start)

    def make_views(self, images: Tensor, iteration: int) -> Tensor:
        """Return what the discriminator learns from: images [B,3,H,W], augmented; with `consistency` [2B,3,H,W], the
        second views after all first ones."""
        views = [self.augment_images(images, iteration)]
        second = self._parts['consistency_augment']  # type: ignore[attr-defined]
        if second is not None:
            views.append(second(images, iteration - self.start))
        return torch.cat(views) if second is not None else views[0]

    def generator_term(self, reconstruction: Tensor) -> Tensor:
        """Return what the generator minimises, of the logits for reconstructions, not weighted."""
        return (non_saturating_generator_term if self.kind == 'non_saturating' else generator_term)(reconstruction)

    def update_means(self, discriminator: nn.Module, logs: Mapping[str, Tensor], batch_weight: float = 1.0) -> None:
        """Move the running means of LeCam regularisation towards those of this step, over all ranks.

        Args:
            discriminator: has the buffer of `prepare`.
            logs: as `discriminator_terms` returns them.
            batch_weight: see `balance`.
        """
        if self.lecam:
            now = torch.stack([logs['logits_real'], logs['logits_fake']]) * batch_weight
            distributed.average_in_place(now)
            getattr(discriminator, MEANS).lerp_(now, 1 - self.lecam_decay)

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

    def discriminator_terms(self, real: Tensor, reconstruction: Tensor, iteration: int, again: Sequence[Tensor] = (),
                            means: Tensor | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """Return what the discriminator minimises, and what to log.

        Args:
            real, reconstruction: logits for images and for reconstructions, any shape.
            iteration: counted from 0.
            again: with `consistency`, the logits of the second views, of images and of reconstructions.
            means: with `lecam`, the running means [2] of the discriminator.

        Returns:
            (weighted scalar, dict with `discriminator` (not weighted), `logits_real`, `logits_fake` (means), and
            `consistency` and `lecam` (not weighted) where they have a factor).
        """
        term = KINDS[self.kind](real, reconstruction)
        logs = dict(discriminator=term, logits_real=widen(real).mean(), logits_fake=widen(reconstruction).mean())
        total = self.discriminator_factor(iteration) * term
        if self.consistency:
            logs['consistency'] = sum(F.mse_loss(widen(b), widen(a)) for a, b in zip((real, reconstruction), again))
            total = total + self.consistency * logs['consistency']
        if self.lecam and means is not None:
            logs['lecam'] = lecam(real, reconstruction, means)
            total = total + self.lecam * logs['lecam']
        return total, {k: v.detach() for k, v in logs.items()}

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
