"""How far a grid is: a line an event, and on a terminal a live table below."""
from __future__ import annotations

import heapq
import os
import re
import time
from dataclasses import dataclass
from statistics import mean
from typing import Any

from dtbox.ablation.grid import Grid, Trial
from dtbox.ablation.planned import Planned
from dtbox.ablation.summary import describe_best
from dtbox.evaluation.info import Infos
from dtbox.runs import RunFolder

LEFT = re.compile(r'\[[0-9]+/[0-9]+\] left ([0-9]+):([0-9]+):([0-9]+).*')
"""What the Log hook writes."""


@dataclass
class Shown:
    """A trial that runs.

    Attributes:
        variant: its labels.
        begun: when it would have begun, had it run in one go (seconds, monotonic).
        log: path of its log.
        before: size of that before this attempt.
    """
    variant: tuple
    begun: float
    log: str
    before: int

    def elapsed(self) -> float:
        """Return for how long it has run, the useful part of earlier attempts with it."""
        return time.monotonic() - self.begun


class Progress:
    """Show a grid's progress.

    Args:
        plan: list of Planned, all of the grid.
        todo: those that are to run now.
        workers: trials at a time.
        console: rich.console.Console; None writes to stdout.
    """

    def __init__(self, plan: list[Planned], todo: list[Planned], workers: int, console: Any = None):
        from rich.console import Console
        self.workers, self.console = workers, console or Console(highlight=False)
        self.waiting = [p.trial for p in todo]
        self.running = {}
        self.ended = {}
        kept = [p for p in plan if p.what == 'keep']
        self.total = len(todo)
        self.kept = len(kept)
        self.seconds = {}
        for p in kept:
            self._learn(p.trial, p.record)
        self.live, self.best = None, ''

    def __enter__(self):
        if self.console.is_terminal:
            from rich.live import Live
            self.live = Live(get_renderable=self.table, console=self.console, refresh_per_second=1, transient=True)
            self.live.__enter__()
        return self

    def __exit__(self, *error):
        if self.live:
            self.live.__exit__(*error)

    def say(self, text: str) -> None:
        """Write a line that stays."""
        self.console.print(text, markup=False, soft_wrap=True)

    def show_best(self, grid: Grid, rows: list[dict], infos: Infos | None = None) -> None:
        """Take the best of the table's rows as the best so far; `infos` say which way is better."""
        self.best = describe_best(grid, rows, infos)

    def started(self, trial: Trial, folder: str, record: dict) -> None:
        """Note a trial that has begun, with its folder and record."""
        log = RunFolder(folder).console
        before = os.path.getsize(log) if os.path.isfile(log) else 0
        self.waiting.remove(trial)
        self.running[trial.name] = Shown(get_variant(trial), time.monotonic() - record.get('seconds_before', 0), log,
                                         before)
        if not self.live:
            self.say(f'started  {trial.name}'
                     + (' (resumes from its checkpoint)' if record.get('seconds_before') else ''))

    def finished(self, trial: Trial, record: dict) -> None:
        """Note a trial that has ended, with its record."""
        del self.running[trial.name]
        self.ended[record['status']] = self.ended.get(record['status'], 0) + 1
        self._learn(trial, record)
        left = self.left()
        why = f': {" ".join(record["reason"].split())}' if record['reason'] else ''
        self.say(f'{record["status"]:<8} {trial.name}{why}  '
                 f'[{self.counts()}{f", {format_clock(left)} left" if left and left >= 1 else ""}]'
                 + (f'  best so far: {self.best}' if self.best and not self.live else ''))

    def _learn(self, trial, record):
        if record['status'] == 'done' and record.get('seconds'):
            self.seconds.setdefault(get_variant(trial), []).append(record['seconds'])

    def counts(self) -> str:
        """Return how many trials are done, running, failed, waiting, and how many had a result before."""
        done = self.ended.get('done', 0)
        parts = [f'{done} of {self.total} done', f'{len(self.running)} running', f'{sum(self.ended.values()) - done} '
                                                                                 'failed',
                 f'{len(self.waiting)} waiting', *([f'{self.kept} from before'] if self.kept else [])]
        return ', '.join(parts)

    def left(self) -> float | None:
        """Return the seconds that the rest will take, None where nothing tells.

        A trial is taken to need what its variant needed in other seeds, or else the mean of all trials; where none has
        finished yet, what the logs of the running ones say. The waiting ones are dealt out to the workers in their
        order.
        """
        # the live table asks from a thread of its own
        seconds, running = dict(self.seconds), list(self.running.values())
        known = {labels: mean(times) for labels, times in seconds.items()}
        usual = mean(s for times in seconds.values() for s in times) if known else _read_left(running)
        if usual is None:
            return None
        ends = [max(0.0, known.get(one.variant, usual) - one.elapsed()) for one in running]
        ends += [0.0] * (self.workers - len(ends))
        heapq.heapify(ends)
        for trial in self.waiting:
            heapq.heapreplace(ends, ends[0] + known.get(get_variant(trial), usual))
        return max(ends)

    def table(self) -> Any:
        """Return the live table, what matters most on top: a low terminal cuts the end."""
        from rich.console import Group
        from rich.text import Text
        left, running = self.left(), list(self.running.items())
        width = max([len(name) for name, _ in running], default=0)
        rows = [f'{name:<{width}}  {format_clock(one.elapsed())}  {read_progress(one.log, one.before)[0]}'
                for name, one in running]
        head = f'{self.counts()}{f", {format_clock(left)} left" if left is not None else ""}'
        return Group(Text(head, style='bold'), *(Text(line, no_wrap=True, overflow='ellipsis') for line in
                                                 ([f'best so far: {self.best}'] if self.best else []) + rows))


def _read_left(running):
    whole = [one.elapsed() + left for one in running if (left := read_progress(one.log, one.before)[1]) is not None]
    return mean(whole) if whole else None


def get_variant(trial: Trial) -> tuple[str, ...]:
    """Return what seeds of the same variant share: the labels."""
    return tuple(trial.labels.values())


def read_progress(path: str, before: int = 0, most: int = 60) -> tuple[str, float | None]:
    """Return the last report of iterations in a log, as (text of at most `most` characters, seconds left or None).

    Args:
        path: of the log.
        before: bytes to leave out: of earlier attempts.
    """
    try:
        with open(path, 'rb') as f:
            f.seek(max(before, os.path.getsize(path) - 4000))
            reports = list(LEFT.finditer(f.read().decode('utf-8', 'replace')))
    except OSError:
        reports = []
    if not reports:
        return 'starting', None
    hours, minutes, seconds = map(int, reports[-1].groups())
    return reports[-1].group()[:most], (hours * 60 + minutes) * 60.0 + seconds


def format_clock(seconds: float) -> str:
    """Return seconds as h:mm:ss."""
    seconds = int(seconds)
    return f'{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}'
