"""The figures of a report, from numbers and files of the runs to PNG and PDF."""
from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import List, Tuple

import numpy as np

from dtbox.drawing.axis_plot import AxisPanel, draw_axis
from dtbox.drawing.run_curves import draw_runs
from dtbox.drawing.strips import draw_contact_sheet, read_strip
from dtbox.drawing.tradeoff import Point, draw_tradeoff
from dtbox.drawing.variant_style import TOLD_APART, choose_looks
from dtbox.errors import InputError
from dtbox.evaluation.info import GROUPS
from dtbox.report.experiment import Experiment
from dtbox.report.metric_names import format_label, make_slug
from dtbox.report.score_tables import compute_means
from dtbox.report.statistics import compute_mean, find_pareto_front
from dtbox.rows import read_rows
from dtbox.runs import RunFolder

Curve = Tuple[List[float], List[float]]
"""Iterations, and a value at each."""
PANELS = 12
"""Panels of a figure of curves at most."""
POINTS = 400
"""Points of a curve at most."""
HEALTH = {'usage': 'codes in use [%]', 'perplexity': 'perplexity', 'restarts': 'codes restarted',
          'spread': 'spread of the norms'}
"""Number of codebooks.jsonl -> title of its panel."""

NO_TERMS = ('seconds', 'adaptive_weight', 'logits_real', 'logits_fake')
"""What history.jsonl holds beside loss terms and learning rates."""


@dataclass(frozen=True)
class Figure:
    """A figure of the report.

    Attributes:
        name: of its files in figures/, without suffix.
        title: for people.
        notes: sentences below it.
        kind: 'tradeoff', 'other tradeoff', 'axis', 'curves', 'health', 'contact', 'drawings' or
            'replies'.
        suffixes: of its files; the first is the one that the page shows.
    """
    name: str
    title: str
    notes: tuple = ()
    kind: str = ''
    suffixes: tuple = ('.png', '.pdf')

    def paths(self, folder: str) -> list[str]:
        """Return the paths of its files."""
        return [os.path.join(folder, self.name + suffix) for suffix in self.suffixes]


def draw_tradeoffs(experiment: Experiment, metrics: list[str], folder: str) -> list[Figure]:
    """Draw every pair of the headline metrics that have a direction, reconstruction against semantics first."""
    group = {m: experiment.describe(m).info.group for m in metrics}
    metrics = [m for m in metrics if experiment.describe(m).lower is not None]
    pairs = [tuple(sorted(pair, key=lambda m: GROUPS.index(group[m]))) for pair in itertools.combinations(metrics, 2)]
    first = [p for p in pairs if {group[p[0]], group[p[1]]} == {'reconstruction', 'semantics'}]
    figures = []
    for pair in [*first, *(p for p in pairs if p not in first)]:
        figure = _tradeoff(experiment, pair, folder, 'tradeoff' if pair in first or not first else 'other tradeoff')
        figures += [figure] if figure else []
    return figures


def _tradeoff(experiment: Experiment, pair: Sequence[str], folder: str, kind: str) -> Figure | None:
    """One pair: points for the seeds that have both metrics; None where fewer than two variants have."""
    described = [experiment.describe(m) for m in pair]
    measured, names = {}, [format_label(d, experiment.sets) for d in described]
    for variant in experiment.variants:
        trials = [t for t in experiment.of(variant).values() if all(m in t.metrics for m in pair)]
        seeds = [tuple(t.metrics[m] * d.factor for m, d in zip(pair, described)) for t in trials]
        if seeds:
            measured[variant] = seeds, [compute_mean(values) for values in zip(*seeds)]
    if len(measured) < 2:
        return None
    lower = [d.lower for d in described]
    front = find_pareto_front([[m.value for m in both] for _, both in measured.values()], lower)
    look = dict(zip(experiment.variants, choose_looks(len(experiment.variants))))
    points = [Point(experiment.short(v), look[v], seeds, (x.value, y.value), (x.half, y.half), on)
              for (v, (seeds, (x, y))), on in zip(measured.items(), front)]
    suffixes = ('.png', '.pdf') if kind == 'tradeoff' else ('.png',)  # a PDF takes as long as all the rest of a figure
    figure = Figure(f'tradeoff_{make_slug(pair[0])}_{make_slug(pair[1])}', f'{names[0]} against {names[1]}', kind=kind,
                    suffixes=suffixes)
    homeless = draw_tradeoff(points, figure.paths(folder), names, lower)
    between = ', ' if experiment.numbered else '; '
    notes = [f'On the Pareto front: {between.join(p.label for p in points if p.front)}.']
    if experiment.numbered:
        notes.append('Numbers as in the tables.')
    if homeless:
        notes.append(f'No room for the labels of {between.join(homeless)}.')
    if len(measured) < len(experiment.variants):
        notes.append('Variants that lack one of the two are left out.')
    return replace(figure, notes=tuple(notes))


