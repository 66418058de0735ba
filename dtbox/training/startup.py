"""Before the first iteration: everything of a run is built and checked before its folder is touched."""
from __future__ import annotations

import hashlib
import os
import uuid
from typing import Any, NamedTuple

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.optim import OptimWrapperDict

from dtbox import __version__, distributed
from dtbox.config import check_recipe
from dtbox.config.text import format_config
from dtbox.counts import format_count
from dtbox.errors import InputError
from dtbox.evaluation import SetEvaluator
from dtbox.extend import record
from dtbox.memory import keep_freed_memory
from dtbox.registry import WRAPPERS
from dtbox.runs import RunFolder, find_run_of
from dtbox.training import checkpoint
from dtbox.training.build import (
    build_ema,
    build_hooks,
    build_parts,
    build_schedules,
    check_backends,
    check_hooks,
)
from dtbox.training.compiling import compile_task
from dtbox.training.ema import WeightEMA
from dtbox.training.initial_weights import load_initial_weights
from dtbox.training.rehearsal import rehearse_evaluation, rehearse_training
from dtbox.training.remarks import warn_of_loss, warn_of_no_scores
from dtbox.training.same_run import (
    describe_config,
    keep_global_batch,
    make_meta,
    refuse_other_config,
    refuse_other_run,
    refuse_shorter,
)
from dtbox.training.task import Task


class Built(NamedTuple):
    """Everything of a run that its config describes.

    Attributes:
        parts: as `build_parts` returns it.
        hooks: by name, in the order of the config.
        schedules: part -> list of schedules, or None.
        remarks: sentences to log as warnings.
    """
    parts: dict[str, Any]
    hooks: dict[str, Hook]
    schedules: dict[str, list] | None
    remarks: list[str]


class Prepared(NamedTuple):
    """A run that is ready but for its folder.

    Attributes:
        built: Built; the task has its weights, is on its device, compiled and wrapped.
        ema: WeightEMA that is not attached yet, or None.
        plugins: records of the plugins that the run uses.
        same_run: what a checkpoint notes of which run it is (see `dtbox.training.same_run.make_meta`).
        start: what to log about `load_from`, or None.
    """
    built: Built
    ema: WeightEMA | None
    plugins: list[dict]
    same_run: dict[str, Any]
    start: str | None


def prepare_run(cfg: Config, source: Config, resumed: str | None, accept_plugin_change: bool) -> Prepared:
    """Build, check and place everything of a run; nothing on disk changes.

    Args:
        cfg: resolved Config; its batch size may change.
        source: the same, not resolved.
        resumed: folder of the run to resume, or None.
        accept_plugin_change: resume also where a plugin is missing or has changed.
    """
    plugins = read_plugin_records(cfg, resumed, accept_plugin_change)
    configured, described = (cfg.get('train_dataloader') or {}).get('batch_size'), describe_config(cfg)
    path, earlier = RunFolder(resumed or '').checkpoint, {}
    if resumed and os.path.isfile(path):
        state = checkpoint.load(path, mmap=True)
        earlier = state['meta']
        refuse_shorter(state.get('iteration', 0), cfg, path)
        keep_global_batch(cfg, earlier, path)
    with find_run_of(source.filename or 'run.py').explain_old_names():
        built = build_run(cfg, int(cfg.get('seed', 0)))
    refuse_other_config(earlier.get('config'), described, path, built.parts['model'].safe_settings)
    task = built.parts['model']
    start = load_initial_weights(task, cfg, resumed)
    same_run = make_meta(task, built.parts['train'], int(cfg.get('seed', 0)), configured, described)
    check_same_run(cfg, plugins, same_run)
    if earlier:
        refuse_other_run(earlier, same_run, task.fixed_meta, path)
    ema = build_ema(cfg.get('ema'))
    move_to_device(task)
    if not earlier:  # its weights come from the checkpoint, later
        rehearse_training(task, built.parts['optim'], built.parts['train'], built.hooks, cfg.train_cfg.max_iters)
    if built.parts['val'] is not None:
        rehearse_evaluation(task, built.parts['val'], built.parts['metrics'])
    place_task(task, built.parts['optim'], cfg)
    return Prepared(built, ema, plugins, same_run, start)


