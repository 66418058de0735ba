"""How close the tokens come to the teacher's."""
from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from dtbox.evaluation.base import Metric
from dtbox.evaluation.context import REASONS
from dtbox.evaluation.info import MetricInfo
from dtbox.registry import METRICS
from dtbox.structures import Batch, TokenizerOutput

BLOCK = 16
"""Images whose tokens are compared at a time, in float64 on the way."""
COUNTS = dict(token_cosine='token', token_mse='token', pooled_cosine='pooled')
"""Value -> the kind of sample that it is a mean over."""


@METRICS.register_module()
class TokenCosine(Metric):
    """`token_cosine` and `token_mse` of the features of a vocabulary and the teacher's tokens, `pooled_cosine` of the
    pooled outputs.

    The cosine is a mean over tokens (over images when pooled), the error a mean over elements, in squared units of the
    teacher's features. Tokens and pooled outputs are measured each where both sides are there and of one shape.

    Args:
        vocabulary: name of the vocabulary that is trained towards the teacher.
        prefix: see Metric.
    """
    info = [MetricInfo('token_cosine', 'token cosine', '', '.4f', 'higher', 'semantics', order=5, headline=2),
            MetricInfo('token_mse', 'token squared error', '', '.4g', 'lower', 'semantics', order=6),
            MetricInfo('pooled_cosine', 'pooled cosine', '', '.4f', 'higher', 'semantics', order=7, headline=3)]

    def __init__(self, vocabulary: str = 'semantic', prefix: str = '') -> None:
        super().__init__(prefix)
        self.vocabulary = vocabulary
        self.uses = ('teacher.tokens', 'teacher.pooled', f'features.{vocabulary}', 'pooled')

    def available(self, outputs: TokenizerOutput, batch: Batch) -> Literal[True] | str:
        """See Metric."""
        return True if outputs.teacher is not None else 'no teacher to compare with'

    def update(self, batch: Batch, outputs: TokenizerOutput) -> None:
        """See Metric."""
        size = len(outputs.images)
        ours, theirs = outputs.features.get(self.vocabulary), outputs.teacher.tokens
        if self._fit('token', ours, theirs, size, f'no features of a vocabulary `{self.vocabulary}`'):
            parts = [(a.detach().float(), b.detach().float()) for a, b in zip(ours.split(BLOCK), theirs.split(BLOCK))]
            cosines = [F.cosine_similarity(a, b, dim=-1).double().mean(dim=1) for a, b in parts]
            self._score('token_cosine', torch.cat(cosines))
            self._score('token_mse', torch.cat([(a - b).square().double().mean(dim=(1, 2)) for a, b in parts]))
        ours, theirs = outputs.pooled, outputs.teacher.pooled
        if self._fit('pooled', ours, theirs, size, REASONS['pooled']):
            self._score('pooled_cosine', F.cosine_similarity(ours.float(), theirs.float(), dim=-1).double())

    def _score(self, name: str, values: Tensor) -> None:
        self.add(name, values.sum())
        self.keep(name, values)

    def _fit(self, kind: str, ours: Tensor | None, theirs: Tensor | None, size: int, reason: str) -> bool:
        """Count the images under `kind` and return True, or note the reason why the two sides cannot be compared."""
        if ours is None or theirs is None:
            absent = REASONS['teacher.tokens' if kind == 'token' else 'teacher.pooled']
            self.leave_out(reason if ours is None else absent, size)
            return False
        if ours.shape != theirs.shape:
            shapes = f'{list(ours.shape[1:])}, teacher {list(theirs.shape[1:])}'
            self.leave_out(f'{kind} shapes differ: {shapes}', size)
            return False
        self.add(kind, torch.tensor(size))
        return True

    def values(self) -> dict[str, float]:
        """See Metric."""
        return {name: self.state[name] / self.state[kind] for name, kind in COUNTS.items() if kind in self.state}
