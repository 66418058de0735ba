"""What a report is made of: the trials of a grid's folder, or plain run folders, as they lie on disk. Nothing is run,
no model is built."""
from __future__ import annotations

import csv
import io
import math
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from dtbox.ablation.columns import FACTS, FIRST, HASHES
from dtbox.counts import format_count
from dtbox.errors import InputError, closest
from dtbox.evaluation.info import Infos, MetricInfo
from dtbox.evaluation.json_files import read_json
from dtbox.evaluation.names import is_stderr
from dtbox.evaluation.results import add_tokenizer
from dtbox.files import parse_json, require_file
from dtbox.markup import unescape_csv
from dtbox.report.experiment import Experiment, Trial
from dtbox.report.run_files import read_results, read_seconds, read_settings
from dtbox.runs import RunFolder

ANEW = 'Run the grid again with --resume to have it written anew.'
REASONS = {'killed': 'it has not said how it ended: it was killed, or is still running', 'running': 'it is running',
           'outdated': 'its config, data or plugins have changed since it ran; --resume runs it again'}
"""Why a trial of a status has no result, where its row does not say."""
SEED = re.compile(r'[-_]+seed(\d+)$')


def read(folders: Sequence[str], metrics: Sequence[str] = (), reference: str | None = None,
         mixed: bool = False) -> Experiment:
    """Read the folder of a grid, or run folders.

    Args:
        folders: one folder with results.csv, or any number of run folders.
        metrics: headline metrics in place of the grid's.
        reference: name of the reference variant (see `Experiment.name`) in place of the grid's.
        mixed: put numbers of different protocols into one column all the same.

    Raises:
        InputError: no such folder, neither grid nor run, files that cannot be read, two runs of one variant and seed,
            an unknown reference or metric, or a metric that trials have measured in different ways.
    """
    for folder in folders:
        if not os.path.isdir(folder):
            what = f'{folder} is a file' if os.path.exists(folder) else f'there is no folder {folder}'
            raise InputError(f'{what}. Give the folder of a grid (with results.csv) or run folders (with '
                             'metrics.json).')
    grids = [f for f in folders if os.path.isfile(os.path.join(f, 'results.csv'))]
    if grids and len(folders) > 1:
        raise InputError(f'{grids[0]} is the folder of a grid; a report takes one grid, or run folders, not both. Name '
                         'its trials one by one to compare them with other runs.')
    experiment = read_grid(grids[0]) if grids else read_runs(folders)
    _check_twins(experiment)
    if not mixed:
        _check_protocols(experiment, metrics)
    if not grids and reference is None:
        reference = experiment.name(experiment.variants[0])
    for metric in metrics:
        if experiment.metrics and metric not in experiment.metrics:
            known = sorted((m for m in experiment.metrics if not is_stderr(m)),
                           key=lambda m: experiment.describe(m).sort_key)
            raise InputError(f'no finished trial has the metric `{metric}`.{closest(metric, known)} '
                             f'There are: {_some(known, ", ")}.')
    return replace(experiment, asked=list(metrics) or experiment.asked,
                   reference=_find_reference(experiment, reference, folders[0]))


def _find_reference(experiment: Experiment, reference: str | None, folder: str) -> tuple | None:
    """Return the labels of the reference variant by its name, or the grid's where none is given."""
    known = {experiment.name(v): v for v in experiment.variants}
    if reference is not None and reference not in known:
        raise InputError(f'there is no variant `{reference}` to compare with.{closest(reference, known)} '
                         f'There are: {_some(known, "; ")}.')
    chosen = experiment.reference if reference is None else known[reference]
    if chosen is not None and known and chosen not in known.values():
        raise InputError(f'the reference of {folder} is {", ".join(chosen)}, which is none of its variants. Name '
                         f'another: --reference NAME, one of {_some(known, "; ")}.')
    return chosen


def _some(names: Iterable[str], between: str, most: int = 20) -> str:
    names = list(names)
    return between.join(names[:most]) + (f' and {len(names) - most} more' if names[most:] else '')


