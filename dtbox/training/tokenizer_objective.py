"""The objective of a step: one scalar to go backward from, whose gradient is that of the weighted sum of all terms.

With a discriminator the adaptive weight (VQGAN, arXiv 2012.09841, equation 7) compares two gradients at the decoder's
last weight before the sum is known. A direct implementation goes backward through the perceptual network and through
the discriminator twice: for that comparison, and for the sum. Here the terms are computed on reconstructions that are
cut off from the model, each is differentiated once there, and one pass goes on through the model with the sum of those
gradients.
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Mapping

import torch
from torch import Tensor, nn

from dtbox.errors import InputError, closest
from dtbox.losses.adversarial import AdversarialLoss
from dtbox.losses.base import widen
from dtbox.losses.criterion import Criterion, Terms
from dtbox.part_outputs import check_logits
from dtbox.structures import Batch, TokenizerOutput


@dataclass(frozen=True)
class Objective:
    """What a step minimises.

    Attributes:
        scalar: to go backward from; its gradient at the model's parameters is that of the total, its value is not.
        logs: name -> detached scalar: the terms, not weighted, and `total`.
    """
    scalar: Tensor
    logs: dict[str, Tensor]


def compute_objective(criterion: Criterion, outputs: TokenizerOutput, batch: Batch) -> Objective:
    """Return the Objective of a step without discriminator."""
    terms = criterion(outputs, batch)
    return Objective(terms.total, {**_detach(terms.raw), 'total': terms.total.detach()})


def compute_adversarial_objective(criterion: Criterion, loss: AdversarialLoss, discriminator: nn.Module,
                                  outputs: TokenizerOutput, batch: Batch, last_layer: Tensor, iteration: int,
                                  batch_weight: float) -> Objective:
    """Return the Objective of a step with discriminator.

    Args:
        criterion: the losses.
        loss: weighs the generator's term.
        discriminator: module images [B,3,H,W] -> logits; its parameters get no gradient.
        outputs: of the step, with the graph.
        batch: prepared Batch.
        last_layer: the decoder's last weight.
        iteration: counted from 0.
        batch_weight: weight of this rank's means among those of all (see `dtbox.distributed.count_samples`).
    """
    reconstructions = outputs.reconstructions
    cut = reconstructions.detach().requires_grad_()
    terms = criterion(outputs.replace(reconstructions=cut), batch)
    gradients, rest = {}, []
    for name, value in terms.weighted.items():
        requires = set(criterion.losses[terms.owners[name]].requires)
        alone = all(path in ('reconstructions', 'images') or path.startswith('teacher.') for path in requires)
        if 'reconstructions' in requires:
            gradients[name] = torch.autograd.grad(terms.raw[name], cut, retain_graph=not alone)[0]
        if not alone:
            rest.append(value)
    generator, pull = _differentiate_generator(discriminator, cut, loss, iteration)
    balance = cut.new_ones(())
    if loss.adaptive is not None:
        ends = _differentiate_last_layer(loss, gradients, pull, terms, reconstructions, last_layer)
        balance = loss.balance(*ends, batch_weight)
    factor = loss.generator_factor(iteration) * balance
    total = terms.total.detach() + factor * generator
    gradient = factor.to(pull.dtype) * pull
    for name, value in gradients.items():
        gradient = gradient + criterion.weight(terms.owners[name], name) * value
    scalar = sum(rest, torch.zeros((), device=cut.device)) + (reconstructions.float() * gradient.float()).sum()
    return Objective(scalar, {**_detach(terms.raw), 'generator': generator, 'adaptive_weight': balance, 'total': total})


def _differentiate_generator(discriminator: nn.Module, cut: Tensor, loss: AdversarialLoss,
                             iteration: int) -> tuple[Tensor, Tensor]:
    """Return the generator's term, detached, and its gradient at the reconstructions."""
    learning = [p for p in discriminator.parameters() if p.requires_grad]
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        logits = discriminator(loss.augment_images(cut, iteration))
        term = loss.generator_term(check_logits(discriminator, logits, len(cut)))
        return term.detach(), torch.autograd.grad(term, cut)[0]
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)


def _differentiate_last_layer(loss: AdversarialLoss, gradients: Mapping[str, Tensor], pull: Tensor, terms: Terms,
                              reconstructions: Tensor, last_layer: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients at the last weight: of the terms to compare with, and of the generator's term."""
    compared = loss.compared_terms()
    for name in compared:
        if name not in terms.raw:
            raise InputError(f'the adaptive weight compares with the term `{name}`, which the criterion does not have.'
                             f'{closest(name, terms.raw)} It has: {", ".join(terms.raw) or "none"}. Set `against`, or '
                             '`adaptive=None`.', 'model.gan.adversarial')
        if name not in gradients:
            raise InputError(f'the adaptive weight compares with the term `{name}`, which has no gradient at the '
                             'reconstructions (its weight is 0, or it does not read them). Set `against`, or '
                             '`adaptive=None`.', 'model.gan.adversarial')
    reference = sum(factor * gradients[name] for name, factor in compared.items())
    of_terms, of_generator = (
        torch.autograd.grad(reconstructions, last_layer, g.to(reconstructions.dtype), retain_graph=True)[0]
        for g in (reference, pull))
    return of_terms, of_generator


def _detach(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: widen(value.detach()) for name, value in values.items()}
