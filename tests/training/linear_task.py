"""The smallest task: a linear classifier of generated images, with its data and its metric, as a plugin brings them.

No module of dtbox knows it.
"""
from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapperDict
from torch import Tensor, nn

from dtbox.datasets.base import PairDataset
from dtbox.evaluation import Metric, MetricInfo
from dtbox.registry import DATASETS, HOOKS, METRICS, MODELS
from dtbox.structures import Batch
from dtbox.training.parallel import sync_gradients
from dtbox.training.preprocess import make_placeholder
from dtbox.training.task import Task


@dataclass(frozen=True)
class Predictions:
    """What metrics read: images [B,3,H,W], logits [B,K]."""
    images: Tensor
    logits: Tensor


@MODELS.register_module()
class LinearTask(Task):
    """A linear classifier of images.

    Args:
        classes: number of classes K.
        size: height and width of the images.
        dropout: of the pixels.
        amp: None or 'bfloat16'.
    """

    def __init__(self, classes: int, size: int, dropout: float = 0.1, amp: str | None = None) -> None:
        super().__init__(amp)
        self.size = size
        self.classifier = nn.Sequential(nn.Flatten(), nn.Dropout(dropout), nn.Linear(3 * size * size, classes))

    @property
    def parts(self) -> dict[str, nn.Module]:
        """The classifier."""
        return dict(classifier=self.classifier)

    def step(self, data: Batch, optimizers: OptimWrapperDict) -> dict[str, Tensor]:
        """Minimise the cross entropy."""
        batch, optimizer = self.prepare(data), optimizers['classifier']
        with sync_gradients(self.get_wrapped('classifier'), optimizer.should_sync()):
            with self.autocast():
                logits = self.get_wrapped('classifier')(batch.images)
            labels = torch.zeros(1, dtype=torch.int64) if batch.labels is None else batch.labels
            total = F.cross_entropy(logits.float(), labels)
            optimizer.backward(optimizer.scale_loss(self.batch_weight * total))
        self.update('classifier', optimizer)
        return dict(total=total.detach())

    def make_placeholder(self) -> Batch:
        """Return one grey image."""
        return make_placeholder((self.size, self.size))

    @torch.no_grad()
    def predict(self, batch: Batch) -> Predictions:
        """Return the logits."""
        return Predictions(batch.images, self.classifier(batch.images))


@DATASETS.register_module()
class RandomImages(PairDataset):
    """Noise around one image for each class, so that a linear classifier learns it.

    Args:
        count: number of images.
        classes: number of classes.
        size: height and width.
        split: 'train' or 'heldout'; the noise of the latter is always the same.
    """
    has_texts = False

    def __init__(self, count: int, classes: int = 4, size: int = 8, split: str = 'train', seed: int = 0) -> None:
        super().__init__(seed=seed)
        self.size, self.split = count, split
        self.classes = tuple(f'class {i}' for i in range(classes))
        self.means = np.random.default_rng(0).uniform(64, 192, (classes, 3, size, size))

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """Return a sample; its noise is drawn from `rng`."""
        label = index % len(self.classes)
        pixels = self.means[label] + rng.normal(0, 60, self.means[label].shape)
        image = torch.from_numpy(pixels.clip(0, 255).astype(np.uint8))
        return dict(image=image, label=label, key=f'{self.split}_{index}', set='heldout')


@METRICS.register_module()
class Accuracy(Metric):
    """Share of right classes."""
    info = [MetricInfo('accuracy', 'accuracy', format='.1%', direction='higher')]
    requires = ('logits', 'batch.labels')

    def update(self, batch: Batch, outputs: Predictions) -> None:
        """Count the right ones."""
        self.add('right', (outputs.logits.argmax(-1) == batch.labels).sum())

    def values(self) -> dict[str, float]:
        """Return the share."""
        return dict(accuracy=self.state['right'].item() / self.count)


@HOOKS.register_module()
class KillAt(Hook):
    """Kill this process with SIGKILL after an iteration.

    Args:
        at: the iteration.
    """

    def __init__(self, at: int) -> None:
        self.at = at

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Kill where it is time."""
        if runner.iter_done == self.at:
            os.kill(os.getpid(), signal.SIGKILL)
