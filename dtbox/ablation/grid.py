"""A grid is a config: a base recipe, axes, seeds. Reading one gives its trials.

    base = '../dualtoken_rq.py'                                  # recipe, relative to this file
    overrides = {'max_iters': 300}                               # of every trial
    axes = dict(
        codebooks=dict(variants=dict(                            # named variants with several overrides each
            one={'model.tokenizer.decoder.reads': ['semantic']},
            vqgan={'base': '../vqgan.py'})),                     # or another recipe
        lr=dict(key='optim_wrapper.generator.optimizer.lr', values=[1e-3, 2e-3]))   # one key and its values, or
        dict(label=value)
    seeds = [0, 1, 2]
    seeds_first = True                                           # all variants of a seed run before the next seed
    exclude = [dict(codebooks='one', lr=2e-3, seed=[1, 2])]      # trials to leave out; `include` keeps those alone
    budget = dict(hours=1.5, trial_minutes=10)

A value 'trial://GRID/TRIAL' stands for the run folder of a trial of another grid (see `dtbox.ablation.needs`).
"""
from __future__ import annotations

import copy
import itertools
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from mmengine.config import Config

from dtbox.ablation.axes import (
    check_kind,
    is_matched,
    read_axis,
    read_budget,
    read_metrics,
    read_overrides,
    read_reference,
    read_rules,
    read_seeds,
    read_switch,
)
from dtbox.ablation.columns import TAKEN
from dtbox.ablation.needs import Need, fill_needs
from dtbox.config import load_config, set_option
from dtbox.config.files import read_config
from dtbox.config.find import find_config
from dtbox.counts import format_count
from dtbox.errors import InputError, closest
from dtbox.extend import load_plugins

KEYS = ('base', 'overrides', 'axes', 'seeds', 'exclude', 'include', 'budget', 'metrics', 'reference', 'title',
        'threads', 'plugins', 'seeds_first')
LONGEST = 200
"""Characters of a trial's name: file systems take 255, and an earlier attempt gets a number after it."""


@dataclass(frozen=True)
class Trial:
    """One run of a grid.

    Attributes:
        name: of its folder: the labels and the seed.
        labels: axis -> label.
        seed: of weights, data order and augmentation.
        overrides: dotted key -> value, everything that was set in its recipe.
        base: path of its recipe.
        config: the config, references not resolved.
        needs: runs of other grids that it starts from.
    """
    name: str
    labels: dict
    seed: int
    overrides: dict
    base: str
    config: Config = field(repr=False, compare=False)
    needs: tuple[Need, ...] = ()


@dataclass(frozen=True)
class Grid:
    """A grid as its config describes it.

    Attributes:
        name: of the config file.
        path: of the config file.
        title, description: for people; the description is the file's docstring.
        axes: axis -> list of labels.
        seeds, metrics, reference, budget, threads: as in the config; `reference` is dict axis -> label or None.
        trials: every Trial, in the order of the axes, seeds last (first with `seeds_first`).
    """
    name: str
    path: str
    title: str
    description: str
    axes: dict
    seeds: list
    metrics: list
    reference: dict | None
    budget: dict
    threads: int
    trials: list


def read_grid(path: str, options: dict[str, Any] | None = None, plugins: Sequence[str] = (),
              seeds: Sequence[int] | None = None, threads: int | None = None) -> Grid:
    """Read a grid and make its trials.

    Args:
        path: config file of the grid, or its name.
        options: dotted key -> value set in every trial's recipe, after the grid's own overrides.
        plugins: plugins of every trial, beside those that the grid and the recipes name.
        seeds: in place of the grid's.
        threads: CPU threads of a trial, in place of the grid's (default 1).

    Raises:
        InputError: an unknown key, an axis key that is not in the recipe, a value of another kind than the one it
            replaces, no trials, or two trials that are the same.
    """
    path = find_config(path, 'grid')
    cfg = _read(path)
    folder = os.path.dirname(os.path.abspath(path))
    axes = {name: read_axis(axis, f'axes.{name}') for name, axis in _table(cfg, 'axes').items()}
    if not axes:
        raise InputError(f'{path} has no `axes`. A grid needs at least one: axes=dict(lr=dict(key=\'...\', '
                         'values=[...])).', 'axes')
    for name in axes:
        if name in TAKEN or not re.fullmatch(r'[A-Za-z_]\w*', str(name)):
            raise InputError(f'an axis cannot be called `{name}`: take a plain word that is none of '
                             f'{", ".join(TAKEN)}.', 'axes')
    seeds = read_seeds(cfg.get('seeds', [0]) if seeds is None else seeds)
    threads = cfg.get('threads', 1) if threads is None else threads
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
        raise InputError(f'`threads` is {threads!r}; expected how many CPU threads a trial uses, 1 or more.', 'threads')
    shared = dict(overrides=read_overrides(_table(cfg, 'overrides'), 'overrides'),
                  options=read_overrides(options or {}, '--cfg-options'), threads=threads, folder=folder,
                  base=cfg.get('base'), plugins=[*(p.source for p in load_plugins(cfg.get('plugins'), near=path)),
                                                 *plugins])
    keep = read_rules(cfg.get('include'), axes, 'include'), read_rules(cfg.get('exclude'), axes, 'exclude')
    trials, recipes = [], {}
    for chosen in itertools.product(*axes.values()):
        labels = dict(zip(axes, chosen))
        mine = [seed for seed in seeds if (not keep[0] or is_matched(labels, seed, keep[0]))
                and not is_matched(labels, seed, keep[1])]
        variant = _variant(labels, axes, shared, recipes) if mine else None
        trials += [_seeded(variant, labels, seed) for seed in mine]
    if read_switch(cfg.get('seeds_first', False), 'seeds_first'):
        trials.sort(key=lambda trial: seeds.index(trial.seed))
    if not trials:
        raise InputError(f'{path} makes no trials: `include`, `exclude` and `seeds` leave none over.')
    _check_collisions(trials)
    name = os.path.splitext(os.path.basename(path))[0]
    return Grid(name=name, path=str(path), title=str(cfg.get('title') or name), description=_docstring(path),
                axes={n: list(a) for n, a in axes.items()}, seeds=seeds, metrics=read_metrics(cfg.get('metrics')),
                reference=read_reference(cfg.get('reference'), axes),
                budget=read_budget(cfg.get('budget')), threads=threads, trials=trials)