def read_grid(folder: str) -> Experiment:
    """Return the Experiment of a grid's folder: results.csv, and grid.json where it is there."""
    path = os.path.join(folder, 'results.csv')
    try:
        require_file(path)
        with open(path, newline='', encoding='utf-8') as f:
            text = f.read()
        reader = csv.DictReader(io.StringIO(text, newline=''))
        rows = [{unescape_csv(k): unescape_csv(v) for k, v in row.items()} for row in reader]
        columns = [unescape_csv(name) for name in reader.fieldnames or []]
    except (OSError, UnicodeDecodeError, csv.Error) as e:
        raise InputError(f'{path} cannot be read ({e}). {ANEW}') from e
    if not text.endswith('\n'):
        raise InputError(f'{path} is cut short: its last line has no end. {ANEW}')
    lacking = [c for c in ('trial', 'folder', 'status', 'seed') if c not in columns]
    if lacking:
        raise InputError(f'{path} has no column {", ".join(lacking)}; expected the table that a grid leaves.')
    about = _about(os.path.join(folder, 'grid.json'))
    axes = list(about.get('axes') or [c for c in columns[:columns.index('seed')] if c not in FIRST])
    absent = [axis for axis in axes if axis not in columns]
    if absent:
        raise InputError(f'{path} has no column {", ".join(absent)}, which grid.json names as an axis. The two are of '
                         'different grids.')
    metrics = [c for c in columns if '/' in c and c not in axes]
    infos = _infos(about, folder)
    trials = [_row(row, number, folder, axes, metrics, path, infos) for number, row in enumerate(rows, 2)]
    labels = {}
    for i, axis in enumerate(axes):  # in the grid's order, without those that it excludes
        present = dict.fromkeys(t.variant[i] for t in trials)
        named = [str(label) for label in (about.get('axes') or {}).get(axis, [])]
        labels[axis] = [label for label in dict.fromkeys([*named, *present]) if label in present]
    reference = about.get('reference')
    if reference is not None:
        reference = tuple(str(reference.get(axis)) for axis in axes)
    title = about.get('title') or about.get('name') or os.path.basename(os.path.abspath(folder))
    return Experiment(title, about.get('description') or '', labels, trials, about, list(about.get('metrics') or []),
                      reference, infos)


def _infos(about: dict[str, Any], folder: str) -> Infos:
    """Return the Infos that a grid has noted of its metrics."""
    try:
        return Infos(MetricInfo.from_dict(info) for info in about.get('infos') or ())
    except (KeyError, TypeError) as e:
        path = os.path.join(folder, 'grid.json')
        raise InputError(f'{path}: `infos` cannot be read ({type(e).__name__}: {e}). {ANEW}') from e


def _about(path: str) -> dict[str, Any]:
    """Return grid.json; what the report reads of it has the types that a grid writes."""
    about = read_json(path)
    kinds: dict[str, Any] = dict(axes=dict, metrics=list, reference=dict, seconds=(int, float), title=str,
                                 description=str, infos=list)
    for key, kind in kinds.items():
        if about.get(key) is not None and not isinstance(about[key], kind):
            raise InputError(f'{path}: `{key}` is {about[key]!r}, which no grid writes. {ANEW}')
    return about


def _row(row: dict[str, str], number: int, folder: str, axes: list[str], metrics: list[str], path: str,
         infos: Infos) -> Trial:
    def value(column: str, kind: Callable[[str], Any] = float) -> Any:
        text = (row.get(column) or '').strip()
        try:
            number_or_settings = kind(text) if text else None
        except ValueError as e:
            expected = 'JSON' if kind is _settings else 'a number'
            raise InputError(f'{path}, line {number}: `{column}` is {text!r}; expected {expected}.') from e
        infinite = isinstance(number_or_settings, float) and not math.isfinite(number_or_settings)
        return None if infinite else number_or_settings

    if None in row or any(v is None for v in row.values()):
        raise InputError(f'{path}, line {number} has not the columns of the header. {ANEW}')
    seed = value('seed', int)
    if seed is None:
        raise InputError(f'{path}, line {number} has no seed.')
    measured = {c: v for c in metrics if (v := value(c)) is not None}
    return Trial(
        name=row['trial'], folder=os.path.normpath(os.path.join(folder, row['folder'])), status=row['status'],
        reason=row.get('reason') or REASONS.get(row['status'], ''), variant=tuple(row[axis] for axis in axes),
        seed=seed, facts={c: v for c in FACTS if (v := value(c)) is not None},
        hashes={c: row[c] for c in HASHES if row.get(c)}, metrics=measured,
        settings=value('overrides', _settings) or {},
        stamps=_stamps(measured, row, infos) if row.get('protocol') else {})


