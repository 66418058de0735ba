"""Differences to the reference variant, paired over the same held-out images and the same seeds (samples.npz of the
runs)."""
from __future__ import annotations

import os
from typing import Tuple

import numpy as np

from dtbox.errors import InputError
from dtbox.evaluation.info import Described, Infos, choose_headlines
from dtbox.evaluation.names import ALL
from dtbox.evaluation.samples import find_rows, read_samples
from dtbox.report.experiment import Experiment, Trial
from dtbox.report.statistics import Difference, compute_difference
from dtbox.runs import RunFolder

Series = Tuple[np.ndarray, np.ndarray]
"""Keys of images or queries, and the score of each."""


class Samples:
    """Scores of single images of trials, read once each.

    Args:
        infos: what the metrics are.

    Attributes:
        troubles: sentences on files that could not be read.
    """

    def __init__(self, infos: Infos | None = None) -> None:
        self.infos = infos or Infos()
        self.troubles: list[str] = []
        self._files: dict[str, dict[str, np.ndarray]] = {}
        self._series: dict[tuple[str, str], Series | None] = {}

    def of(self, trial: Trial, metric: str) -> Series | None:
        """Return (keys, values) of a trial and a metric (SET/METRIC): its images or queries, sorted, and the score of
        each (0 or 1 for a hit); None where there are none.

        What was not measured is left out; the mean of `values` is the metric's number in metrics.json.
        """
        place = trial.folder, metric
        if place not in self._series:
            self._series[place] = _series(self._arrays(trial), self.infos.describe(metric))
        return self._series[place]

    def _arrays(self, trial: Trial) -> dict[str, np.ndarray]:
        if trial.folder not in self._files:
            path = RunFolder(trial.folder).samples
            self._files[trial.folder] = {}
            if os.path.isfile(path):
                try:
                    self._files[trial.folder] = read_samples(path)
                except InputError as e:
                    self.troubles.append(str(e))
        return self._files[trial.folder]


def _series(arrays: dict[str, np.ndarray], described: Described) -> Series | None:
    score, most = described.samples
    group = find_rows(score, arrays)
    own = not described.name.protocol  # samples.npz holds the scores of the recipe's own metrics
    if not own or score not in arrays or score.endswith(('keys', 'sets')):
        return None
    values = arrays[score]
    keys = arrays[f'{group}keys']
    sets = arrays[f'{group}sets']
    here = np.isfinite(values) & ((sets == described.name.set) | (described.name.set == ALL))
    if not here.any():
        return None
    values = values[here] if most is None else values[here] < most
    names = np.char.add(np.char.add(sets[here], '\x1f'), keys[here])
    unique, inverse = np.unique(names, return_inverse=True)
    if len(unique) == len(names):  # sorted already where each image is there once, but not by promise
        return unique, values[np.argsort(inverse)].astype(np.float64)
    # samples of one key are one image
    return unique, np.bincount(inverse, values.astype(np.float64)) / np.bincount(inverse)


def choose_columns(experiment: Experiment, headline: list[str]) -> list[str]:
    """Return the metrics to compare image by image: the usual ones that the trials have, then the other headline
    ones."""
    usual = choose_headlines(experiment.metrics, experiment.infos, len(experiment.sets))
    usual.sort(key=lambda m: [ALL, *experiment.sets].index(experiment.describe(m).name.set))
    chosen = [m for m in dict.fromkeys([*usual, *headline]) if m in experiment.metrics]
    if len(experiment.sets) == 1:  # where there is one set, `all` is the same under another name
        names = {m: experiment.describe(m).name for m in chosen}
        twins = {(n.plain, n.protocol) for n in names.values() if n.set != ALL}
        chosen = [m for m, n in names.items() if n.set != ALL or (n.plain, n.protocol) not in twins]
    return chosen


def compare(experiment: Experiment, samples: Samples, variant: tuple, metric: str) -> Difference | None:
    """Return the `Difference` of a variant to the reference in one metric; None where no seed has the scores of
    both, of nats of codes of the same tokenizer."""
    ours, theirs = experiment.of(variant), experiment.of(experiment.reference)
    seeds = [seed for seed in ours if seed in theirs]
    if experiment.describe(metric).info.of_codes:  # nats of the codes of one tokenizer alone compare
        seeds = [seed for seed in seeds if ours[seed].stamps.get(metric) == theirs[seed].stamps.get(metric)]
    both = [(samples.of(ours[seed], metric), samples.of(theirs[seed], metric)) for seed in seeds]
    both = [pair for pair in both if None not in pair]
    if not both:
        return None
    keys = [series[0] for pair in both for series in pair]
    common = keys[0]
    for other in keys[1:]:
        if len(other) != len(common) or (other != common).any():
            common = np.intersect1d(common, other, assume_unique=True)
    if not len(common):
        return None
    return compute_difference(np.stack([_at(a, common) - _at(b, common) for a, b in both]))


def _at(series: Series, common: np.ndarray) -> np.ndarray:
    keys, values = series
    return values if len(keys) == len(common) else values[np.searchsorted(keys, common)]
