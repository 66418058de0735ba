"""The scores of a grid in a few lines, while it runs and at its end. The report makes the tables of a paper."""
from __future__ import annotations

import math
import statistics
from collections.abc import Iterable

from dtbox.ablation.grid import Grid
from dtbox.evaluation.info import Infos, choose_headlines
from dtbox.evaluation.names import is_stderr

FEW = 4
"""Values that are shown where the grid names none."""


def choose_headline(grid: Grid, rows: list[dict], infos: Infos | None = None) -> list[str]:
    """Return the columns SET/METRIC to show: those that the grid names, else the first few that there are."""
    infos, present = infos or Infos(), sorted({key for row in rows for key in row if '/' in key})
    if grid.metrics:
        return [m for m in grid.metrics if m in present]
    present = [m for m in present if not is_stderr(m)]
    return choose_headlines(present, infos)[:FEW] or sorted(present, key=lambda m: infos.describe(m).sort_key)[:FEW]


def group_by_variant(grid: Grid, rows: list[dict]) -> dict[tuple[str, ...], list[dict]]:
    """Return labels -> list of the rows that are done, over the seeds."""
    table = {}
    for row in rows:
        finished = table.setdefault(tuple(row[axis] for axis in grid.axes), [])
        if row['status'] == 'done':
            finished.append(row)
    return table


def describe_best(grid: Grid, rows: list[dict], infos: Infos | None = None) -> str:
    """Return the best variant by the first metric that has a direction, as text; '' where there is none yet."""
    infos = infos or Infos()
    ranked = [m for m in choose_headline(grid, rows, infos) if infos.describe(m).lower is not None]
    if not ranked:
        return ''
    metric = ranked[0]
    means = {labels: statistics.mean(values) for labels, finished in group_by_variant(grid, rows).items()
             if (values := _values(finished, metric))}
    if not means:
        return ''
    labels = (min if infos.describe(metric).lower else max)(means, key=means.__getitem__)
    return f'{", ".join(labels)} ({metric} {means[labels]:.4g})'


def format_summary(grid: Grid, rows: list[dict], infos: Infos | None = None) -> list[str]:
    """Return the means over seeds as lines of a table: a row for each variant, a column for each metric of
    `choose_headline`."""
    columns = choose_headline(grid, rows, infos)
    names = {labels: ', '.join(labels) for labels in group_by_variant(grid, rows)}
    width = max([len(n) for n in names.values()] + [8]) + 2
    lines = [' ' * width + f'{"n":>4}' + ''.join(f'{c[-22:]:>24}' for c in columns)]
    for labels, finished in group_by_variant(grid, rows).items():
        cells = [_cell(_values(finished, c)) for c in columns]
        lines.append(f'{names[labels]:<{width}}{len(finished):>4}' + ''.join(f'{c:>24}' for c in cells))
    return lines


def _values(rows: Iterable[dict], metric: str) -> list[float]:
    values = [row.get(metric) for row in rows]
    return [v for v in values if isinstance(v, (int, float)) and math.isfinite(v)]


def _cell(values):
    if not values:
        return '-'
    spread = f' (sd {statistics.stdev(values):.2g})' if len(values) > 1 else ''
    return f'{statistics.mean(values):.4f}{spread}'
