"""What a report is made of: the trials of a grid's folder, or plain run folders, as they lie on disk. Nothing is run, no model is built."""
import csv
import math
import os
import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import Optional

from dtbox.errors import InputError, closest
from dtbox.report.disk import flat_metrics, read_json, seconds_of, settings_of

BEFORE = ('trial', 'folder', 'status', 'reason')
"""First columns of results.csv; the axes follow, then `seed`. Columns with a slash in their name (SET/METRIC) are metrics."""
NUMBERS = ('iterations', 'seconds', 'peak_mb', 'parameters', 'tokens', 'bits', 'bits_per_pixel', 'threads')
HASHES = ('config_hash', 'code_hash', 'plugin_hash', 'data_hash')
SEED = re.compile(r'[-_]+seed(\d+)$')


@dataclass(frozen=True)
class Trial:
    """A run.

    Attributes:
        name: for people.
        folder: its run folder; may be gone.
        status: done, failed, diverged, killed, timeout or missing.
        reason: why it is not done, or ''.
        variant: labels of the axes.
        seed: of weights, data order and augmentation.
        facts: name -> number, what is known of `NUMBERS`.
        hashes: name -> text, what is known of `HASHES`.
        metrics: SET/METRIC -> number, what was measured.
    """
    name: str
    folder: str
    status: str
    reason: str
    variant: tuple
    seed: int
    facts: dict = field(default_factory=dict)
    hashes: dict = field(default_factory=dict)
    metrics: dict = field(default_factory=dict)

    @property
    def done(self):
        """Whether it has finished."""
        return self.status == 'done'


@dataclass(frozen=True)
class Experiment:
    """Trials and what is known of them all.

    Attributes:
        title, description: for people.
        axes: axis -> list of labels.
        trials: every Trial.
        about: grid.json, or what stands in for it.
        asked: headline metrics that were asked for.
        reference: labels of the reference variant, or None where nobody named one.
    """
    title: str
    description: str
    axes: dict
    trials: list
    about: dict
    asked: list
    reference: Optional[tuple]

    @cached_property
    def variants(self):
        """The variants in order, those without a finished trial included."""
        return list(dict.fromkeys(t.variant for t in self.trials))

    def of(self, variant):
        """Return dict seed -> finished trial of a variant, by seed."""
        return dict(sorted((t.seed, t) for t in self.trials if t.variant == variant and t.done))

    def name(self, variant):
        """Return a variant's name: the labels of the axes along which variants differ."""
        return ', '.join(variant[i] for i in self._moving or range(len(variant)))

    @cached_property
    def _moving(self):
        return [i for i, labels in enumerate(zip(*self.variants)) if len(set(labels)) > 1]

    @property
    def heading(self):
        """What `name` says of a variant: the axes along which variants differ."""
        axes = list(self.axes)
        return ', '.join(axes[i] for i in self._moving or range(len(axes)))

    @cached_property
    def sets(self):
        """Names of the held-out sets, `all` apart."""
        return list(dict.fromkeys(m.partition('/')[0] for t in self.trials for m in t.metrics if not m.startswith('all/')))

    @cached_property
    def metrics(self):
        """Every metric that a finished trial has, in order."""
        return list(dict.fromkeys(m for t in self.trials if t.done for m in t.metrics))


def read(folders, metrics=(), reference=None):
    """Read the folder of a grid, or run folders.

    Args:
        folders: one folder with results.csv, or any number of run folders.
        metrics: headline metrics in place of the grid's.
        reference: name of the reference variant (see `Experiment.name`) in place of the grid's.

    Raises:
        InputError: no such folder, neither grid nor run, files that cannot be read, two runs of one variant and seed, an unknown reference.
    """
    for folder in folders:
        if not os.path.isdir(folder):
            raise InputError(f'there is no folder {folder}. Give the folder of a grid (with results.csv) or run folders (with metrics.json).')
    grids = [f for f in folders if os.path.isfile(os.path.join(f, 'results.csv'))]
    if grids and len(folders) > 1:
        raise InputError(f'{grids[0]} is the folder of a grid; a report takes one grid, or run folders, not both. Name its trials one by one to '
                         'compare them with other runs.')
    found = read_grid(grids[0]) if grids else read_runs(folders)
    _check_twins(found)
    if not grids and reference is None:
        reference = found.name(found.variants[0])
    known = {found.name(v): v for v in found.variants}
    if reference is not None and reference not in known:
        raise InputError(f'there is no variant `{reference}` to compare with.{closest(reference, known)} There are: {", ".join(known)}.')
    chosen = found.reference if reference is None else known[reference]
    if chosen is not None and known and chosen not in known.values():
        raise InputError(f'the reference of {folders[0]} is {", ".join(chosen)}, which is none of its variants. Name another: '
                         f'--reference NAME, one of {", ".join(known)}.')
    return Experiment(found.title, found.description, found.axes, found.trials, found.about, list(metrics) or found.asked, chosen)


