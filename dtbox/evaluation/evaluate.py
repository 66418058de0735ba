"""SetEvaluator: one pass over a dataloader that carries every held-out set, one column of scores for each.

It knows batches and outputs only; whoever runs the model calls `setup` once a pass, `update` for every batch and
`results` at the end.
"""
from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.logging import print_log

from dtbox import distributed
from dtbox.counts import format_count
from dtbox.errors import InputError, at
from dtbox.evaluation import samples
from dtbox.evaluation.base import EvalContext, Metric
from dtbox.evaluation.info import Infos
from dtbox.evaluation.names import ALL
from dtbox.evaluation.results import RESERVED, Results
from dtbox.evaluation.stamps import hash_settings
from dtbox.registry import METRICS
from dtbox.structures import Batch, TokenizerOutput, take


class SetEvaluator:
    """Keep a copy of each metric for each set, and make the column `all` by merging them.

    Args:
        metrics: configs of METRICS or Metric objects: a list, or a dict by name, in which None removes one.
        unnamed: set of samples whose batch names none.
        where: the key of the config that `metrics` stands under, for messages.

    Attributes:
        hash: of the metrics and their settings (see `dtbox.evaluation.stamps`).
        reads: dotted names of everything that the metrics require or use (see Metric); the rest need not be computed.
        columns: set -> list of metrics, after `results` with `all` among them; for plots, see `find`.

    Raises:
        InputError: something else than a Metric, one without `info`, one whose settings name a file that does not
            exist, or two that would use the same names.
    """

    def __init__(self, metrics: Sequence | dict, unnamed: str = 'heldout', where: str = 'metrics'):
        metrics = list_metrics(metrics, where)
        self.prototypes = [METRICS.build(metric, where=where) for where, metric in metrics]
        infos = []
        for i, (metric, (where, _)) in enumerate(zip(self.prototypes, metrics)):
            if not isinstance(metric, Metric):
                raise InputError(f'`{type(metric).__name__}` is not a dtbox Metric: it cannot be kept per set.', where)
            if metric.label in [m.label for m in self.prototypes[:i]]:
                raise InputError(f'{metric.label} is there twice and both would use the same names. '
                                 'Give one a `prefix`.', where)
            with at(where):
                metric.check_files()
                infos += metric.infos()
        self.unnamed, self._infos = _checked(unnamed), Infos(infos)
        self.hash = hash_settings([metric for _, metric in metrics])
        self.reads = frozenset(name for m in self.prototypes for name in (*m.requires, *m.uses))
        self.reset()

    def reset(self) -> None:
        """Forget what was seen, keep the context."""
        self.columns: dict[str, list[Metric]] = {}
        self.keys: dict[str, list[str | None]] = {}
        self.lost: list[str] = []
        self._results: Results | None = None

    def setup(self, context: EvalContext) -> None:
        """Start a pass: hand the EvalContext to every metric and forget the pass before."""
        self.reset()
        for metric in self.prototypes:
            metric.setup(context)

    def update(self, batch: Batch, outputs: TokenizerOutput) -> None:
        """Add a batch.

        Args:
            batch: Batch of B samples; `sets` names the set of each.
            outputs: its TokenizerOutput.

        Raises:
            InputError: when the two do not have the same number of samples, or a set has a reserved name.
        """
        size = len(outputs.images)
        if len(batch) != size or (batch.sets is not None and len(batch.sets) != size):
            raise InputError(f'a batch of {format_count(len(batch), "sample")} with {len(batch.sets or [])} set names '
                             f'cannot go with outputs for {format_count(size, "image")}.')
        if self._results is not None:
            raise RuntimeError('the results of this pass are out: call setup() or reset() before the next one.')
        members = {}
        for i, name in enumerate(batch.sets or [self.unnamed] * size):
            members.setdefault(name, []).append(i)
        for name, index in members.items():
            index = torch.tensor(index)
            whole = len(index) == size
            part, own = (batch, outputs) if whole else (take(batch, index, size), take(outputs, index, size))
            for metric in self._column(name):
                metric.process(part, own)
            self.keys.setdefault(name, []).extend(part.keys or [None] * len(index))

    def lose(self, sentences: Iterable[str]) -> None:
        """Note samples that could not be read: sentences that name them."""
        self.lost.extend(sentences)

    def results(self) -> Results:
        """Sum over ranks and compute; every rank calls it, every rank gets the same.

        Returns:
            Results of each set, and of `all` from the metrics that merge, without iteration and protocols.
        """
        if self._results is None:
            self._results = self._computed()
        return self._results

    def _computed(self) -> Results:
        self.keys = _gather(self.keys)
        counts = {name: len(keys) for name, keys in self.keys.items()}
        sets, skipped = {}, {m.label: {} for m in self.prototypes}
        merged, total = [m.fresh() for m in self.prototypes if m.merges], {}
        for name in counts:
            sets[name] = {}
            for metric in self._column(name):
                metric.sync()
                values = metric.compute()
                sets[name].update(values)
                total.update(values if metric.merges else {})
                skipped[metric.label][name] = metric.skipped
            members = [m for m in self._column(name) if m.merges]
            if len(counts) == 1:  # it is all there is: nothing is held or computed twice
                merged = members
                continue
            for whole, metric in zip(merged, members):
                whole.merge(metric)
        self.columns[ALL] = merged
        sets[ALL] = total if len(counts) == 1 else {k: v for metric in merged for k, v in metric.compute().items()}
        self._check_described(sets)
        lost = [sentence for part in distributed.gather_objects(self.lost) for sentence in part]
        reasons = {label: why for label, whys in skipped.items() if (why := _why(whys))}
        counts = {**counts, ALL: sum(counts.values())}
        return Results(sets, counts, reasons, missing=sorted(lost), infos=self._infos.infos)

    def _check_described(self, sets: dict[str, dict[str, float]]) -> None:
        names = dict.fromkeys(name for values in sets.values() for name in values)
        unknown = [name for name in names if not self._infos.knows(name)]
        if unknown and distributed.get_rank() == 0:
            print_log(f'no `info` of a metric describes {", ".join(unknown)}: tables show these values by their names, '
                      'and nothing ranks them.', logger='current', level=logging.WARNING)

    def samples(self) -> dict[str, np.ndarray]:
        """Return the scores of single samples as arrays by name (see `dtbox.evaluation.samples`); on every rank the
        same, after `results`."""
        self.results()
        return samples.join_sets(self.columns, self.keys)

    def find(self, kind: type | str, name: str = ALL) -> Metric | None:
        """Return the metric of class `kind` (a class or its name) of the set `name`, or None; ask after `results`."""
        for metric in self.columns.get(name, []):
            if kind in (type(metric), type(metric).__name__):
                return metric
        return None

    def _column(self, name: str) -> list[Metric]:
        if name not in self.columns:
            self.columns[_checked(name)] = [m.fresh() for m in self.prototypes]
        return self.columns[name]


