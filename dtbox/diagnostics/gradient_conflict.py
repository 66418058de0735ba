"""The conflict meter from outside: train a recipe with it, or measure a trained checkpoint on batches of its training
data."""
from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from dtbox.apis.loading import open_config
from dtbox.apis.opening import TOKENIZER, check_use, choose_device, find_use, load_task, set_threads
from dtbox.config import REFERENCE, load_config, resolve
from dtbox.counts import format_count
from dtbox.diagnostics.output_folder import is_run
from dtbox.errors import InputError
from dtbox.hooks.conflict import format_summary, write_conflict
from dtbox.hooks.gradient_meter import Sides, measure
from dtbox.rows import write_rows
from dtbox.runs import RunFolder
from dtbox.training.build import build_parts
from dtbox.training.initial_weights import load_initial_weights
from dtbox.training.runner import Runner


def set_iterations(cfg: Any, iters: int) -> None:
    """Set the length of a run, where its config says it: the variable that `train_cfg.max_iters` refers to, or that key
    itself."""
    if not cfg.get('train_cfg'):
        raise InputError('the config has no `train_cfg`; it is no recipe that trains.')
    reference = REFERENCE.match(str(cfg.train_cfg.get('max_iters')))
    if reference:
        cfg[reference.group(1)] = iters
    else:
        cfg.train_cfg.max_iters = iters


def train_with_meter(source: str, out: str, interval: int = 20, iters: int | None = None, options: dict | None = None,
                     plugins: Sequence[str] = (), **names: Any) -> Any:
    """Train a recipe with the hook GradientConflict.

    Args:
        source: config file, or a run folder whose config is to be trained anew.
        out: run folder, new or empty.
        interval: iterations between two measurements.
        iters: iterations of the run; None takes the recipe's.
        options: dict of dotted config key -> value to override.
        plugins: plugins that the config does not name.
        names: `reconstruction` and `semantics` of GradientConflict.
    """
    cfg = load_config(source, options, plugins)
    check_use(find_use(cfg), TOKENIZER, source)
    if iters is not None:
        set_iterations(cfg, iters)
    hook = dict(type='GradientConflict', interval=interval, **{k: v for k, v in names.items() if v is not None})
    others = {name: other for name, other in (cfg.get('hooks') or {}).items() if (other or {}).get('type')
              != 'GradientConflict'}
    cfg.hooks = dict(others, gradient_conflict=hook)
    Runner.from_config(cfg, work_dir=out).train()


def measure_run(source: str, out: str, batches: int = 16, options: dict | None = None, plugins: Sequence[str] = (),
                say: Callable[[str], None] = print, **names: Any) -> Any:
    """Measure the conflict on batches of the training data, without training.

    Args:
        source: run folder, whose checkpoint is measured; or a config file, whose starting weights are.
        out: folder for conflict.jsonl (as GradientConflict writes it, with `batch` counted from 0), conflict.json and
            conflict.png.
        batches: number of batches, those that a run of this config begins with.
        options, plugins, names: as in `train_with_meter`.
        say: called with lines of text.

    Returns:
        dict: the summary, as in conflict.json.
    """
    if batches < 1:
        raise InputError(f'{format_count(batches, "batch")}; expected at least 1.', '--batches')
    cfg, path = open_config(source, None, options,
                            plugins) if is_run(source) else (resolve(load_config(source, options, plugins)), None)
    check_use(find_use(cfg), TOKENIZER, source)
    set_threads(cfg)
    sides = Sides(**names)
    parts = build_parts(cfg, int(cfg.get('seed', 0)))
    model = parts['model']
    probe = model.make_gradient_probe()
    sides.check(probe)
    if path is None:
        load_initial_weights(model, cfg)
    else:
        load_task(model, cfg, path)
    model = model.to(choose_device()).train()
    blocks, rows = probe.find_blocks(), []
    for number, batch in zip(range(batches), parts['train']):
        row, terms = measure(probe, batch, blocks, sides)
        rows.append(dict(batch=number, **row))
        together = 'none' if row['together'] is None else f'{row["together"]:+.3f}'
        say(f'batch {number + 1} of {batches}: cosine over the layers that both reach {together}')
    write_rows(RunFolder(out).conflict_history, rows)
    name = os.path.basename(os.path.normpath(str(source)))
    summary = write_conflict(rows, terms, out, f'{name}: gradients on {batches} training '
                                               f'batch{"es" * (batches > 1)}', 'batch')
    say(f'\n{format_summary(summary)}')
    return summary