def draw_axis_figures(experiment: Experiment, metrics: list[str], folder: str) -> list[Figure]:
    """Draw the headline metrics along each axis that has several labels."""
    figures = []
    for number, (axis, labels) in enumerate(experiment.axes.items()):
        panels = [panel for metric in metrics if (panel := _panel(experiment, metric, number, labels)).lines]
        if len(labels) < 2 or not panels:
            continue
        notes = ['Small dots are seeds, large ones means, bars 95 % intervals; a bar that is wider than all values is '
                 'cut off.']
        if any(panel.mean for panel in panels):
            notes.append('Black: the mean over those combinations of the other axes that have all of these labels; the '
                         'others: the combinations.')
        figure = Figure(f'axis_{make_slug(axis)}', f'Along {axis}', tuple(notes), 'axis')
        draw_axis(panels, figure.paths(folder), axis, labels)
        figures.append(figure)
    return figures


def _panel(experiment: Experiment, metric: str, number: int, labels: list[str]) -> AxisPanel:
    """A metric along axis `number`: a line for each combination of the other axes, and the mean of those that have the
    most labels."""
    described = experiment.describe(metric)
    groups, factor = {}, described.factor
    for variant, mean in compute_means(experiment, metric).items():
        if mean is not None:
            seeds = [factor * t.metrics[metric] for t in experiment.of(variant).values() if metric in t.metrics]
            groups.setdefault(experiment.name(variant, without=number), {})[labels.index(variant[number])] = (
                seeds, factor * mean.value, None if mean.half is None else factor * mean.half)
    lines = [(name, [(at, *place) for at, place in sorted(places.items())]) for name, places in groups.items()]
    whole = [places for places in groups.values() if len(places) == max(map(len, groups.values()))]
    alike = len(whole) > 1 and len({tuple(sorted(p)) for p in whole}) == 1
    middle = [(at, float(np.mean([p[at][1] for p in whole]))) for at in sorted(whole[0])] if alike else ()
    return AxisPanel(format_label(described, experiment.sets), described.lower, lines, middle)


def draw_curve_figures(experiment: Experiment, folder: str) -> list[Figure]:
    """Draw the learning curves (history.jsonl) and the health of the codebooks (codebooks.jsonl), means over seeds."""
    histories, books = {}, {}
    for variant in experiment.variants:
        trials = list(experiment.of(variant).values())
        histories[variant] = _series([read_rows(RunFolder(t.folder).history) for t in trials])
        rows = [read_rows(RunFolder(t.folder).codebook_history) for t in trials]
        books[variant] = _series([_health(row) for row in some] for some in rows)
    names = list(dict.fromkeys(name for terms in histories.values() for name in terms))
    terms = [n for n in names if n not in NO_TERMS and not n.endswith('_lr')]
    terms.sort(key=lambda n: (n != 'total', -sum(n in t for t in histories.values())))
    health = list(dict.fromkeys(name for terms in books.values() for name in terms))
    health.sort(key=lambda n: list(HEALTH.values()).index(n.partition(',')[0]))
    left_out = (f'Left out: {", ".join(terms[PANELS:])}.',) if terms[PANELS:] else ()
    many = len(experiment.variants) > TOLD_APART
    order = ('Colours in the order of the variants, from dark to light.',) if many else ()
    note = ('Terms of the objective before their weights, means over seeds; different recipes have different terms, '
            'and their totals do not compare.')
    health_note = 'Over the training batches, means over seeds and depths.'
    figures = [
        (Figure('learning_curves', 'Learning curves', (note, *left_out, *order), 'curves'),
         {n.replace('_', ' '): _curves(experiment, histories, n) for n in terms[:PANELS]}),
        (Figure('codebooks', 'Health of the codebooks', (health_note, *order), 'health'),
         {n: _curves(experiment, books, n) for n in health[:PANELS]})]
    drawn = [(figure, panels) for figure, panels in figures if panels]
    for figure, panels in drawn:
        draw_runs(panels, figure.paths(folder))
    return [figure for figure, _ in drawn]