def _read(path):
    cfg = read_config(path, strict=False)
    cfg = {key: value for key, value in cfg.items() if not key.startswith('_')}
    for key in cfg:
        if key not in KEYS:
            hint = ' It looks like a recipe: `dtbox train` trains one.' if 'model' in cfg else ''
            raise InputError(f'{path} sets `{key}`, which no grid has.{closest(key, KEYS)} A grid has: '
                             f'{", ".join(KEYS)}; a variable of your own begins with an underscore.{hint}', key)
    return cfg


def _docstring(path):
    import ast
    if not path.endswith('.py'):
        return ''
    with open(path, encoding='utf-8') as f:
        return ast.get_docstring(ast.parse(f.read())) or ''


def _table(cfg, key):
    value = cfg.get(key) or {}
    if not isinstance(value, dict):
        raise InputError(f'`{key}` is {value!r}; expected a dict.', key)
    return value


def _variant(labels, axes, shared, recipes):
    """Return (base, overrides, config) of a combination of labels, seed not yet set."""
    chosen, base = [], shared['base']
    for axis, label in labels.items():
        overrides = dict(axes[axis][label])
        base = overrides.pop('base', base)
        chosen += [(key, value, f'axes.{axis}.{label}') for key, value in overrides.items()]
    if not base or not isinstance(base, str):
        raise InputError(f'the trial {_slug(labels)} has {"no recipe" if not base else f"the recipe {base!r}"}. Give '
                         'the path of one as `base`, at the top of the grid or in the variant.', 'base')
    place = os.path.normpath(os.path.join(shared['folder'], base))
    if not os.path.exists(place) and not base.startswith('.'):
        place = find_config(base, where='base')
    if place not in recipes:
        recipes[place] = load_config(place, plugins=shared['plugins'])
    cfg, applied = copy.deepcopy(recipes[place]), {}
    everywhere = [(key, value, 'overrides') for key, value in shared['overrides'].items()]
    everywhere += [(key, value, '--cfg-options') for key, value in shared['options'].items()]
    for key, value, where in [*everywhere, *chosen]:
        try:
            check_kind(cfg, key, value)
            set_option(cfg, key, copy.deepcopy(value))
        except InputError as e:
            raise InputError(f'{e.message} (recipe {base})', f'{where}: {key}') from e
        applied[key] = value
    cfg.threads = shared['threads']
    return place, applied, cfg


def _seeded(variant, labels, seed):
    base, applied, cfg = variant
    cfg = copy.deepcopy(cfg)
    cfg.seed = seed
    applied, needs = fill_needs(applied, seed)
    for need in needs:
        set_option(cfg, need.key, need.folder)
    return Trial(name=f'{_slug(labels)}__seed{seed}', labels=labels, seed=seed, overrides=applied, base=base,
                 config=cfg, needs=needs)


def _slug(labels):
    return '__'.join(re.sub(r'[^A-Za-z0-9.+-]+', '-', label).strip('-.') or 'x' for label in labels.values())


def _check_collisions(trials):
    from dtbox.ablation.identity import hash_config
    names, hashes = {}, {}
    for trial in trials:
        if len(trial.name) > LONGEST:
            raise InputError(f'the trial {trial.name[:40]}... would have a name of '
                             f'{format_count(len(trial.name), "character")}; at '
                             f'most {LONGEST} make a folder. Give its values shorter names: '
                             'values=dict(label=value).', 'axes')
        for table, key, what in ((names, trial.name, 'would have the same folder'), (hashes, hash_config(trial.config),
                                                                                     'are the same run')):
            other = table.setdefault(key, trial)
            if other is not trial:
                raise InputError(f'the trials {_say(other)} and {_say(trial)} {what}. Give their values other names, '
                                 'or take one out.', 'axes')


def _say(trial):
    return '(' + ', '.join(f'{axis}={label}' for axis, label in trial.labels.items()) + f', seed {trial.seed})'
