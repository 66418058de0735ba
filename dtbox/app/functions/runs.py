"""The tab Runs: curves and scores of finished and running runs, the progress of grids, and their report pages.

Everything is read from disk when it is asked for: a run that still trains shows its last row.
"""
from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from dtbox.ablation.folder import GridFolder
from dtbox.ablation.progress import read_progress
from dtbox.ablation.trial import read_record
from dtbox.counts import format_count
from dtbox.drawing.curves import draw_curves
from dtbox.errors import InputError
from dtbox.report.run_files import read_results
from dtbox.rows import read_rows
from dtbox.runs import RunFolder


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        name: of the run.
        state: in words.
        iteration: the last one that was logged; None where there is none.
    """
    name: str
    state: str
    iteration: int | None

    @property
    def row(self) -> list[str]:
        """The line of the table."""
        return [self.name, self.state, '' if self.iteration is None else f'{self.iteration:,}']


def need_folder(folder: str) -> RunFolder:
    """Return a run folder; `InputError` where it has gone."""
    if not os.path.isdir(folder):
        raise InputError(f'the folder {folder} is not there any more, or is none: it may have been moved or removed '
                         'since the page was opened. Start the page again with the folder where it is now.')
    return RunFolder(folder)


def is_grid(folder: str) -> bool:
    """Whether a folder is that of a grid."""
    return os.path.isfile(GridFolder(folder).file('grid.json'))


def read_run(folder: str) -> Progress:
    """Return how far a run is; `InputError` where its folder has gone."""
    run = need_folder(folder)
    rows = read_rows(run.history)
    iteration = int(rows[-1]['iteration']) if rows else None
    status = read_record(folder).get('status')
    if status and status != 'running':
        return Progress(run.name, str(status), iteration)
    if os.path.isfile(run.metrics):
        return Progress(run.name, 'finished', iteration)
    consoles = run.list_consoles()
    return Progress(run.name, read_progress(consoles[0])[0] if consoles else 'no log', iteration)


def read_grid(folder: str) -> tuple[str, list[Progress]]:
    """Return the state of a grid: (a sentence, its trials that have begun); `InputError` where its folder has gone."""
    need_folder(folder)
    grid = GridFolder(folder)
    about, trials = grid.about(), grid.file('trials')
    names = sorted(os.listdir(trials)) if os.path.isdir(trials) else []
    found = [read_run(os.path.join(trials, name)) for name in names if os.path.isdir(os.path.join(trials, name))]
    done = sum(one.state == 'done' for one in found)
    failed = sum(one.state in ('failed', 'diverged', 'killed', 'timeout') for one in found)
    rest = f', {failed} failed' if failed else ''
    name = about.get('name', os.path.basename(folder))
    return f'{name}: {format_count(len(found), "trial", "has")} begun, {done} done{rest}', found


def list_scores(folder: str) -> list[list[str]]:
    """Return (set and metric, value, stamp) of a run as texts; [] where nothing was measured."""
    need_folder(folder)
    _, metrics, stamps, _ = read_results(folder)
    return [[name, f'{value:.5g}', stamps.get(name, '')] for name, value in metrics.items()]


def draw_history(folder: str, path: str) -> bool:
    """Draw the curves of a run into a PNG file; returns whether there was anything to draw."""
    run = need_folder(folder)
    rows = read_rows(run.history)
    if not rows:
        return False
    draw_curves(rows, path, f'{run.name}: {format_count(len(rows), "row")} of its history')
    return True


def find_reports(folders: Sequence[str]) -> dict[str, str]:
    """Return title -> folder of the report pages in some folders (report/index.html), and of diagnoses with a page."""
    found = {}
    for folder in folders:
        name = os.path.basename(os.path.normpath(folder))
        places = {f'{name}: report': os.path.join(folder, 'report')}
        diagnoses = RunFolder(folder).diagnostics
        for one in sorted(os.listdir(diagnoses)) if os.path.isdir(diagnoses) else []:
            places[f'{name}: {one}'] = os.path.join(diagnoses, one)
        found.update({title: place for title, place in places.items()
                      if os.path.isfile(os.path.join(place, 'index.html'))})
    return found