def _health(row: dict[str, float]) -> dict[str, float]:
    """One row of codebooks.jsonl: the numbers of `HEALTH` for each vocabulary, means over its depths."""
    numbers = {}
    for key, value in row.items():
        what, _, where = key.partition('_')
        if what in HEALTH and isinstance(value, (int, float)):
            name = f'{HEALTH[what]}, {re.sub(r"_[0-9]+$", "", where)}'
            numbers.setdefault(name, []).append(100 * value if what == 'usage' else value)
    return dict(iteration=row['iteration'], **{k: sum(v) / len(v) for k, v in numbers.items()})


def _series(runs: Iterable[list[dict[str, float]]]) -> dict[str, Curve]:
    """Rows of several seeds -> name -> (iterations, means over the seeds that have the iteration), thinned."""
    numbers = {}
    for rows in runs:
        for row in rows:
            for name, value in row.items():
                if name != 'iteration' and isinstance(value, (int, float)) and np.isfinite(value):
                    numbers.setdefault(name, {}).setdefault(row['iteration'], []).append(value)
    series = {}
    for name, values in numbers.items():
        at = sorted(values)
        step = -(-len(at) // POINTS)
        at = at[::step] + ([at[-1]] if (len(at) - 1) % step else [])
        series[name] = at, [sum(values[i]) / len(values[i]) for i in at]
    return series


def _curves(experiment: Experiment, series: dict[tuple, dict[str, Curve]], name: str) -> list[tuple]:
    look = choose_looks(len(experiment.variants))
    return [(experiment.full(v), look[i], *series[v][name]) for i, v in enumerate(experiment.variants)
            if name in series[v]]


def draw_heldout_sheet(experiment: Experiment, folder: str) -> tuple[Figure | None, list[str]]:
    """Draw the same held-out images and their reconstructions by the first seed of each variant.

    Returns:
        (Figure or None, list of sentences on what could not be shown).
    """
    strips, troubles = _read_strips(experiment)
    if not strips:
        return None, troubles
    inputs, _, first = next(iter(strips.values()))
    same = {v: strip for v, strip in strips.items() if strip[1].shape[1:] == inputs.shape[1:]}
    common = [n for n in first if all(n in names for _, _, names in same.values())]
    if not common:
        return None, [*troubles, 'The runs show different held-out images: there is no contact sheet.']
    troubles += [f'{experiment.name(v)}: its images have another size and are not on the contact sheet.'
                 for v in strips if v not in same]
    rows = [('held-out image', inputs[[first.index(n) for n in common]])]
    rows += [(experiment.full(v), reconstructions[[names.index(n) for n in common]])
             for v, (_, reconstructions, names) in same.items()]
    figure = Figure('contact_sheet', 'The same held-out images', kind='contact', suffixes=('.png',))
    shrink = draw_contact_sheet(rows, figure.paths(folder)[0], experiment.title, tile=128 if len(rows) <= 12 else 96)
    notes = [f'Top row: {len(common)} held-out images; below, their reconstructions by the first seed of each variant '
             'that has a decoder.']
    if shrink > 1:
        notes.append(f'There are many: their sides are 1/{shrink} of what they are in the runs (heldout.png).')
    return replace(figure, notes=tuple(notes)), troubles


def _read_strips(experiment: Experiment) -> tuple[dict[tuple, tuple[np.ndarray, np.ndarray, list[tuple]]], list[str]]:
    """Return variant -> (images, reconstructions, names) of its first seed that has a strip, and what went wrong."""
    strips, troubles = {}, []
    for variant in experiment.variants:
        for path in (RunFolder(trial.folder).heldout_strip for trial in experiment.of(variant).values()):
            if variant in strips or not os.path.isfile(path):
                continue
            try:
                strips[variant] = read_strip(path)
            except InputError as e:
                troubles.append(str(e))
    return strips, troubles
