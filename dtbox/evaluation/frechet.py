"""Frechet distance of pictures and reconstructions in the feature space of the teacher.

Not an rFID: other features, other size, no JPEG on the way. Values compare only under one teacher and one set of pictures; with fewer
pictures than features the covariances are singular and the distance is biased (small sets look closer than they are apart).
"""
import torch

from dtbox.errors import InputError
from dtbox.evaluation.base import Metric
from dtbox.evaluation.functional import frechet_distance
from dtbox.registry import METRICS


@METRICS.register_module()
class FrechetDistance(Metric):
    """`frechet_teacher`: Frechet distance of the teacher's pooled outputs, not normalised.

    The teacher sees the pictures and the reconstructions clamped to [-1, 1]. Needs two pictures.
    """
    requires = ('reconstructions', 'context.teacher')
    uses = ('teacher.pooled',)

    def update(self, batch, outputs):
        real = outputs.teacher.pooled if outputs.teacher is not None else None
        self._collect('real', self.context.teacher(outputs.images) if real is None else real, len(outputs.images))
        self._collect('fake', self.context.teacher(outputs.reconstructions.clamp(-1, 1)), len(outputs.images))

    def _collect(self, side, features, size):
        if features.ndim != 2 or len(features) != size:
            raise InputError(f'the teacher must give pooled features [B, E] with B = {size}, got {list(features.shape)}.')
        features = features.detach().cpu().double()
        self.add(f'{side}/sum', features.sum(dim=0))
        self.add(f'{side}/outer', features.T @ features)

    def values(self):
        n = self.state['pictures'].item()
        if n < 2:
            self.reasons['a Frechet distance needs at least two pictures'] = int(n)
            return {}
        return dict(frechet_teacher=frechet_distance(*self._moments('real', n), *self._moments('fake', n)))

    def _moments(self, side, n):
        mean = self.state[f'{side}/sum'] / n
        return mean, (self.state[f'{side}/outer'] - n * torch.outer(mean, mean)) / (n - 1)
