"""The end of a grid: its scores, the states of its trials, and scores that are missing."""
from __future__ import annotations

import os
from typing import TYPE_CHECKING

from dtbox.ablation.folder import GridFolder
from dtbox.ablation.plan import is_wanted
from dtbox.ablation.summary import format_summary
from dtbox.errors import closest

if TYPE_CHECKING:
    from dtbox.ablation.grid import Grid


def format_closing(grid: Grid, work_dir: str, rows: list[dict]) -> list[str]:
    """Return the closing lines of a grid: scores, states of the trials, time of bookkeeping, missing scores, and the
    table's path.

    Args:
        grid: Grid.
        work_dir: its folder.
        rows: one dict a trial, as of results.csv.
    """
    counts = {}
    for row in rows:
        counts[row['status']] = counts.get(row['status'], 0) + 1
    spent = GridFolder(work_dir).about()['bookkeeping']
    part = ''
    if spent['trials']:
        part = f' ({spent["seconds"] / spent["trials"]:.1%} of the trials\' {spent["trials"]:.0f} s)'
    states = ', '.join(f'{n} {status}' for status, n in counts.items())
    return [*format_summary(grid, rows), '', f'{states}. Bookkeeping: {spent["seconds"]:.1f} '
                                             f's{part}.', *list_missing_scores(grid, rows),
            f'Table: {os.path.join(work_dir, "results.csv")}']


def list_missing_scores(grid: Grid, rows: list[dict]) -> list[str]:
    """Return lines about finished trials without scores, and headline metrics that no trial has."""
    done = [row for row in rows if row['status'] == 'done']
    known = {key for row in done for key in row if '/' in key}
    lines = [f'{row["trial"]} has no scores: its metrics.json is missing or cannot be read. To run it again, take its '
             'folder away.'
             for row in done if not any('/' in key for key in row)]
    return lines + [f'No trial has the metric `{m}` that the grid asks for.{closest(m, known)}'
                    for m in grid.metrics if known and m not in known]


def is_all_done(grid: Grid, rows: list[dict], only: str | None = None) -> bool:
    """Whether all trials that a pattern asks for are done; without a pattern all trials."""
    asked = {trial.name for trial in grid.trials if is_wanted(trial, only)}
    return all(row['status'] == 'done' for row in rows if row['trial'] in asked)