def _stamps(metrics: Iterable[str], row: dict[str, str], infos: Infos) -> dict[str, str]:
    """Return metric -> stamp of a row (see `Results.stamp`)."""
    tokenizer = row.get('tokenizer_hash')
    return {name: add_tokenizer(row['protocol'], tokenizer if infos.describe(name).info.of_codes else None)
            for name in metrics}


def _settings(text: str) -> dict[str, Any]:
    settings = parse_json(text)
    if not isinstance(settings, dict):
        raise ValueError
    return settings


def read_runs(folders: Sequence[str]) -> Experiment:
    """Return the Experiment of run folders: the variant is the folder's name without a trailing -seedN, the seed that
    of its config.py."""
    trials, infos = [], {}
    for folder in folders:
        run = RunFolder(folder)
        if not os.path.isfile(run.metrics) and not run.has_config():
            raise InputError(f'{folder} is neither the folder of a grid (no results.csv) nor of a run (no '
                             'metrics.json, no config.py).')
        run.check_format()
        name, (results, measured, stamps, own) = run.name, read_results(folder)
        infos.update(dict.fromkeys(own))
        settings, ending = read_settings(run.config), SEED.search(name)
        seed = settings.get('seed', int(ending.group(1)) if ending else 0)
        facts = dict(iterations=results and results.iteration, seconds=read_seconds(folder),
                     threads=settings.get('threads'))
        status, reason = ('done', '') if results else ('missing', 'no metrics.json: it has not finished')
        trials.append(Trial(
            name, os.path.normpath(folder), status, reason, (SEED.sub('', name) or name,), seed, metrics=measured,
            stamps=stamps, facts={k: v for k, v in facts.items() if isinstance(v, (int, float))}))
    title = trials[0].name if len(trials) == 1 else f'{format_count(len(trials), "run")}'
    axes = dict(run=list(dict.fromkeys(t.variant[0] for t in trials)))
    return Experiment(title, '', axes, trials, {}, [], None, Infos(infos))


def _check_protocols(experiment: Experiment, metrics: Sequence[str] = ()) -> None:
    """Raise `InputError` where a metric was measured with other settings or on other data in one trial than in
    another. Nats of codes of different tokenizers are refused where somebody asks for them, and marked in the table of
    all metrics (see `score_tables`)."""
    for metric in metrics or experiment.metrics:
        seen = experiment.group_stamps(metric)
        if len(seen) > 1:
            (first, (one, *_)), (second, (other, *_)) = list(seen.items())[:2]
            tokenizers = first.rsplit('-', 1)[0] == second.rsplit('-', 1)[0] and first.count('-') == 2
            if tokenizers and not metrics:
                continue
            if tokenizers:
                raise InputError(f'`{metric}` of {one.name} and of {other.name} are nats of the codes of different '
                                 f'tokenizers ({first.rpartition("-")[2]} and {second.rpartition("-")[2]}), which do '
                                 'not compare: codes of another tokenizer are other things. Choose scores of captions, '
                                 'answers and drawings with --metrics, or mix them knowingly with --mixed-protocols.')
            settings = [stamp.partition('-')[0] for stamp in (first, second)]
            what = 'settings' if settings[0] != settings[1] else 'data'
            raise InputError(f'`{metric}` of {one.name} and of {other.name} come from different protocols (other '
                             f'{what}: {first} and {second}) and do not belong in one column. Measure both alike '
                             '(dtbox test RUN --protocol NAME --data CONFIG), choose other metrics with --metrics, or '
                             'mix them knowingly with --mixed-protocols.')


def _check_twins(experiment: Experiment) -> None:
    seen = {}
    for trial in experiment.trials:
        twin = seen.setdefault((trial.variant, trial.seed), trial)
        if twin is not trial:
            raise InputError(f'{twin.folder} and {trial.folder} are both the variant `{", ".join(trial.variant)}` with '
                             f'seed {trial.seed}; a mean over them would count one training twice. Leave one out, or '
                             'rename its folder.')
