"""What frozen embeddings know of classes, for the sides `tokens` and `teacher`: k nearest neighbours and a linear
probe.

Both learn from the embeddings of the training images (`EvalContext.bank`) and never see a held-out label before they
have answered.
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from dtbox import distributed
from dtbox.errors import InputError, need_package
from dtbox.evaluation.base import Metric
from dtbox.evaluation.info import MetricInfo
from dtbox.evaluation.names import SIDES
from dtbox.evaluation.retrieval import collect_side_embeddings
from dtbox.registry import METRICS
from dtbox.structures import Batch, TokenizerOutput
from dtbox.values import Positive, PositiveNumber


@dataclass(frozen=True)
class Bank:
    """Embeddings of the training images.

    Attributes:
        embeddings: side -> [n,E], not normalised.
        labels: [n] int64, all at least 0.
    """
    embeddings: dict[str, Tensor]
    labels: Tensor


class Probe(Metric):
    """Base of probes: fraction of images whose class the embeddings of the bank tell, `NAME/SIDE`.

    SIDE is `tokens` or `teacher`, NAME that of its one info.
    """
    requires = ('batch.labels', 'context.bank')
    uses = ('pooled', 'teacher.pooled')
    merges = False

    @property
    def name(self) -> str:
        """Name of the value without its side."""
        return self.info[0].name

    def reset(self) -> None:
        """See Metric."""
        super().reset()
        self.rows: dict[str, list[Tensor]] = {side: [] for side in SIDES}
        self.labels: list[Tensor] = []

    def available(self, outputs: TokenizerOutput, batch: Batch) -> Literal[True] | str:
        """See Metric."""
        reason = super().available(outputs, batch)
        if reason is not True:
            return reason
        return True if bool((batch.labels >= 0).any()) else 'images without a class'

    def update(self, batch: Batch, outputs: TokenizerOutput) -> None:
        """See Metric."""
        labels, positions = batch.labels.detach().cpu(), self.classed(batch)
        self.labels.append(labels[positions])
        for side, value in collect_side_embeddings(outputs).items():
            if value is not None:
                self.rows[side].append(value.detach().float().cpu()[positions])

    def sync(self) -> None:
        """See Metric."""
        if self.synced:
            return
        super().sync()
        self.labels = [part for parts in distributed.gather_objects(self.labels) for part in parts]
        self.rows = {side: [distributed.gather_rows(_stack(rows))] for side, rows in self.rows.items()}

    def values(self) -> dict[str, float]:
        """See Metric."""
        bank = self.context.bank()
        labels = torch.cat(self.labels)
        values = {}
        for side in SIDES:
            rows = _stack(self.rows[side])
            if side in bank.embeddings and len(rows) == len(labels):
                classes = self.classify(bank.embeddings[side], bank.labels, rows)
                values[f'{self.name}/{side}'] = (classes == labels).double().mean()
        return values

    def classify(self, bank: Tensor, labels: Tensor, rows: Tensor) -> Tensor:
        """bank [n,E] with labels [n], rows [m,E] -> classes [m]."""
        raise NotImplementedError(f'{type(self).__name__} must write classify(bank, labels, rows).')


@METRICS.register_module()
class KNN(Probe):
    """`knn_top1/SIDE`: weighted k nearest neighbours by cosine (Wu et al., arXiv 1805.01978; DINO's protocol, arXiv
    2104.14294, k 20, T 0.07).

    Args:
        k: neighbours that vote.
        temperature: T of their weights exp(cosine / T).
        block: queries at a time.
        prefix: see Metric.
    """
    info = [MetricInfo('knn_top1', 'k-NN top-1', '', '.1%', 'higher', 'semantics', order=12)]

    def __init__(self, k: Positive = 20, temperature: PositiveNumber = 0.07, block: Positive = 512,
                 prefix: str = '') -> None:
        if isinstance(k, bool) or not isinstance(k, int) or k < 1 or not temperature > 0:
            raise InputError(f'`k` is {k!r} and `temperature` {temperature!r}; '
                             'expected an int >= 1 and a number above 0.', 'k')
        self.k, self.temperature = k, temperature
        self.block = block
        super().__init__(prefix)

    def classify(self, bank: Tensor, labels: Tensor, rows: Tensor) -> Tensor:
        """See Probe."""
        bank, count = F.normalize(bank.float(), dim=1), int(labels.max()) + 1
        classes = []
        for part in F.normalize(rows, dim=1).split(self.block):
            cosines, index = (part @ bank.T).topk(min(self.k, len(bank)), dim=1)
            weights = (cosines / self.temperature).exp()
            votes = torch.zeros(len(part), count).scatter_add_(1, labels[index], weights)
            classes.append(votes.argmax(1))
        return torch.cat(classes)


@METRICS.register_module()
class LinearProbe(Probe):
    """`linear_top1/SIDE`: logistic regression on the frozen embeddings (scikit-learn, L-BFGS), as CLIP measures it
    (arXiv 2103.00020, A.3).

    Args:
        c: inverse of the L2 weight; CLIP sweeps it on a validation part, 0.316 is its usual ImageNet value.
        most_iters: iterations of L-BFGS at most.
        prefix: see Metric.
    """
    info = [MetricInfo('linear_top1', 'linear probe top-1', '', '.1%', 'higher', 'semantics', order=13)]

    def __init__(self, c: PositiveNumber = 0.316, most_iters: Positive = 1000, prefix: str = '') -> None:
        self.c, self.most_iters = c, most_iters
        super().__init__(prefix)

    def available(self, outputs: TokenizerOutput, batch: Batch) -> Literal[True] | str:
        """See Metric."""
        try:
            need_package('sklearn.linear_model', 'probe', 'LinearProbe')
        except InputError as e:
            return str(e).rstrip('.')
        return super().available(outputs, batch)

    def classify(self, bank: Tensor, labels: Tensor, rows: Tensor) -> Tensor:
        """See Probe."""
        package = need_package('sklearn.linear_model', 'probe', 'LinearProbe')
        model = package.LogisticRegression(C=self.c, max_iter=self.most_iters)
        return torch.from_numpy(model.fit(bank.numpy(), labels.numpy()).predict(rows.numpy()))


def _stack(rows: list[Tensor]) -> Tensor:
    rows = [r for r in rows if len(r)]
    return torch.cat(rows) if rows else torch.zeros(0, 0)
