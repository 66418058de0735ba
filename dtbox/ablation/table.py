"""The table of a grid: a row a trial, read from the trials' folders, and results.csv."""
from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from dtbox.ablation.columns import FACTS, FIRST, TAKEN
from dtbox.ablation.trial import read_record
from dtbox.errors import InputError
from dtbox.evaluation.info import Infos
from dtbox.evaluation.results import Results
from dtbox.markup import escape_csv
from dtbox.runs import RunFolder

if TYPE_CHECKING:
    from dtbox.ablation.grid import Grid, Trial

CHANGES = ('config_hash', 'plugin_hash', 'data_hash')
"""Hashes by which a result is no longer that of a trial."""


def read_rows(find_folder: Callable[[Trial], str], grid: Grid, hashes: dict[str, dict[str, str]] | None = None,
              running: Sequence[str] = ()) -> tuple[list[dict], Infos]:
    """Read a row for every trial of a grid, in its order: its labels, facts, hashes and metrics.

    The status is 'missing' where it has not run, and 'outdated', without metrics, where its result is that of another
    config, plugin or data.

    Args:
        find_folder: Trial -> its folder.
        grid: Grid.
        hashes: name of a trial -> its hashes as they are now; None compares with nothing.
        running: names of the trials that are running.

    Returns:
        (rows, infos): what the metrics are that occur in them.
    """
    rows, infos = [], {}
    for trial in grid.trials:
        record = read_record(find_folder(trial))
        status = record.get('status', 'missing')
        if status == 'started':
            status = 'running' if trial.name in running else 'killed'
        elif record and hashes and any(record['hashes'][part] != hashes[trial.name][part] for part in CHANGES):
            status = 'outdated'
        row = dict(trial=trial.name, folder=os.path.join('trials', trial.name), status=status,
                   reason=' '.join(record.get('reason', '').split()), **trial.labels, seed=trial.seed,
                   overrides=json.dumps({'recipe': os.path.basename(trial.base), **trial.overrides}, default=repr),
                   **{fact: record.get(fact) for fact in FACTS if fact != 'threads'}, threads=grid.threads,
                   **record.get('hashes', {}), identity=record.get('identity'))
        if status == 'done':
            results = _read_results(RunFolder(find_folder(trial)).metrics)
            row.update(results.row())
            infos.update(dict.fromkeys(results.infos))
        rows.append(row)
    return rows, Infos(infos)


def format_csv(grid: Grid, rows: list[dict]) -> str:
    """Return rows as the text of results.csv: the columns that every grid has first, its axes among them."""
    columns = [*FIRST, *grid.axes, *TAKEN[len(FIRST):]]
    columns += sorted({key for row in rows for key in row} - set(columns))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow(map(escape_csv, columns))
    for row in rows:
        values = (row.get(column) for column in columns)
        writer.writerow('' if v is None else repr(v) if isinstance(v, float) else escape_csv(v) for v in values)
    return text.getvalue()


def _read_results(path):
    """Return the Results of a trial, empty ones where they are missing or cannot be read."""
    try:
        return Results.read(path) or Results({})
    except InputError:
        return Results({})
