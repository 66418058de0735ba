"""Ablation grids: a base recipe, axes and seeds become trials; each trial is its own process and folder.

`grid.py` (with `axes.py`) reads a grid and makes its trials, `identity.py` says when two trials are the same, `plan.py`
what is to be done with each, `trial.py` is what a trial's process runs (`facts.py`: what it tells of itself),
`folder.py` keeps a grid's folder and its table, `needs.py` finds runs of other grids that trials start from,
`records.py` carries finished trials elsewhere, `engines/` start processes on this machine or on a Ray cluster,
`progress.py` and `summary.py` show how far it is and what came out, and `run.py` runs them together.
"""
import importlib

_PUBLIC = {'Grid': 'grid', 'Trial': 'grid', 'read_grid': 'grid', 'GridFolder': 'folder', 'run_grid': 'run'}


def __getattr__(name):  # a trial's process comes by here, too, and needs none of it
    if name in _PUBLIC:
        return getattr(importlib.import_module(f'dtbox.ablation.{_PUBLIC[name]}'), name)
    raise AttributeError(f'module `dtbox.ablation` has no attribute `{name}`')
