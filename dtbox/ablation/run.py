"""Run a grid: check every variant, plan, start trials as workers become free, keep the table up to date."""
import fnmatch
import os
import signal
import time
from contextlib import contextmanager
from dataclasses import dataclass

from mmengine.logging import MMLogger

from dtbox.ablation.engines import make_engine
from dtbox.ablation.folder import GridFolder
from dtbox.ablation.identity import code_hash, config_hash, data_hash, plugin_hash
from dtbox.ablation.progress import Progress, clock
from dtbox.config import resolve
from dtbox.errors import InputError, closest, reason

POLL = 0.1
"""Seconds between two looks at the running trials."""


@dataclass(frozen=True)
class Planned:
    """A trial and what is to be done with it: keep, continue, redo or new (see GridFolder.state)."""
    trial: object
    what: str
    hashes: dict
    record: dict


def run_grid(grid, folder, engine='local', workers=None, address=None, resume=False, only=None, accept_code_change=False, dry_run=False,
             command='', options=None, console=None):
    """Run the trials of a grid that have no result yet.

    Args:
        grid: Grid.
        folder: of the grid: new, or with `resume` one that this grid has been started in.
        engine, workers, address: see `make_engine`.
        resume: continue.
        only: pattern (shell style) on the trials' names; others are left as they are.
        accept_code_change: with `resume`, keep results of other code than this one.
        dry_run: check and plan, start nothing and write nothing.
        command: as typed, kept in grid.json.
        options: overrides as given, kept in grid.json for a later `resume`.
        console: see Progress.

    Returns:
        (plan, rows): list of Planned; rows of the table (see GridFolder.rows), None for a dry run.

    Raises:
        InputError: as `make_plan` and `make_engine`; a folder of another grid; a disk that is full.
    """
    begun = time.time()
    folder = GridFolder(folder)
    folder.check(grid, resume)
    plan = make_plan(grid, folder, only, accept_code_change)
    if dry_run:
        return plan, None
    engine = make_engine(engine, grid.threads, workers, address)
    todo = [p for p in plan if p.what != 'keep' and _wanted(p.trial, only)]
    try:
        with _disk(folder.path), folder.lock(), Progress(grid, len(todo), engine.workers, console) as progress:
            folder.write_about(grid, command, options={k: repr(v) for k, v in (options or {}).items()}, workers=engine.workers)
            if engine.remark:
                progress.say(engine.remark)
            spent = Work(grid, folder, engine, progress, time.time() - begun).run(todo)
            rows = folder.write_table(grid)
            folder.write_about(grid, command, seconds=round(folder.about().get('seconds', 0) + time.time() - begun, 1), bookkeeping=spent)
    finally:
        engine.close()
    return plan, rows


def make_plan(grid, folder, only=None, accept_code_change=False):
    """Check that every variant can be built, and say what is to be done with every trial.

    Raises:
        InputError: a variant that cannot be built, `only` matches nothing, or results of other code.
    """
    if only and not any(_wanted(t, only) for t in grid.trials):
        raise InputError(f'`{only}` matches no trial.{closest(only, [t.name for t in grid.trials])} The trials are: '
                         f'{", ".join(t.name for t in grid.trials[:12])}{", ..." if len(grid.trials) > 12 else ""}.', '--only')
    code, data, plan = code_hash(), {}, []
    for trial in grid.trials:
        variant = trial.name.rpartition('__seed')[0]
        if variant not in data:
            data[variant] = check_variant(trial)
        hashes = dict(config_hash=config_hash(trial.config), code_hash=code, plugin_hash=plugin_hash(trial.config), data_hash=data[variant])
        what, record = folder.state(trial, hashes)
        plan.append(Planned(trial, what, hashes, record))
    other = [p for p in plan if p.what != 'new' and p.record and p.record['status'] != 'failed' and p.record['hashes']['code_hash'] != code]
    if other and not accept_code_change:
        raise InputError(f'dtbox has changed since {len(other)} trial{"s" * (len(other) > 1)} of {folder.path} ran (code '
                         f'{other[0].record["hashes"]["code_hash"]}, now {code}): {", ".join(p.trial.name for p in other[:5])}'
                         f'{", ..." if len(other) > 5 else ""}. Restore that code, start anew in another folder (--work-dir DIR), or keep these '
                         'results as they are, each with its hash: --resume --accept-code-change.')
    return plan


