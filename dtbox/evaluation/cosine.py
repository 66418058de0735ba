"""How close the tokens come to the teacher's."""
import torch
import torch.nn.functional as F

from dtbox.evaluation.base import REASONS, Metric
from dtbox.evaluation.info import MetricInfo
from dtbox.registry import METRICS

BLOCK = 16
"""Pictures whose tokens are compared at a time, in float64 on the way."""


@METRICS.register_module()
class TokenCosine(Metric):
    """`token_cosine` and `token_mse` of the features of a vocabulary and the teacher's tokens, `pooled_cosine` of the pooled outputs.

    The cosine is a mean over tokens (over pictures when pooled), the error a mean over elements, in squared units of the teacher's
    features. Tokens and pooled outputs are measured each where both sides are there and of one shape.

    Args:
        vocabulary: name of the vocabulary that is trained towards the teacher.
        prefix: see Metric.
    """

    info = [MetricInfo('token_cosine', 'token cosine', '', '.4f', 'higher', 'semantics', order=5, headline=2),
            MetricInfo('token_mse', 'token squared error', '', '.4g', 'lower', 'semantics', order=6),
            MetricInfo('pooled_cosine', 'pooled cosine', '', '.4f', 'higher', 'semantics', order=7, headline=3)]

    def __init__(self, vocabulary='semantic', prefix=''):
        super().__init__(prefix)
        self.vocabulary = vocabulary
        self.uses = ('teacher.tokens', 'teacher.pooled', f'features.{vocabulary}', 'pooled')

    def available(self, outputs, batch):
        return True if outputs.teacher is not None else 'no teacher to compare with'

    def update(self, batch, outputs):
        size = len(outputs.images)
        ours, theirs = outputs.features.get(self.vocabulary), outputs.teacher.tokens
        if self._fit('token', ours, theirs, size, f'no features of a vocabulary `{self.vocabulary}`'):
            parts = [(a.detach().float(), b.detach().float()) for a, b in zip(ours.split(BLOCK), theirs.split(BLOCK))]
            self._score('token_cosine', torch.cat([F.cosine_similarity(a, b, dim=-1).double().mean(dim=1) for a, b in parts]))
            self._score('token_mse', torch.cat([(a - b).square().double().mean(dim=(1, 2)) for a, b in parts]))
        ours, theirs = outputs.pooled, outputs.teacher.pooled
        if self._fit('pooled', ours, theirs, size, REASONS['pooled']):
            self._score('pooled_cosine', F.cosine_similarity(ours.float(), theirs.float(), dim=-1).double())

    def _score(self, name, values):
        self.add(name, values.sum())
        self.keep(name, values)

    def _fit(self, kind, ours, theirs, size, reason):
        """Count the pictures under `kind` and return True, or note the reason why the two sides cannot be compared."""
        if ours is None or theirs is None:
            self.leave_out(reason if ours is None else REASONS['teacher.tokens' if kind == 'token' else 'teacher.pooled'], size)
            return False
        if ours.shape != theirs.shape:
            self.leave_out(f'{kind} shapes differ: {list(ours.shape[1:])}, teacher {list(theirs.shape[1:])}', size)
            return False
        self.add(kind, torch.tensor(size))
        return True

    def values(self):
        kinds = dict(token_cosine='token', token_mse='token', pooled_cosine='pooled')
        return {name: self.state[name] / self.state[kind] for name, kind in kinds.items() if kind in self.state}