def build_run(cfg: Config, seed: int) -> Built:
    """Build all that a resolved config describes; weights are not loaded and nothing on disk changes."""
    check_recipe(cfg)
    check_backends(cfg.get('vis_backends'))  # what is small comes first
    hooks = build_hooks(cfg.get('hooks'))
    if cfg.get('val_dataloader'):
        SetEvaluator(dict(cfg.get('val_evaluator') or {}), where='val_evaluator')
    parts = build_parts(cfg, seed)
    task = parts['model']
    remarks = [*task.check_run(cfg), *warn_of_loss(hooks), *warn_of_no_scores(cfg)]
    hooks = check_hooks(hooks, task)
    schedules = build_schedules(cfg.get('param_scheduler'), parts['optim'], task.optional_parts)
    return Built(parts, hooks, schedules, remarks)


# ---- checks ---------------------------------------------------------------------------------------------------------


def check_same_run(cfg: Config, plugins: list[dict], same_run: dict[str, Any]) -> None:
    """Raise `InputError` on every rank where they do not mean the same run.

    Args:
        cfg: resolved Config.
        plugins: records of this rank's plugins.
        same_run: of this rank (see `dtbox.training.same_run.make_meta`).
    """
    if distributed.get_world_size() == 1:
        return
    plain = {k: v for k, v in cfg._cfg_dict.to_dict().items() if k != 'plugins'}  # content counts, not place
    facts = {f'the plugin {p["name"]}': f'hash {p["hash"]}' + (f', version {p["version"]}' if p['version'] else '')
             for p in plugins}
    data = f'{format_count(same_run["samples"], "sample")}, fingerprint {same_run["data"]}'
    facts.update({'dtbox': __version__, 'torch': str(torch.__version__), 'the training set': data,
                  'the config': hashlib.sha256(format_config(plain).encode()).hexdigest()[:12]})
    everywhere = distributed.gather_objects(facts)
    for what in sorted({name for one in everywhere for name in one}):
        values = [one.get(what, 'not there') for one in everywhere]
        odd = next((rank for rank, value in enumerate(values) if value != values[0]), None)
        if odd is not None:
            raise InputError(f'the ranks do not mean the same run: {what} is {values[0]} on rank 0 and {values[odd]} '
                             f'on rank {odd}. Let all nodes have the same versions, files and arguments.')


def read_plugin_records(cfg: Config, resumed: str | None = None, accept: bool = False) -> list[dict]:
    """Return the records of a config's plugins.

    Raises:
        InputError: they differ from those of the resumed run, unless `accept`.
    """
    path, earlier = RunFolder(resumed or '').checkpoint, []
    if resumed is not None and os.path.isfile(path):
        earlier = (checkpoint.load(path, mmap=True).get('meta') or {}).get('plugins') or []
    records = record.make_records(cfg, earlier)
    if not accept:
        record.refuse_changes(earlier, records, path)
    return records


# ---- device ---------------------------------------------------------------------------------------------------------


def move_to_device(task: Task) -> None:
    """Move a Task to the GPU of this rank, where there is one."""
    if torch.cuda.is_available():
        task.to(torch.device('cuda', torch.cuda.current_device()))
    else:
        keep_freed_memory()


def place_task(task: Task, optimizers: OptimWrapperDict, cfg: Config) -> None:
    """Compile a Task on its device (`compile`), and let ranks share it (`model_wrapper_cfg`; default DDP)."""
    if cfg.get('compile'):
        compile_task(task, cfg.compile)
    wrapper = WRAPPERS.build(cfg.get('model_wrapper_cfg') or dict(type='DDP'), where='model_wrapper_cfg')
    wrapper.wrap(task, optimizers)


# ---- names and logs of MMEngine -------------------------------------------------------------------------------------


def name_experiment(work_dir: str) -> str:
    """Return a name for MMEngine's registry of runs: unique, since a process may make several."""
    return f'{os.path.basename(os.path.normpath(work_dir))}_{uuid.uuid4().hex[:8]}'


def silence_other_ranks() -> None:
    """Let only rank 0 log messages common to all ranks; the others log warnings."""
    for handler in MMLogger.get_current_instance().handlers if distributed.get_rank() else ():
        handler.setLevel('WARNING')