FORM = 'a dict of metrics by name, such as dict(psnr=dict(type=\'PSNR\'))'


def list_metrics(metrics: Sequence | dict, where: str = 'metrics') -> list[tuple[str, Any]]:
    """Return (place in the config, metric) pairs of a list of metrics, or of a dict name -> metric, in which None
    removes one.

    Raises:
        InputError: neither a list nor a dict of metrics.
    """
    if isinstance(metrics, dict):
        if 'type' in metrics:
            raise InputError(f'got one metric, {dict(metrics)!r}; expected {FORM}.', where)
        return [(f'{where}.{name}', metric) for name, metric in metrics.items() if metric is not None]
    if not isinstance(metrics, (list, tuple)):
        raise InputError(f'got {metrics!r}; expected {FORM}, or a list.', where)
    return [(f'{where}[{i}]', metric) for i, metric in enumerate(metrics)]


def _gather(keys: dict[str, list]) -> dict[str, list]:
    """Keys of each set over all ranks, sets sorted."""
    whole = {}
    for part in distributed.gather_objects(keys):
        for name, own in part.items():
            whole.setdefault(name, []).extend(own)
    return dict(sorted(whole.items()))


def _checked(name: str) -> str:
    if name in RESERVED or not isinstance(name, str):
        raise InputError(f'a held-out set cannot be called {name!r}: {", ".join(RESERVED)} have a meaning of their own '
                         'in the results.')
    return name


def _why(sets: dict[str, str]) -> str:
    """One sentence of the reasons of each set; the set's name only where they differ."""
    reasons = set(sets.values())
    if len(reasons) == 1:
        return reasons.pop()
    return '; '.join(f'{name}: {reason}' for name, reason in sets.items() if reason)