def read_grid(folder):
    """Return the Experiment of a grid's folder: results.csv, and grid.json where it is there."""
    path = os.path.join(folder, 'results.csv')
    try:
        with open(path, newline='', encoding='utf-8') as f:
            reader = csv.DictReader(f)
            rows, columns = list(reader), list(reader.fieldnames or [])
    except (OSError, UnicodeDecodeError, csv.Error) as e:
        raise InputError(f'{path} cannot be read ({e}). Run the grid again with --resume to have it written anew.') from e
    lacking = [c for c in ('trial', 'folder', 'status', 'seed') if c not in columns]
    if lacking:
        raise InputError(f'{path} has no column {", ".join(lacking)}; expected the table that a grid leaves.')
    about = read_json(os.path.join(folder, 'grid.json'))
    axes = list(about.get('axes') or [c for c in columns[:columns.index('seed')] if c not in BEFORE])
    absent = [axis for axis in axes if axis not in columns]
    if absent:
        raise InputError(f'{path} has no column {", ".join(absent)}, which grid.json names as an axis. The two are of different grids.')
    metrics = [c for c in columns if '/' in c and c not in axes]
    trials = [_row(row, number, folder, axes, metrics, path) for number, row in enumerate(rows, 2)]
    labels = {axis: [*dict.fromkeys([*map(str, (about.get('axes') or {}).get(axis, [])), *(t.variant[i] for t in trials)])]
              for i, axis in enumerate(axes)}
    reference = about.get('reference')
    if reference is not None:
        reference = tuple(str(reference.get(axis)) for axis in axes)
    return Experiment(about.get('title') or about.get('name') or os.path.basename(os.path.abspath(folder)), about.get('description') or '', labels,
                      trials, about, list(about.get('metrics') or []), reference)


def _row(row, number, folder, axes, metrics, path):
    def value(column, kind=float):
        text = (row.get(column) or '').strip()
        try:
            found = kind(text) if text else None
        except ValueError as e:
            raise InputError(f'{path}, line {number}: `{column}` is {text!r}; expected a number.') from e
        return found if found is None or math.isfinite(found) else None

    if None in row or any(v is None for v in row.values()):
        raise InputError(f'{path}, line {number} has not the columns of the header.')
    seed = value('seed', int)
    if seed is None:
        raise InputError(f'{path}, line {number} has no seed.')
    numbers = {c: v for c in NUMBERS if (v := value(c)) is not None}
    return Trial(row['trial'], os.path.normpath(os.path.join(folder, row['folder'])), row['status'], row.get('reason') or '',
                 tuple(row[axis] for axis in axes), seed, numbers, {c: row[c] for c in HASHES if row.get(c)},
                 {c: v for c in metrics if (v := value(c)) is not None})


def read_runs(folders):
    """Return the Experiment of run folders: the variant is the folder's name without a trailing -seedN, the seed that of its config.py."""
    trials = []
    for folder in folders:
        scores, config = os.path.join(folder, 'metrics.json'), os.path.join(folder, 'config.py')
        if not os.path.isfile(scores) and not os.path.isfile(config):
            raise InputError(f'{folder} is neither the folder of a grid (no results.csv) nor of a run (no metrics.json, no config.py).')
        name, results = os.path.basename(os.path.abspath(folder)), read_json(scores)
        settings, ending = settings_of(config), SEED.search(name)
        seed = settings.get('seed', int(ending.group(1)) if ending else 0)
        facts = {'iterations': results.get('iteration'), 'seconds': seconds_of(folder), 'threads': settings.get('threads')}
        status = ('done', '') if results else ('missing', 'no metrics.json: it has not finished')
        facts = {k: v for k, v in facts.items() if isinstance(v, (int, float))}
        trials.append(Trial(name, os.path.normpath(folder), *status, (SEED.sub('', name) or name,), seed, facts, {}, flat_metrics(results)))
    title = trials[0].name if len(trials) == 1 else f'{len(trials)} runs'
    return Experiment(title, '', {'run': list(dict.fromkeys(t.variant[0] for t in trials))}, trials, {}, [], None)


def _check_twins(experiment):
    seen = {}
    for trial in experiment.trials:
        twin = seen.setdefault((trial.variant, trial.seed), trial)
        if twin is not trial:
            raise InputError(f'{twin.folder} and {trial.folder} are both the variant `{", ".join(trial.variant)}` with seed {trial.seed}; a mean '
                             'over them would count one training twice. Leave one out, or rename its folder.')
