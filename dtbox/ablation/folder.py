"""The folder of a grid: grid.json, results.csv, and trials/NAME/, each trial a run folder with trial.json and log.txt
beside."""
from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dtbox.ablation.machine import count_cores, read_processor_name
from dtbox.ablation.table import CHANGES, format_csv, read_rows
from dtbox.ablation.trial import read_record, write_record
from dtbox.config.text import dump_config
from dtbox.counts import format_count
from dtbox.errors import InputError
from dtbox.evaluation.info import Infos
from dtbox.files import LEFTOVER, move_aside, parse_json, remove_leftovers, require_file, write_atomic
from dtbox.locks import Locked, wait_until_free
from dtbox.runs import RunFolder

if TYPE_CHECKING:
    from dtbox.ablation.grid import Grid, Trial

FORMAT = 1


class GridFolder:
    """The state of a grid on disk. Only the process that holds its lock writes.

    Args:
        path: the folder; made when it is first written to.

    Attributes:
        infos: what the metrics of the trials are, as far as `rows` has met them.
    """

    def __init__(self, path: str):
        self.path, self.infos = os.path.normpath(path), Infos()

    def file(self, name: str) -> str:
        """Return the path of a file or folder in here."""
        return os.path.join(self.path, name)

    def trial(self, trial: Trial) -> str:
        """Return the folder of a Trial."""
        return self.file(os.path.join('trials', trial.name))

    def about(self) -> dict:
        """Return grid.json as a dict; {} where there is none."""
        path = self.file('grid.json')
        try:
            require_file(path)
            with open(path, encoding='utf-8') as f:
                about = parse_json(f.read())
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except (OSError, ValueError) as e:
            raise InputError(f'{path} cannot be read ({e}). Give another folder: --work-dir DIR.') from e
        if not isinstance(about, dict) or not isinstance(about.get('format'), int):
            raise InputError(f'{path} was not written by dtbox. Give another folder: --work-dir DIR.')
        if about['format'] > FORMAT:
            raise InputError(f'{path} has format {about["format"]}; this version of dtbox knows up to {FORMAT}. '
                             'Install a newer dtbox.')
        return about

    def check(self, grid: Grid, resume: bool) -> None:
        """Raise `InputError` unless a grid may run here: the folder is new, or holds this grid and `resume` is set."""
        if os.path.exists(self.path) and not os.path.isdir(self.path):
            raise InputError(f'{self.path} is a file. Give a folder that is new or holds this grid: --work-dir DIR.')
        about = self.about() if os.path.isdir(self.path) else {}
        if not about:
            if self._others():
                raise InputError(f'{self.path} holds files, but no grid (no grid.json). Give another folder: '
                                 '--work-dir DIR.')
            return
        if about['name'] != grid.name or set(about['axes']) != set(grid.axes):
            raise InputError(f'{self.path} holds the results of another grid: `{about["name"]}` with the axes '
                             f'{", ".join(about["axes"])}; this one is `{grid.name}` with {", ".join(grid.axes)}. '
                             'Give another folder: --work-dir DIR.')
        if not resume:
            done = sum(read_record(self.trial(trial)).get('status') == 'done' for trial in grid.trials)
            raise InputError(f'{self.path} holds this grid already, with {format_count(done, "finished trial")}. '
                             'Continue it with --resume, or start again in another folder: --work-dir DIR.')

    def _others(self):
        """Return what lies in the folder beside that which a start that was killed at once leaves."""
        found = set(os.listdir(self.path)) if os.path.isdir(self.path) else set()
        if os.path.isdir(self.file('trials')) and not os.listdir(self.file('trials')):
            found.discard('trials')
        return {name for name in found - {'.lock'} if not LEFTOVER.fullmatch(name)}

    def lock(self) -> Locked:
        """Return the lock of this grid, to hold while it runs."""
        os.makedirs(self.file('trials'), exist_ok=True)
        return Locked(self.file('.lock'), 'the grid')

    def wait_until_free(self, trials: Sequence[Trial], seconds: float = 10) -> None:
        """Wait for what a grid that was killed has left running; raise `InputError` where it does not end.

        Args:
            trials: list of Trial.
            seconds: to wait.
        """
        for trial in trials:
            if pid := wait_until_free(RunFolder(self.trial(trial)).trial_lock, seconds):
                raise InputError(f'the trial {trial.name} is still running in another process (pid {pid}). Wait for '
                                 'it, or stop it.')

    def sweep(self) -> None:
        """Take away unfinished copies of grid.json and results.csv that a killed process left."""
        remove_leftovers(self.path)

    def write_about(self, grid: Grid, **more: Any) -> None:
        """Write grid.json, `more` with it; what else an earlier start has put there stays."""
        import torch

        import dtbox
        about = dict(self.about())
        about.update(
            format=FORMAT, name=grid.name, title=grid.title, description=grid.description, config=grid.path,
            place=os.path.join(os.path.realpath(os.path.dirname(grid.path)), os.path.basename(grid.path)),
            axes=grid.axes, seeds=grid.seeds, metrics=grid.metrics, reference=grid.reference,
            threads=grid.threads, started=about.get('started') or time.strftime('%Y-%m-%d %H:%M:%S'),
            machine=dict(processor=read_processor_name(), cores=count_cores(),
                         system=f'{platform.system()} {platform.machine()}',
                         gpus=[torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]),
            versions=dict(dtbox=dtbox.__version__, torch=str(torch.__version__), python=platform.python_version()),
            **more)
        if 'command' in more:  # what was typed first says what the grid is; a later --resume does not
            about['command'] = about.setdefault('commands', [more['command']])[0]
            if about['commands'][-1] != more['command']:
                about['commands'].append(more['command'])
        write_atomic(self.file('grid.json'), json.dumps(about, indent=1) + '\n')

    # ---- trials -----------------------------------------------------------------------------------------------

    def state(self, trial: Trial, hashes: dict[str, str]) -> tuple[str, dict]:
        """Say what is to be done with a trial.

        Returns:
            (what, record): 'keep' a result, 'restore' one that was set aside when something changed that has changed
            back, 'continue' from a checkpoint, 'redo' what failed or has changed, or run what is 'new'.
        """
        what, record = self._state(trial, hashes)
        if what == 'redo' and (aside := self._aside(trial, hashes)):
            return 'restore', read_record(aside)
        return what, record

    def _aside(self, trial, hashes):
        """Return the folder NAME.1, NAME.2, ... that holds a result of just these hashes, or None."""
        folder, number = self.trial(trial), 1
        while os.path.isdir(f'{folder}.{number}'):
            record = read_record(f'{folder}.{number}')
            if record.get('status') in ('done', 'diverged') and record['hashes'] == hashes:
                return f'{folder}.{number}'
            number += 1
        return None

    def restore(self, trial: Trial, hashes: dict[str, str]) -> None:
        """Let a result that was set aside change places with what is there now."""
        aside, folder = self._aside(trial, hashes), self.trial(trial)
        spare = f'{aside}.swap'
        os.rename(aside, spare)
        os.rename(folder, aside)
        os.rename(spare, folder)

    def _state(self, trial, hashes):
        record = read_record(self.trial(trial))
        if not record:
            return ('redo' if os.path.isdir(self.trial(trial)) and os.listdir(self.trial(trial)) else 'new'), record
        if any(record['hashes'][part] != hashes[part] for part in CHANGES):
            return 'redo', record
        if record['status'] in ('done', 'diverged'):
            return 'keep', record
        same = record['hashes']['code_hash'] == hashes['code_hash']
        return ('continue' if same and not has_failed(record) else 'redo'), record

    def begin(self, trial: Trial, hashes: dict[str, str], what: str) -> dict:
        """Make a trial's folder ready to run, and return its record; an earlier attempt that cannot be continued is
        kept as NAME.1."""
        folder = self.trial(trial)
        if what == 'continue':
            remove_leftovers(folder)
            record = read_record(folder)
            dump_config(trial.config, RunFolder(folder).config)  # the trial trusts what the grid has written
            record['seconds_before'] = _useful_seconds(folder, record)
            for key in ('seconds', 'stale'):
                record.pop(key, None)
        else:
            move_aside(folder)
            os.makedirs(folder, exist_ok=True)
            run = RunFolder(folder)
            dump_config(trial.config, run.config)
            run.write_origin()
            record = dict(trial=trial.name, labels=trial.labels, seed=trial.seed,
                          overrides={k: repr(v) for k, v in trial.overrides.items()},
                          recipe=os.path.basename(trial.base), hashes=hashes, attempts=0)
        record.update(status='started', reason='', begun=time.time(), attempts=record['attempts'] + 1)
        write_record(folder, record)
        return record

    def end(self, trial: Trial, begun: dict, seconds: float, status: str, reason: str) -> dict:
        """Note how a trial's process ended, where it did not do so itself; returns its record.

        Args:
            trial: Trial.
            begun: record that `begin` returned.
            seconds: since then.
            status, reason: of a process that left no result.
        """
        record = read_record(self.trial(trial)) or dict(begun)
        if record['status'] == 'started':
            record.update(status=status, reason=reason, seconds=round(record.get('seconds_before', 0) + seconds, 2))
            write_record(self.trial(trial), record)
        return record

    # ---- the table --------------------------------------------------------------------------------------------

    def rows(self, grid: Grid, hashes: dict[str, dict[str, str]] | None = None,
             running: Sequence[str] = ()) -> list[dict]:
        """Return a dict for every trial of the grid, in its order: see `dtbox.ablation.table.read_rows`."""
        rows, self.infos = read_rows(self.trial, grid, hashes, running)
        return rows

    def write_table(self, grid: Grid, hashes: dict[str, dict[str, str]] | None = None,
                    running: Sequence[str] = ()) -> list[dict]:
        """Write results.csv; returns its rows (see `rows`)."""
        rows = self.rows(grid, hashes, running)
        write_atomic(self.file('results.csv'), format_csv(grid, rows))
        about, infos = self.about(), [info.to_dict() for info in self.infos.infos]
        # the report describes the metrics by them, also where trials are gone
        if about and infos and about.get('infos') != infos:
            write_atomic(self.file('grid.json'), json.dumps(dict(about, infos=infos), indent=1) + '\n')
        return rows


def has_failed(record: dict) -> bool:
    """Whether an attempt is not worth resuming: it failed, and not because something changed before it could resume."""
    return record['status'] == 'failed' and not (record.get('stale') and record.get('seconds_before'))


def _useful_seconds(folder, record):
    """Return how long the attempts took up to the last checkpoint, which is where the next one resumes."""
    path = RunFolder(folder).checkpoint
    if not os.path.isfile(path):
        return 0.0
    return round(record.get('seconds_before', 0) + max(0.0, os.path.getmtime(path) - record['begun']), 2)
