"""Frechet distance of pictures and reconstructions in the feature space of the teacher.

Not an rFID (`fid` is): other features, other size, no JPEG on the way. Values compare only under one teacher and one set of pictures; with fewer
pictures than features the covariances are singular and the distance is biased (small sets look closer than they are apart).
"""
import torch

from dtbox.errors import InputError
from dtbox.evaluation.base import Metric
from dtbox.evaluation.functional import frechet_distance
from dtbox.evaluation.info import MetricInfo
from dtbox.registry import METRICS


class Moments(Metric):
    """Base of Frechet distances: mean and covariance of two streams of features, in float64 sums; no features are kept."""

    def collect(self, side, features, size):
        """Add features [B, E] of `size` pictures to one side."""
        if features.ndim != 2 or len(features) != size:
            raise InputError(f'the network of {self.label} must give features [B, E] with B = {size}, got {list(features.shape)}.')
        features = features.detach().cpu().double()
        self.add(f'{side}/sum', features.sum(dim=0))
        self.add(f'{side}/outer', features.T @ features)

    def moments(self, side, n):
        """Return (mean [E], unbiased covariance [E, E]) of a side that saw `n` pictures."""
        mean = self.state[f'{side}/sum'] / n
        return mean, (self.state[f'{side}/outer'] - n * torch.outer(mean, mean)) / (n - 1)

    def enough(self):
        """Return the number of pictures; 0, with a reason, where they are too few."""
        n = self.count
        if n < 2:
            self.reasons['a Frechet distance needs at least two pictures'] = n
            return 0
        return n


@METRICS.register_module()
class FrechetDistance(Moments):
    """`frechet_teacher`: Frechet distance of the teacher's pooled outputs, not normalised.

    The teacher sees the pictures and the reconstructions clamped to [-1, 1]. Needs two pictures.
    """
    info = [MetricInfo('frechet_teacher', 'Frechet, teacher space', '', '.4g', 'lower', 'reconstruction', order=4)]
    requires = ('reconstructions', 'context.teacher')
    uses = ('teacher.pooled',)

    def update(self, batch, outputs):
        real = outputs.teacher.pooled if outputs.teacher is not None else None
        self.collect('real', self.context.teacher(outputs.images) if real is None else real, len(outputs.images))
        self.collect('fake', self.context.teacher(outputs.reconstructions.clamp(-1, 1)), len(outputs.images))

    def values(self):
        n = self.enough()
        return dict(frechet_teacher=frechet_distance(*self.moments('real', n), *self.moments('fake', n))) if n else {}
