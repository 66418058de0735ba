"""Distillation of a frozen teacher's tokens and pooled output (DualToken, arXiv 2503.14324): mean squared error - mean
cosine."""
from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from dtbox.losses.base import Loss
from dtbox.registry import LOSSES
from dtbox.structures import Batch, TokenizerOutput
from dtbox.values import Factor

EPS = 1e-8
"""Floor of the norms under the cosine."""


def distillation(student: Tensor, teacher: Tensor, mse: Factor = 1., cosine: Factor = 1.) -> Tensor:
    """mse * mean((s - t)^2) - cosine * mean(cos(s, t)); cosine along the last axis.

    Args:
        student, teacher: [..., D]; no gradient reaches the teacher.
        mse, cosine: factors of the two parts.
    """
    teacher = teacher.detach()
    value = student.new_zeros(())
    if mse:
        value = value + mse * F.mse_loss(student, teacher)
    if cosine:
        value = value - cosine * F.cosine_similarity(student, teacher, dim=-1, eps=EPS).mean()
    return value


@LOSSES.register_module()
class SemanticLoss(Loss):
    """Features of a vocabulary against the teacher's tokens, both [B,N,D] and raw.

    Args:
        vocabulary: whose features.
        mse: factor of the mean squared error; 0 leaves the cosine alone (the paper's stage 2).
        cosine: factor of the mean cosine, which is subtracted.
        name: name of the term.
    """

    def __init__(self, vocabulary: str = 'semantic', mse: Factor = 1., cosine: Factor = 1.,
                 name: str = 'semantic_tokens'):
        super().__init__()
        self.mse, self.cosine = mse, cosine
        self.requires = (f'features.{vocabulary}', 'teacher.tokens')
        self.name, self.names = name, (name,)

    def terms(self, outputs: TokenizerOutput, batch: Batch) -> dict[str, Tensor]:
        """See Loss."""
        features, tokens = self.requires
        return {self.name: distillation(*self.read_pair(outputs, features, tokens), self.mse, self.cosine)}


@LOSSES.register_module()
class PooledLoss(Loss):
    """Pooled output of the head against the teacher's (term `semantic_pooled`), both [B,E] and not normalised.

    Args:
        mse: factor of the mean squared error.
        cosine: factor of the mean cosine, which is subtracted.
    """
    requires = ('pooled', 'teacher.pooled')
    names = ('semantic_pooled',)

    def __init__(self, mse: float = 1., cosine: float = 1.):
        super().__init__()
        self.mse, self.cosine = mse, cosine

    def terms(self, outputs: TokenizerOutput, batch: Batch) -> dict[str, Tensor]:
        """See Loss."""
        return {'semantic_pooled': distillation(*self.read_pair(outputs, *self.requires), self.mse, self.cosine)}
