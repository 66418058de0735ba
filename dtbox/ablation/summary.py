"""The scores of a grid in a few lines, while it runs and at its end. The tables of a paper are the report's business."""
import math
import statistics

from dtbox.evaluation.table import lower_is_better


def headline(grid, rows):
    """Return the columns to show: those that the grid names, else the first few that are there."""
    there = {key for row in rows for key in row if '/' in key}
    if grid.metrics:
        return [m for m in grid.metrics if m in there]
    usual = ('all/psnr', 'all/token_cosine', 'all/pooled_cosine', 'test/zeroshot_top1/tokens')
    return [m for m in usual if m in there] or sorted(there)[:3]


def by_variant(grid, rows):
    """Return labels (tuple) -> list of the rows that are done, over the seeds."""
    table = {}
    for row in rows:
        found = table.setdefault(tuple(row[axis] for axis in grid.axes), [])
        if row['status'] == 'done':
            found.append(row)
    return table


def best_so_far(grid, rows):
    """Return the best variant by the first metric as text, '' where there is none yet."""
    columns = headline(grid, rows)
    if not columns:
        return ''
    metric = columns[0]
    means = {labels: statistics.mean(values) for labels, found in by_variant(grid, rows).items() if (values := _values(found, metric))}
    if not means:
        return ''
    labels = (min if lower_is_better(metric.partition('/')[2]) else max)(means, key=means.get)
    return f'{", ".join(labels)} ({metric} {means[labels]:.4g})'


def summary(grid, rows):
    """Return the means over seeds as lines of a table: variants x the metrics that the grid names."""
    columns = headline(grid, rows)
    names = {labels: ', '.join(labels) for labels in by_variant(grid, rows)}
    width = max([len(n) for n in names.values()] + [8]) + 2
    lines = [' ' * width + f'{"n":>4}' + ''.join(f'{c[-22:]:>24}' for c in columns)]
    for labels, found in by_variant(grid, rows).items():
        cells = [_cell(_values(found, c)) for c in columns]
        lines.append(f'{names[labels]:<{width}}{len(found):>4}' + ''.join(f'{c:>24}' for c in cells))
    return lines


def _values(rows, metric):
    values = [row.get(metric) for row in rows]
    return [v for v in values if isinstance(v, (int, float)) and math.isfinite(v)]


def _cell(values):
    if not values:
        return '-'
    spread = f' (sd {statistics.stdev(values):.2g})' if len(values) > 1 else ''
    return f'{statistics.mean(values):.4f}{spread}'
