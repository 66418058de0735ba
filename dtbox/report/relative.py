"""Scores of drawings as fractions of what the tokenizer's own reconstructions score: what the language model has lost,
apart from what its tokenizer has."""
from __future__ import annotations

from dataclasses import replace

from dtbox.evaluation.drawings import REAL, RECONSTRUCTION, SHUFFLED
from dtbox.evaluation.names import is_stderr
from dtbox.report.experiment import Experiment, Trial
from dtbox.report.score_tables import build_score_table
from dtbox.report.tables import Table

NOTE = ('Each trial\'s score of drawings divided by that of its tokenizer\'s reconstructions of the real images: 1 is '
        'what the tokenizer itself reaches. Models of different tokenizers compare by these fractions.')


def find_anchor(experiment: Experiment, metric: str) -> str | None:
    """Return the metric that has the reconstructions' score beside one of drawings, where more is better; None for
    others."""
    name, _, label = metric.rpartition('/')
    described = experiment.describe(metric)
    anchor = f'{name}/{RECONSTRUCTION}'
    graded = described.info.group == 'drawing' and described.lower is False and not described.info.unit
    scored = graded and not is_stderr(metric) and label not in (REAL, RECONSTRUCTION, SHUFFLED)
    return anchor if scored and anchor in experiment.metrics else None


def build_relative_table(experiment: Experiment) -> Table | None:
    """Return the table of fractions: a row for each variant, means over seeds with intervals; None where no trial has
    drawings with reconstructions beside them."""
    anchors = {metric: anchor for metric in experiment.metrics if (anchor := find_anchor(experiment, metric))}
    if not anchors:
        return None
    relative = replace(experiment, trials=[_divide(trial, anchors) for trial in experiment.trials])
    table = build_score_table(relative, list(anchors), 'relative', 'Drawings, as fractions of reconstructions')
    return replace(table, notes=[NOTE, *table.notes])


def _divide(trial: Trial, anchors: dict[str, str]) -> Trial:
    scores = {metric: trial.metrics[metric] / trial.metrics[anchor] for metric, anchor in anchors.items()
              if metric in trial.metrics and trial.metrics.get(anchor)}
    return replace(trial, metrics=scores)
