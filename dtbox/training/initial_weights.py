"""The weights that a new run starts from: those that its parts name, and `load_from`, which is a run, a checkpoint, a
folder of `save_pretrained`, or a packaged model (`dtbox://NAME`)."""
from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from mmengine.config import Config
from torch import Tensor

from dtbox.errors import InputError, at
from dtbox.runs import RunFolder
from dtbox.training import checkpoint
from dtbox.training.parallel import shard_state
from dtbox.training.task import Task
from dtbox.weights.exported_folders import (
    check_kinds,
    check_sums,
    is_pretrained,
    list_files,
    read_config_of,
    suggest_model,
)
from dtbox.weights.hub_models import find_model
from dtbox.weights.state_dicts import load_into


class Start(NamedTuple):
    """Weights to start from.

    Attributes:
        state: names of the task -> tensor.
        meta: what `Task.start_meta` is compared with; {} where nothing is known.
        source: what errors call them.
        remark: what the log says of them beside their place.
    """
    state: Mapping[str, Tensor]
    meta: Mapping[str, Any]
    source: str
    remark: str = ''


def load_initial_weights(task: Task, cfg: Config, resumed: str | None = None) -> str | None:
    """Load the weights that a new run starts from: those that its parts name, and `load_from`.

    Where `resumed` has a checkpoint, only those that no checkpoint holds are loaded.

    Returns:
        what to log about `load_from`, or None.
    """
    if resumed and RunFolder(resumed).has_checkpoint():
        task.init_frozen_weights()
        return None
    task.init_weights()
    return start_from(task, cfg.load_from) if cfg.get('load_from') else None


def start_from(task: Task, path: str) -> str:
    """Load the weights of another model; iterations are counted from 0.

    Args:
        task: takes all weights, but for those that it may do without (see `Task.choose_start`).
        path: run folder (the stage before), checkpoint, folder of `save_pretrained`, `dtbox://NAME`, or
            `hf://OWNER/NAME[@REVISION]` of one on the Hugging Face hub.

    Returns:
        what to log about it.

    Raises:
        InputError: listing the keys that do not match; weights that were trained with another tokenizer or with other
            text tokens.
    """
    with at('load_from'):
        folder = find_model(path)
        if not os.path.exists(folder):
            raise InputError(f'{path} does not exist.{suggest_model(path)} Give a run folder, a checkpoint, a folder '
                             'of save_pretrained, a packaged model (dtbox://NAME), or one on the hub '
                             '(hf://OWNER/NAME).')
        given = _read_exported(task, folder) if is_pretrained(folder) else _read_checkpoint(folder)
        check_start(given.meta, task, path)
    with at('load_from'):
        state = task.match_start(given.state, given.source)
    skipped, remark = task.choose_start(list(state))
    load_into(task, shard_state(state, task.state_dict()), given.source, ignore=('iteration', *skipped))
    sentence = f'Starting from {path}{given.remark}'
    return f'{sentence}; {remark}.' if remark else f'{sentence}.'


def _read_checkpoint(path: str) -> Start:
    given = checkpoint.load(path)
    state = {k: v for k, v in given['state_dict'].items() if k != 'iteration'}
    remark = f', iteration {given["iteration"]}' if 'iteration' in given else ''
    remark += ', its averaged weights (`ema`)' if 'ema' in given else ''
    return Start(state, given['meta'], f'the checkpoint {path}', remark)


def _read_exported(task: Task, folder: str) -> Start:
    """Return the weights of a folder of `save_pretrained` under the names of a task's main part."""
    config = read_config_of(folder)
    if task.exported_kind:
        check_kinds(folder, config, task.exported_kind, {})
    check_sums(folder, config, list_files(folder))
    state, meta = task.read_exported(folder)
    part = task.parts[task.main_part]
    name = next(name for name, module in task.named_modules() if module is part)
    return Start({f'{name}.{key}': value for key, value in state.items()}, meta, folder)


def check_start(trained: Mapping[str, Any], task: Task, path: str) -> None:
    """Raise `InputError` unless weights were trained with what a task has.

    Args:
        trained: entry of `Task.start_meta` -> hash, of the weights; None or absent where it is not known.
        task: with which they are to be trained.
        path: of the weights, for the message.
    """
    for name, digest in task.start_meta.items():
        if None not in (trained.get(name), digest) and trained[name] != digest:
            what = name.replace('_', ' ')
            raise InputError(f'{path} was trained with the {what} {trained[name]}, and the config has the {what} '
                             f'{digest} (hashes): its rows would stand for other codes or words. '
                             f'{task.start_advice.get(name, "").format(path=path)}'.rstrip())
