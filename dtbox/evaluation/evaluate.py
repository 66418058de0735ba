"""SetEvaluator: one pass over a dataloader that carries every held-out set, one column of scores for each.

Knows batches and outputs only; who runs the model calls `setup` once a pass, `update` for every batch and `results` at the end.
"""
import torch

from dtbox import distributed
from dtbox.errors import InputError
from dtbox.evaluation import samples
from dtbox.evaluation.base import Metric
from dtbox.evaluation.stamps import settings_hash
from dtbox.registry import METRICS
from dtbox.structures import take

RESERVED = ('all', 'skipped', 'counts', 'missing', 'protocols', 'evaluation')


class SetEvaluator:
    """Keep a copy of each metric for each set, and make the column `all` by merging them.

    Args:
        metrics: configs of METRICS or Metric objects.
        unnamed: set of samples whose batch names none.

    Attributes:
        hash: of the metrics and their settings (see `dtbox.evaluation.stamps`).
        reads: dotted names of everything that the metrics require or use (see Metric); the rest need not be computed.
        columns: set -> list of metrics, after `results` with `all` among them; for plots, see `find`.
    """

    def __init__(self, metrics, unnamed='heldout'):
        self.prototypes = [METRICS.build(m, where=f'metrics[{i}]') for i, m in enumerate(metrics)]
        for i, metric in enumerate(self.prototypes):
            if not isinstance(metric, Metric):
                raise InputError(f'`{type(metric).__name__}` is no dtbox Metric: it cannot be kept per set.', f'metrics[{i}]')
            if metric.label in [m.label for m in self.prototypes[:i]]:
                raise InputError(f'{metric.label} is there twice and both would use the same names. Give one a `prefix`.', f'metrics[{i}]')
        self.unnamed, self.hash = _checked(unnamed), settings_hash(metrics)
        self.reads = frozenset(name for m in self.prototypes for name in (*m.requires, *m.uses))
        self.reset()

    def reset(self):
        """Forget what was seen, keep the context."""
        self.columns, self.keys, self.lost, self._results = {}, {}, [], None

    def setup(self, context):
        """Start a pass: hand the EvalContext to every metric and forget the pass before."""
        self.reset()
        for metric in self.prototypes:
            metric.setup(context)

    def update(self, batch, outputs):
        """Add a batch.

        Args:
            batch: Batch of B samples; `sets` names the set of each.
            outputs: its TokenizerOutput.

        Raises:
            InputError: when the two do not have the same number of samples, or a set has a reserved name.
        """
        size = len(outputs.images)
        if len(batch) != size or (batch.sets is not None and len(batch.sets) != size):
            raise InputError(f'a batch of {len(batch)} samples with {len(batch.sets or [])} set names cannot go with outputs '
                             f'for {size} images.')
        if self._results is not None:
            raise RuntimeError('the results of this pass are out: call setup() or reset() before the next one.')
        members = {}
        for i, name in enumerate(batch.sets or [self.unnamed] * size):
            members.setdefault(name, []).append(i)
        for name, index in members.items():
            index = torch.tensor(index)
            whole = len(index) == size
            part, found = (batch, outputs) if whole else (take(batch, index, size), take(outputs, index, size))
            for metric in self._column(name):
                metric.process(part, found)
            self.keys.setdefault(name, []).extend(part.keys or [None] * len(index))

    def lose(self, sentences):
        """Note samples that could not be read: sentences that name them."""
        self.lost.extend(sentences)

    def results(self):
        """Sum over ranks and compute; every rank calls it, every rank gets the same.

        Returns:
            dict: set -> name -> float for each set; the same for `all`, from the metrics that merge; `skipped`, metric -> why values
            are missing or pictures were left out; `counts`, pictures of each set and of all; and where samples could not be read, `missing`,
            list of sentences that name them: the scores are those of an incomplete set.
        """
        if self._results is not None:
            return self._results
        keys = {}
        for part in distributed.gather_objects(self.keys):
            for name, found in part.items():
                keys.setdefault(name, []).extend(found)
        self.keys = dict(sorted(keys.items()))
        counts = {name: len(found) for name, found in self.keys.items()}
        results, skipped = {}, {m.label: {} for m in self.prototypes}
        merged, total = [m.fresh() for m in self.prototypes if m.merges], {}
        for name in counts:
            results[name] = {}
            for metric in self._column(name):
                metric.sync()
                values = metric.compute()
                results[name].update(values)
                total.update(values if metric.merges else {})
                skipped[metric.label][name] = metric.skipped
            members = [m for m in self._column(name) if m.merges]
            if len(counts) == 1:  # it is all there is: nothing is held or computed twice
                merged = members
                continue
            for whole, metric in zip(merged, members):
                whole.merge(metric)
        self.columns['all'] = merged
        results['all'] = total if len(counts) == 1 else {k: v for metric in merged for k, v in metric.compute().items()}
        results['skipped'] = {label: why for label, sets in skipped.items() if (why := _why(sets))}
        results['counts'] = {**counts, 'all': sum(counts.values())}
        lost = sorted(sentence for part in distributed.gather_objects(self.lost) for sentence in part)
        if lost:
            results['missing'] = lost
        self._results = results
        return results

    def samples(self):
        """Return the scores of single samples as arrays by name (see `dtbox.evaluation.samples`); on every rank the same, after `results`."""
        self.results()
        return samples.table(self.columns, self.keys)

    def find(self, kind, name='all'):
        """Return the metric of class `kind` (a class or its name) of the set `name`, or None; ask after `results`."""
        for metric in self.columns.get(name, []):
            if kind in (type(metric), type(metric).__name__):
                return metric
        return None

    def _column(self, name):
        if name not in self.columns:
            self.columns[_checked(name)] = [m.fresh() for m in self.prototypes]
        return self.columns[name]


def _checked(name):
    if name in RESERVED or not isinstance(name, str):
        raise InputError(f'a held-out set cannot be called {name!r}: {", ".join(RESERVED)} have a meaning of their own in the results.')
    return name


def _why(sets):
    """One sentence of the reasons of each set; the set's name only where they differ."""
    reasons = set(sets.values())
    if len(reasons) == 1:
        return reasons.pop()
    return '; '.join(f'{name}: {reason}' for name, reason in sets.items() if reason)
