"""Frechet distance in the space of any image tower: that of an open_clip model, or a judge's.

It is not an FID: other features. Values compare only under one tower, whose name is in that of the value.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from dtbox.evaluation.context import REASONS
from dtbox.evaluation.drawings import DRAWN, DrawingMoments
from dtbox.evaluation.info import MetricInfo
from dtbox.evaluation.towers import LazyTowers, to_levels
from dtbox.registry import METRICS
from dtbox.structures import Batch

NAME = 'frechet_tower'


@METRICS.register_module()
class TowerFrechet(DrawingMoments):
    """`frechet_tower/TOWER/LABEL`: Frechet distance of pooled outputs, not normalised, of the real images and of
    drawings (mean over sampling seeds) or reconstructions. Images are prepared as in `CLIPScore`.

    Args:
        tower: name of an open_clip model.
        weights: its checkpoint, or 'hub:TAG'. Without it the value is absent, and `skipped` says so.
        encoder: config of another tower, with its weights; `tower` then is what to call it.
        prefix: see Metric.
    """
    info = [MetricInfo('frechet_tower/{tower}/{label}', 'Frechet, {tower}', '', '.4g', 'lower', 'drawing', order=8)]
    uses = ('reconstructions', 'drawings')

    def __init__(self, tower: str = 'ViT-L-14-quickgelu', weights: str | None = None,
                 encoder: Mapping[str, Any] | None = None, prefix: str = '') -> None:
        self.tower = tower
        self.towers = LazyTowers(tower, weights, encoder)
        super().__init__(prefix)

    def check_files(self) -> None:
        """See Metric."""
        self.towers.check_files()

    def available(self, outputs: Any, batch: Batch) -> Literal[True] | str:
        """See Metric."""
        lack = self.towers.find_lack(outputs.images.device)
        if lack:
            return lack
        if hasattr(outputs, 'drawings'):
            return True if outputs.drawings else REASONS['drawings']
        return True if outputs.reconstructions is not None else REASONS['reconstructions']

    def embed(self, images: Tensor) -> Tensor:
        """See DrawingMoments."""
        return self.towers.open(images.device).embed_levels(to_levels(images))

    def name(self, label: str) -> str:
        """See DrawingMoments."""
        return f'{NAME}/{self.tower}/{label}'

    @property
    def folder_value(self) -> str:
        """See Moments."""
        return self.name(DRAWN)

    def open_features(self, device: torch.device | str = 'cpu') -> Callable[[Sequence[np.ndarray]], Tensor]:
        """See Moments."""
        return self.towers.open(device).embed_levels
