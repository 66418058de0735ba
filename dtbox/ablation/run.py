"""Run a grid: start its trials as workers become free, note how each ends, keep the table up to date."""
from __future__ import annotations

import errno
import os
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Optional

from dtbox.ablation.endings import explain_exit, explain_os_errors, stop_on_sigterm
from dtbox.ablation.engines import make_engine
from dtbox.ablation.folder import GridFolder
from dtbox.ablation.plan import is_wanted, look_again, make_plan
from dtbox.ablation.planned import Planned
from dtbox.ablation.progress import Progress
from dtbox.ablation.trial import NO_ROOM
from dtbox.counts import format_count
from dtbox.errors import InputError, closest

if TYPE_CHECKING:
    from dtbox.ablation.grid import Grid

POLL = 0.1
"""Seconds between two looks at the running trials."""
SHARE = 0.01
"""Of the time, what writing the table may take while trials run."""


def run_grid(grid: Grid, folder: str, engine: str = 'local', workers: int | None = None, address: str | None = None,
             resume: bool = False, only: str | None = None, accept_code_change: bool = False, dry_run: bool = False,
             about: dict | None = None, console: Any = None) -> tuple[list[Planned], list[dict] | None]:
    """Run the trials of a grid that have no result yet.

    Args:
        grid: Grid.
        folder: of the grid: new, or with `resume` one that this grid has been started in.
        engine, workers, address: see `make_engine`.
        resume: continue.
        only: pattern (shell style) on the trials' names; others are left as they are.
        accept_code_change: with `resume`, keep results of other code than this one.
        dry_run: check and plan, start nothing and write nothing.
        about: dict of what grid.json is to tell beside the grid itself, such as the command.
        console: see Progress.

    Returns:
        (plan, rows): list of Planned; rows of the table (see GridFolder.rows), None for a dry run.

    Raises:
        InputError: as `make_plan` and `make_engine`; a folder of another grid; a disk that is full; code that changes
            meanwhile.
    """
    begun = time.monotonic()
    place = GridFolder(folder)
    with explain_os_errors(place.path):
        place.check(grid, resume)
        plan = make_plan(grid, place, only, accept_code_change)
        if dry_run:
            return plan, None
        runs = make_engine(engine, grid.threads, workers, address)
        try:
            with place.lock():
                plan = restore_results(look_again(plan, grid, place, resume, accept_code_change), place)
                todo = [p for p in plan if p.what != 'keep' and is_wanted(p.trial, only)]
                remarks = [runs.remark, _outdated(todo)]
                if resume and not place.about():
                    remarks.append(f'{place.path} holds nothing yet: the grid starts from the beginning.')
                return plan, _run_locked(grid, place, runs, plan, todo, about or {}, filter(None, remarks), console,
                                         begun)
        finally:
            runs.close()


def _run_locked(grid, folder, engine, plan, todo, about, remarks, console, begun):
    folder.wait_until_free([p.trial for p in todo])
    earlier = folder.about().get('seconds', 0)
    folder.write_about(grid, workers=engine.workers, **about)
    folder.sweep()
    most = int(grid.budget.get('trials', len(todo)))
    with Progress(plan, todo[:most], engine.workers, console) as progress:
        for remark in remarks:
            progress.say(remark)
        work = Work(grid, folder, engine, progress, {p.trial.name: p.hashes for p in plan})
        left = [*work.run(todo[:most]), *todo[most:]]
        if left:
            progress.say(f'{format_count(len(left), "trial", "was")} not started: the budget '
                         f'({", ".join(f"{k}={v}" for k, v in grid.budget.items())}) is used up. --resume continues.')
        rows = folder.write_table(grid, work.hashes)
    seconds = time.monotonic() - begun
    folder.write_about(grid, workers=engine.workers, **about, seconds=round(earlier + seconds, 1),
                       bookkeeping=dict(seconds=round(seconds - work.asleep, 2), trials=round(work.busy, 2)))
    return rows


def restore_results(plan: list[Planned], folder: GridFolder) -> list[Planned]:
    """Bring results that were set aside back to their places; returns the plan with them."""
    for p in plan:
        if p.what == 'restore':
            folder.restore(p.trial, p.hashes)
    return [replace(p, what='keep') if p.what == 'restore' else p for p in plan]


def _outdated(todo):
    count = sum(p.outdated for p in todo)
    return (
        count
        and f'{format_count(count, "trial")} with a result run again, since config, data or plugins have changed; '
            'the earlier '
        f'folder{"s are" if count > 1 else " is"} kept as NAME.1.'
    )


