"""What a start of a grid is to do: every variant is checked, and every trial kept, continued, run again or run."""
from __future__ import annotations

import fnmatch
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mmengine.logging import MMLogger

from dtbox.ablation.folder import has_failed
from dtbox.ablation.grid import Grid, Trial
from dtbox.ablation.identity import hash_code, hash_config, hash_files, hash_plugins, hash_sets
from dtbox.ablation.needs import find_lacking, refuse_lacking
from dtbox.ablation.planned import Planned
from dtbox.ablation.progress import format_clock
from dtbox.ablation.table import CHANGES
from dtbox.ablation.trial import read_record
from dtbox.config import resolve
from dtbox.counts import format_count
from dtbox.errors import InputError, closest, reason
from dtbox.evaluation import Infos, SetEvaluator
from dtbox.evaluation.names import split_set

if TYPE_CHECKING:
    from dtbox.ablation.folder import GridFolder

WORDS = {'keep': 'has a result', 'new': 'to run', 'continue': 'resumes where it was cut short', 'redo': 'to run again',
         'restore': 'has a result, in a folder that was set aside'}
FINISHED = ('keep', 'restore')
"""What is to be done with a trial that has a result."""


def make_plan(grid: Grid, folder: GridFolder, only: str | None = None,
              accept_code_change: bool = False) -> list[Planned]:
    """Check that every variant can be built, and say what is to be done with every trial.

    Raises:
        InputError: a variant that cannot be built, `only` matches nothing, a trial that is to run without the run that
            it starts from, or results of other code.
    """
    if only and not any(is_wanted(t, only) for t in grid.trials):
        raise InputError(f'`{only}` matches no trial.{closest(only, [t.name for t in grid.trials])} The trials are: '
                         f'{", ".join(t.name for t in grid.trials[:12])}{", ..." if len(grid.trials) > 12 else ""}.',
                         '--only')
    code = hash_code()
    sets: dict[tuple, list[str]] = {}
    infos: dict[tuple, Infos] = {}
    plan = []
    for trial in grid.trials:
        variant, lacking = tuple(trial.labels.values()), find_lacking(trial.needs)
        if variant not in sets and not lacking:
            sets[variant], infos[variant] = check_variant(trial)
        # of a run that is gone nothing can be hashed: a result that was made from it stays
        data = _earlier_data(folder, trial) if lacking else hash_files(trial.config, sets[variant])
        hashes = dict(config_hash=hash_config(trial.config), code_hash=code, plugin_hash=hash_plugins(trial.config),
                      data_hash=data)
        plan.append(Planned(trial, *folder.state(trial, hashes), hashes))
        if plan[-1].what not in FINISHED and is_wanted(trial, only):
            refuse_lacking(trial.name, lacking)
    if len(infos) == len({tuple(trial.labels.values()) for trial in grid.trials}):
        check_metric_names(grid.metrics, list(infos.values()))
    refuse_other_code(plan, folder, accept_code_change)
    return plan


def _earlier_data(folder, trial):
    return read_record(folder.trial(trial)).get('hashes', {}).get('data_hash', '')


def check_metric_names(names: Sequence[str], infos: Sequence[Infos]) -> None:
    """Raise `InputError` for a metric SET/NAME that none of the variants has.

    Args:
        names: metrics of a grid.
        infos: what the metrics of each variant are.
    """
    known = [f'{name.partition("/")[0]}/{info.name}' for name in names for one in infos for info in one.infos]
    for name in names:
        value = split_set(name)[1]
        if '@' not in value and not any(one.knows(value) for one in infos):
            raise InputError(f'no variant has the metric `{name}`.{closest(name, known)} The grid names it in '
                             '`metrics`.',
                             'metrics')


def look_again(plan: list[Planned], grid: Grid, folder: GridFolder, resume: bool,
               accept_code_change: bool = False) -> list[Planned]:
    """Return a plan as it is now that the folder is locked: until then another process may have run trials of it.

    Raises:
        InputError: as `GridFolder.check`; results of other code.
    """
    folder.check(grid, resume)
    plan = [Planned(p.trial, *folder.state(p.trial, p.hashes), p.hashes) for p in plan]
    refuse_other_code(plan, folder, accept_code_change)
    return plan


def refuse_other_code(plan: list[Planned], folder: GridFolder, accept: bool) -> None:
    """Raise `InputError` where trials have run with other code than this, unless that is accepted."""
    other = [p for p in plan if p.record and not has_failed(p.record) and p.record['hashes']['code_hash']
             != p.hashes['code_hash']]
    if other and not accept:
        hashes = other[0].record['hashes']['code_hash'], other[0].hashes['code_hash']
        raise InputError(f'dtbox has changed since {format_count(len(other), "trial")} of {folder.path} ran '
                         f'(code {hashes[0]}, now {hashes[1]}): '
                         f'{", ".join(p.trial.name for p in other[:5])}{", ..." if len(other) > 5 else ""}. Restore '
                         'that code, start again in another folder (--work-dir DIR), or keep these results as they '
                         'are, each with its hash: --resume --accept-code-change.')


def check_variant(trial: Trial) -> tuple[list[str], Infos]:
    """Build all that a trial's run needs, once a variant, before anything starts; returns `hash_sets` of its data and
    what its metrics are."""
    from dtbox.training.startup import build_run
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel('WARNING')  # what data sets say of themselves is of no interest here
    try:
        built = build_run(resolve(trial.config), trial.seed)
    except InputError as e:
        raise InputError(f'{e.message} (trial {trial.name}, recipe {os.path.basename(trial.base)})', e.where) from e
    except Exception as e:
        raise InputError(f'the trial {trial.name} (recipe {os.path.basename(trial.base)}) cannot be built with '
                         f'{trial.overrides}: {reason(e)}') from e
    finally:
        logger.setLevel(level)
    heldout = built.parts['val']
    described = [info for m in SetEvaluator(built.parts['metrics'], where='val_evaluator').prototypes
                 for info in m.infos()]
    return hash_sets(built.parts['train'].dataset, heldout.dataset if heldout is not None else None), Infos(described)


def is_wanted(trial: Trial, only: str | None) -> bool:
    """Whether a trial is among those that a pattern asks for; without a pattern all are."""
    return not only or fnmatch.fnmatch(trial.name, only) or fnmatch.fnmatch(trial.name, f'*{only}*')


def format_plan(plan: list[Planned]) -> list[str]:
    """Return a plan as lines for a dry run."""
    return [f'{p.trial.name}: {WORDS[p.what]}{_because(p)}' for p in plan]


def _because(planned):
    record = planned.record
    if not record:
        return ''
    changed = [part.partition('_')[0] for part in CHANGES if record['hashes'][part] != planned.hashes[part]]
    changed = changed if planned.what == 'redo' else []
    why = f'; its {" and ".join(changed).replace("plugin", "plugins")} changed' if changed else ''
    return f' ({record["status"]}, {format_clock(record.get("seconds") or 0)}{why})'
