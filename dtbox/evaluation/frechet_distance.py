"""Frechet distance of images and reconstructions in the feature space of the teacher.

It is not an rFID (`fid` is): other features, other size, no JPEG on the way. Values compare only under one teacher and
one set of images. With fewer images than features the covariances are singular and the distance is biased: small sets
look farther apart than they are, which the results note.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from dtbox.counts import format_count
from dtbox.errors import InputError
from dtbox.evaluation.base import Metric
from dtbox.evaluation.functional import frechet_distance
from dtbox.evaluation.info import MetricInfo
from dtbox.registry import METRICS
from dtbox.structures import Batch, TokenizerOutput

SOURCE, RECONSTRUCTION = 'source', 'reconstruction'


class Moments(Metric):
    """Base of Frechet distances: mean and covariance of two streams of features, in float64 sums; no features are
    kept."""

    def collect(self, stream: str, features: Tensor, size: int) -> None:
        """Add features [B,E] of `size` images to one stream."""
        if features.ndim != 2 or len(features) != size:
            raise InputError(f'the network of {self.label} must give features [B, E] with B = {size}, '
                             f'got {list(features.shape)}.')
        features = features.detach().cpu().double()
        self.add(f'{stream}/sum', features.sum(dim=0))
        self.add(f'{stream}/outer', features.T @ features)

    def open_features(self, device: torch.device | str = 'cpu') -> Callable[[Sequence[np.ndarray]], Tensor]:
        """Return what `compare_folders` measures images of files with: B images uint8 [H,W,3] of any sizes -> features
        [B,E], in any order.

        Raises:
            InputError: a network that cannot be opened, or a metric of a model's outputs alone.
        """
        raise InputError(f'{self.label} reads the outputs of a model, not files. Frechet distances of folders: FID, '
                         'TowerFrechet.')

    @property
    def folder_value(self) -> str:
        """Name of the value of `compare_folders`."""
        raise NotImplementedError(f'{type(self).__name__} does not compare folders.')

    def moments(self, stream: str, n: int) -> tuple[Tensor, Tensor]:
        """Return (mean [E], unbiased covariance [E,E]) of a stream that saw `n` images."""
        mean = self.state[f'{stream}/sum'] / n
        return mean, (self.state[f'{stream}/outer'] - n * torch.outer(mean, mean)) / (n - 1)

    def enough(self, stream: str = RECONSTRUCTION) -> int:
        """Return the number of images; 0, with a reason, where they are too few; a note where they are fewer than the
        features of a stream."""
        if self.count < 2:
            self.reasons['a Frechet distance needs at least two images'] = self.count
            return 0
        width = len(self.state[f'{stream}/sum'])
        if self.count < width:
            self.reasons[f'fewer images than the {format_count(width, "feature")} of the network: the distance is '
                         'biased, and larger than that of more images'] = self.count
        return self.count


@METRICS.register_module()
class FrechetDistance(Moments):
    """`frechet_teacher`: Frechet distance of the teacher's pooled outputs, not normalised.

    The teacher sees the images and the reconstructions clamped to [-1, 1]. Needs two images.
    """
    info = [MetricInfo('frechet_teacher', 'Frechet, teacher space', '', '.4g', 'lower', 'reconstruction', order=4)]
    requires = ('reconstructions', 'context.teacher')
    uses = ('teacher.pooled',)

    def update(self, batch: Batch, outputs: TokenizerOutput) -> None:
        """See Metric."""
        source = outputs.teacher.pooled if outputs.teacher is not None else None
        source = self.context.teacher(outputs.images) if source is None else source
        self.collect(SOURCE, source, len(outputs.images))
        self.collect(RECONSTRUCTION, self.context.teacher(outputs.reconstructions.clamp(-1, 1)), len(outputs.images))

    def values(self) -> dict[str, float]:
        """See Metric."""
        n = self.enough()
        if not n:
            return {}
        return dict(frechet_teacher=frechet_distance(*self.moments(SOURCE, n), *self.moments(RECONSTRUCTION, n)))