def check_variant(trial):
    """Build all that a trial's run needs, once a variant, before anything starts; returns its data hash."""
    from dtbox.training.ready import build_run
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel('WARNING')  # what data sets say of themselves is of no interest here
    try:
        built = build_run(resolve(trial.config), trial.seed)
    except InputError as e:
        raise InputError(f'{e.message} (trial {trial.name}, recipe {os.path.basename(trial.base)})', e.where) from e
    except Exception as e:
        raise InputError(f'the trial {trial.name} (recipe {os.path.basename(trial.base)}) cannot be built with {trial.overrides}: {reason(e)}') from e
    finally:
        logger.setLevel(level)
    heldout = built.parts['val']
    return data_hash(trial.config, built.parts['train'].dataset, heldout.dataset if heldout is not None else None)


def _wanted(trial, only):
    return not only or fnmatch.fnmatch(trial.name, only) or fnmatch.fnmatch(trial.name, f'*{only}*')


@contextmanager
def _disk(path):
    """Turn what a disk refuses into a sentence; everything that was written is whole."""
    try:
        yield
    except OSError as e:
        raise InputError(f'cannot write to {path}: {e.strerror or e}. The trials that finished are kept; mend that, then continue with '
                         '--resume.') from e


class Work:
    """The trials of one start, as workers become free.

    Args:
        grid, folder, engine, progress: Grid, GridFolder, engine and Progress.
        setup: seconds that planning took.
    """

    def __init__(self, grid, folder, engine, progress, setup=0.0):
        self.grid, self.folder, self.engine, self.progress = grid, folder, engine, progress
        self.setup, self.busy, self.running = setup, 0.0, {}

    def run(self, todo):
        """Run a list of Planned; returns dict of the seconds spent on bookkeeping and in trials."""
        waiting, begun, asleep, started = list(todo), time.time(), 0.0, 0
        hours, most, minutes = (self.grid.budget.get(k, float('inf')) for k in ('hours', 'trials', 'trial_minutes'))
        with _stopping_signals():
            try:
                while waiting or self.running:
                    within = time.time() - begun < hours * 3600 and started < most
                    while waiting and within and len(self.running) < self.engine.workers and started < most:
                        self._start(waiting.pop(0))
                        started += 1
                    if not self.running:
                        break
                    time.sleep(POLL)
                    asleep += POLL
                    self._collect(minutes * 60)
            except BaseException:
                self._stop_all()
                raise
        if waiting:
            self.progress.say(f'{len(waiting)} trials were not started: the budget ({self.grid.budget}) is used up. --resume goes on.')
        spent = self.setup + max(0.0, time.time() - begun - asleep)
        return dict(seconds=round(spent, 2), trials=round(self.busy, 2))

    def _start(self, planned):
        path = self.folder.begin(planned.trial, planned.hashes, planned.what)
        self.running[planned.trial.name] = (planned.trial, self.engine.start(path), time.time())
        self.progress.started(planned.trial, path, planned.what)

    def _collect(self, most):
        for name, (trial, handle, begun) in list(self.running.items()):
            code = handle.poll()
            late = code is None and time.time() - begun > most
            if late:
                handle.stop()
            if code is None and not late:
                continue
            del self.running[name]
            self.busy += time.time() - begun
            record = self.folder.end(trial, *(('timeout', f'it took longer than {most / 60:g} minutes') if late else how_it_ended(code)))
            self.progress.finished(trial, record, self.folder.write_table(self.grid))
            if record.get('stale'):
                raise InputError(f'{record["reason"]}: it changed while the grid ran, which was stopped. Keep dtbox, plugins and data as they are '
                                 'while a grid runs (a clone of its own helps), then continue with --resume.')

    def _stop_all(self):
        for trial, handle, _ in self.running.values():
            handle.stop()
            self.folder.end(trial, 'killed', 'the grid was interrupted')
        self.folder.write_table(self.grid)


def how_it_ended(code):
    """Return (status, reason) for the exit code of a trial's process that could not say it itself."""
    if code < 0 or code > 128:
        number = -code if code < 0 else code - 128
        name = signal.Signals(number).name if number in set(signal.Signals) else f'signal {number}'
        return 'killed', f'its process was ended by {name}' + (' (out of memory?)' if number == signal.SIGKILL else '')
    return 'failed', f'its process ended with exit code {code}; see log.txt'


@contextmanager
def _stopping_signals():
    """Let a request to terminate end the grid as Ctrl-C does."""
    def stop(*_):
        raise KeyboardInterrupt
    try:
        before = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not the main thread
        before = None
    try:
        yield
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)


def plan_lines(plan):
    """Return a plan as lines for a dry run."""
    words = {'keep': 'has a result', 'new': 'to run', 'continue': 'goes on from its checkpoint',
             'redo': 'to run again (it failed, or its config, data or plugins have changed)'}
    return [f'{p.trial.name}: {words[p.what]}' + (f' ({p.record["status"]}, {clock(p.record.get("seconds") or 0)})' if p.record else '')
            for p in plan]
