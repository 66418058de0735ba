"""Differences to the reference variant, paired over the same held-out pictures and the same seeds (samples.npz of the runs)."""
from __future__ import annotations

import os

import numpy as np

from dtbox.errors import InputError
from dtbox.evaluation.info import Described, Infos, headlines
from dtbox.evaluation.names import ALL
from dtbox.evaluation.samples import find_rows, read_samples
from dtbox.report.statistics import paired
from dtbox.runs import RunFolder


class Samples:
    """Scores of single pictures of trials, read once each.

    Args:
        infos: what the metrics are.

    Attributes:
        troubles: sentences on files that could not be read.
    """

    def __init__(self, infos: Infos | None = None):
        self.infos, self._files, self._series, self.troubles = infos or Infos(), {}, {}, []

    def of(self, trial, metric):
        """Return (keys, values) of a trial and a metric (SET/METRIC): its pictures or queries, sorted, and the score of each (0 or 1 for a
        hit); None where there are none. What was not measured is left out; the mean of `values` is the metric's number in metrics.json."""
        place = trial.folder, metric
        if place not in self._series:
            self._series[place] = _series(self._arrays(trial), self.infos.describe(metric))
        return self._series[place]

    def _arrays(self, trial):
        if trial.folder not in self._files:
            path = RunFolder(trial.folder).samples
            self._files[trial.folder] = {}
            if os.path.isfile(path):
                try:
                    self._files[trial.folder] = read_samples(path)
                except InputError as e:
                    self.troubles.append(str(e))
        return self._files[trial.folder]


def _series(arrays, described: Described):
    score, most = described.samples
    group = find_rows(score, arrays)
    if described.name.protocol or score not in arrays or score.endswith(('keys', 'sets')):  # samples.npz holds the recipe's own scores
        return None
    values, keys, sets = arrays[score], arrays[f'{group}keys'], arrays[f'{group}sets']
    here = np.isfinite(values) & ((sets == described.name.set) | (described.name.set == ALL))
    if not here.any():
        return None
    values = values[here] if most is None else values[here] < most
    names = np.char.add(np.char.add(sets[here], '\x1f'), keys[here])
    unique, inverse = np.unique(names, return_inverse=True)
    if len(unique) == len(names):  # sorted already where each picture is there once, but not by promise
        return unique, values[np.argsort(inverse)].astype(np.float64)
    return unique, np.bincount(inverse, values.astype(np.float64)) / np.bincount(inverse)  # samples of one key are one picture


def columns(experiment, headline):
    """Return the metrics to compare picture by picture: the usual ones that the trials have, then what else of the headline ones can be."""
    usual = headlines(experiment.metrics, experiment.infos, len(experiment.sets))
    usual.sort(key=lambda m: [ALL, *experiment.sets].index(experiment.describe(m).name.set))
    chosen = [m for m in dict.fromkeys([*usual, *headline]) if m in experiment.metrics]
    if len(experiment.sets) == 1:  # where there is one set, `all` is the same under another name
        twins = {(n.plain, n.protocol) for m in chosen if (n := experiment.describe(m).name).set != ALL}
        chosen = [m for m in chosen if (n := experiment.describe(m).name).set != ALL or (n.plain, n.protocol) not in twins]
    return chosen


def compare(experiment, samples, variant, metric):
    """Return the `Difference` of a variant to the reference in one metric; None where no seed has the scores of both."""
    ours, theirs = experiment.of(variant), experiment.of(experiment.reference)
    found = [(samples.of(ours[seed], metric), samples.of(theirs[seed], metric)) for seed in ours if seed in theirs]
    found = [pair for pair in found if None not in pair]
    if not found:
        return None
    keys = [series[0] for pair in found for series in pair]
    common = keys[0]
    for other in keys[1:]:
        if len(other) != len(common) or (other != common).any():
            common = np.intersect1d(common, other, assume_unique=True)
    if not len(common):
        return None
    return paired(np.stack([_at(a, common) - _at(b, common) for a, b in found]))


def _at(series, common):
    keys, values = series
    return values if len(keys) == len(common) else values[np.searchsorted(keys, common)]
