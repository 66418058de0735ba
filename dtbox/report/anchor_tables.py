"""Scores beside their floors, which know nothing of the input, and anchors, which know the right answer.

Which values these are, the infos of the metrics say; anchors.json of a run adds what training data alone gives.
"""
from __future__ import annotations

import os
from typing import Any

from dtbox.evaluation.info import GROUPS
from dtbox.evaluation.names import ALL, is_stderr, split_set
from dtbox.files import parse_json
from dtbox.report.experiment import Experiment
from dtbox.report.metric_names import format_label, format_value, make_slugs
from dtbox.report.score_tables import ARROWS, compute_means
from dtbox.report.tables import Cell, Column, Table
from dtbox.runs import RunFolder

NEAREST = 'nearest in training'
"""Heading of what training data alone gives: the image with the nearest name, the name of the image with the nearest
codes."""
ORDER = ('reconstructions', 'real images', 'right captions')
"""Headings that stand on the right, since they know the right answer; floors stand before them."""
NOTE = ('The most frequent answer, images of other prompts and codes without their prompt are floors: a score '
        'that is not better has learnt nothing from its input. Reconstructions, real images and right captions know '
        'the answer.')
FROM_FILE = ('Nearest in training: the real training image whose name shares most words with the prompt; for captions, '
             'the name of the training image with the nearest codes (anchors.json of the run).')


def build_anchor_tables(experiment: Experiment) -> tuple[list[Table], list[str]]:
    """Return (a Table for each variant and group of scores that have floors or anchors, sentences on files that cannot
    be read)."""
    tables: list[Table] = []
    troubles: list[str] = []
    for variant in experiment.variants:
        nearest: dict[str, float] = {}
        for trial in list(experiment.of(variant).values())[:1]:
            nearest, trouble = read_nearest(trial.folder, trial.metrics)
            troubles += [trouble] if trouble else []
        tables += [table for group in GROUPS if (table := _build(experiment, variant, group, nearest))]
    return tables, troubles


def _build(experiment: Experiment, variant: tuple, group: str, nearest: dict[str, float]) -> Table | None:
    means = {m: found for m in experiment.metrics if (found := compute_means(experiment, m)[variant])}
    described = {m: experiment.describe(m) for m in means if split_set(m)[0] != ALL and not is_stderr(m)}
    beside = {m: {heading: name for heading, name in d.beside.items() if name in means}
              for m, d in described.items() if d.name.depth is None and d.info.group == group}
    beside = {m: found for m, found in beside.items() if found or m in nearest}
    if not beside:
        return None
    headings = sorted({h for found in beside.values() for h in found}, key=_place)
    if set(nearest) & set(beside):
        headings.insert(0, NEAREST)
    rows = []
    for metric in sorted(beside, key=lambda m: (described[m].sort_key, m)):
        d, own = described[metric], means[metric]
        row = [Cell(format_label(d, experiment.sets) + ARROWS[d.lower], raw=(metric,)),
               Cell(format_value(d, own.value, own.half), bold=True, raw=(own.value, own.half))]
        for heading in headings:
            name = beside[metric].get(heading)
            value = nearest.get(metric) if heading == NEAREST else means[name].value if name else None
            row.append(Cell('' if value is None else format_value(d, value), raw=(value,)))
        rows.append(row)
    columns = [Column('score', ('score',), words=True), Column('the model', ('model', 'model ±'))]
    columns += [Column(heading, (heading,)) for heading in headings]
    notes = [NOTE, *([FROM_FILE] if NEAREST in headings else [])]
    name = experiment.name(variant)
    return Table(f'anchors_{make_slugs(experiment)[variant]}_{group}', f'{name}: {group}', columns, rows, notes)


def _place(heading: str) -> int:
    """Order of the columns: floors, then what knows the right answer."""
    return ORDER.index(heading) if heading in ORDER else -1


def read_nearest(folder: str, metrics: dict[str, float]) -> tuple[dict[str, float], str]:
    """Return (SET/METRIC -> number that training data alone gives, by anchors.json of a run; a sentence where the file
    cannot be read).

    Args:
        folder: of the run.
        metrics: SET/METRIC -> number that the run has.
    """
    path = RunFolder(folder).anchors
    if not os.path.isfile(path):
        return {}, ''
    try:
        with open(path, encoding='utf-8') as f:
            about: Any = parse_json(f.read())
        part, drawings = str(about['set']), {k: float(v) for k, v in about['drawings']['nearest name'].items()}
        captions = max(about['captions'].values(), key=lambda scores: float(scores['f1']))
        floors = {f'drawing_{name}': value for name, value in drawings.items()}
        floors.update({'caption_f1': float(captions['f1']), 'caption_exact': float(captions['exact']),
                       'cider': float(captions['cider'])})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as e:
        return {}, f'{path} cannot be read ({type(e).__name__}: {e}): write it again with tools/mllm_anchors.py.'
    names = {metric: split_set(metric) for metric in metrics}
    anchors = ('real', 'reconstruction', 'shuffled')
    return {metric: floors[head] for metric, (own, value) in names.items()
            if own.split('_')[0] == part and (head := value.partition('/')[0]) in floors
            and value.partition('/')[2] not in anchors and not is_stderr(value)}, ''