@dataclass
class Running:
    """A trial that has been started.

    Attributes:
        planned: Planned.
        handle: of the engine.
        record: as it was written at the start.
        begun: when its process began (seconds, monotonic), None while it waits for its turn.
    """
    planned: Planned
    handle: Any
    record: dict
    begun: Optional[float] = None

    def seconds(self) -> float:
        """Return how long it has been running."""
        if self.begun is None and self.handle.has_begun():
            self.begun = time.monotonic()
        return 0.0 if self.begun is None else time.monotonic() - self.begun


class Work:
    """The trials of one start, as workers become free.

    Args:
        grid, folder, engine, progress: Grid, GridFolder, engine and Progress.
        hashes: name of a trial -> its hashes.

    Attributes:
        busy: seconds that trials took, all workers together.
        asleep: seconds in which there was nothing to do but wait for them.
    """

    def __init__(self, grid: Grid, folder: GridFolder, engine: Any, progress: Progress,
                 hashes: dict[str, dict[str, str]]):
        self.grid = grid
        self.folder = folder
        self.engine = engine
        self.progress = progress
        self.hashes = hashes
        self.busy = 0.0
        self.asleep = 0.0
        self.running = {}
        self.named = not grid.metrics
        self.rows = folder.write_table(grid, hashes)
        self.due = 0.0
        self.behind = False
        progress.show_best(grid, self.rows, folder.infos)

    def run(self, todo: list[Planned]) -> list[Planned]:
        """Run a list of Planned; returns those that the hours of the budget did not suffice for."""
        waiting, end = list(todo), time.monotonic() + self.grid.budget.get('hours', float('inf')) * 3600
        with stop_on_sigterm():
            try:
                while True:
                    while waiting and len(self.running) < self.engine.workers and time.monotonic() < end:
                        self._start(waiting.pop(0))
                    if not self.running:
                        return waiting
                    before = time.monotonic()
                    time.sleep(POLL)
                    self.asleep += time.monotonic() - before
                    self._collect()
                    if self.behind:
                        self._table()
            except BaseException:
                self._stop_all()
                raise

    def _start(self, planned):
        record = self.folder.begin(planned.trial, planned.hashes, planned.what)
        path = self.folder.trial(planned.trial)
        self.running[planned.trial.name] = one = Running(planned, self.engine.start(path), record)
        one.seconds()  # its clock begins
        self.progress.started(planned.trial, path, record)
        self._table()

    def _collect(self):
        most = self.grid.budget.get('trial_minutes', float('inf'))
        for name, one in list(self.running.items()):
            code, seconds = one.handle.poll(), one.seconds()
            late = code is None and seconds > most * 60
            if late:
                one.handle.stop()
            elif code is None:
                continue
            del self.running[name]
            self.busy += seconds
            how = ('timeout', f'it took longer than {most:g} minutes') if late else explain_exit(code, one.handle.why)
            record = self.folder.end(one.planned.trial, one.record, seconds, *how)
            self.progress.show_best(self.grid, self._table(), self.folder.infos)
            self.progress.finished(one.planned.trial, record)
            self._check_names(one.planned.trial, record)
            if record.get('stale'):
                raise InputError(f'{record["reason"]}: it changed while the grid ran, which was stopped. Keep dtbox, '
                                 'plugins and data as they are while a grid runs (a clone of its own helps), then '
                                 'continue with --resume.')
            if code == NO_ROOM:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _check_names(self, trial, record):
        """Tell of headline metrics that the first trial to finish does not have: a typo, most likely."""
        if self.named or record['status'] != 'done':
            return
        self.named = True
        there = [k for row in self.folder.rows(self.grid) if row['trial'] == trial.name for k in row if '/' in k]
        for name in self.grid.metrics:
            if name not in there:
                self.progress.say(f'`{name}`, one of the metrics of the grid, is not among those of '
                                  f'{trial.name}.{closest(name, there)}')

    def _table(self):
        """Write the table and return its rows; those of the last time where trials are so many and short that it would
        cost their time: then it is written a little later."""
        before = time.monotonic()
        self.behind = before < self.due
        if not self.behind:
            self.rows = self.folder.write_table(self.grid, self.hashes, self.running)
            self.due = time.monotonic() + (time.monotonic() - before) / SHARE
        return self.rows

    def _stop_all(self):
        """Stop all processes before anything is written: the disk may be what is wrong."""
        for one in self.running.values():
            one.handle.stop()
        for one in self.running.values():
            self.folder.end(one.planned.trial, one.record, one.seconds(), 'killed', 'the grid was interrupted')
        self.folder.write_table(self.grid, self.hashes)
