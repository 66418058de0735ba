"""Whether a resumed run continues the run of its checkpoint: the same settings, the same data, the same parts.

What may change is declared in `SAFE`: how long the run is, what it logs, keeps and evaluates, and what computes it.
"""
from __future__ import annotations

import fnmatch
import json
from typing import TYPE_CHECKING, Any, Mapping, Sequence

from mmengine.config import Config

from dtbox import distributed
from dtbox.counts import format_count
from dtbox.errors import InputError
from dtbox.training.dataloaders import divide_batch

if TYPE_CHECKING:
    from dtbox.training.task import Task

READ = ('model', 'train_dataloader', 'optim_wrapper', 'param_scheduler', 'train_cfg', 'ema', 'amp')
"""Entries of a config that the training itself reads; the seed is compared with the meta."""
START = 'load_from'
"""Entry that says what a run begins from. It is not read again, so that another one would be a false record."""
SAFE = ('train_cfg.max_iters', 'train_cfg.val_interval', 'train_cfg.tolerate',
        *(f'train_dataloader.{name}' for name in ('num_workers', 'persistent_workers', 'prefetch_factor', 'pin_memory',
                                                  'timeout', 'multiprocessing_context', 'batch_size')),
        '*.recompute', '*.attention')
"""Patterns (shell style) of dotted keys that may change: they do not say what is trained. The batch size of a rank
follows the number of ranks; the meta has the global one. A task adds its own (`safe_settings`)."""
FIXED = dict(samples='training samples', batch='samples a batch', seed='as the seed')
"""Entries of the meta that a resumed run must share -> what a message calls them; a task adds its own."""
MOST = 12
"""Differences that a message lists."""
MISSING = 'not set'


class OtherRun(InputError):
    """A resumed run would not continue the run of its checkpoint; a new one may start from its weights."""


def describe_config(cfg: Config) -> str:
    """Return what a checkpoint notes of a resolved config: JSON of dotted key -> value of all that training reads."""
    flat: dict[str, Any] = {}
    plain = cfg._cfg_dict.to_dict()
    for key in READ:
        if plain.get(key) is not None:
            _flatten(plain[key], key, flat)
    return json.dumps({**flat, START: plain.get(START)})


def _flatten(value: Any, key: str, flat: dict[str, Any]) -> None:
    if isinstance(value, Mapping) and value:
        for name, part in value.items():
            if part is not None:  # a part that a child config takes out is as one that was never there
                _flatten(part, f'{key}.{name}', flat)
    elif isinstance(value, (list, tuple)) and any(isinstance(part, (Mapping, list, tuple)) for part in value):
        for i, part in enumerate(value):
            _flatten(part, f'{key}.{i}', flat)
    else:
        flat[key] = json.loads(json.dumps(value, default=lambda v: f'{getattr(v, "__module__", "")}.{v!r}'))


def compare_configs(before: str, now: str, safe: Sequence[str] = ()) -> dict[str, tuple[Any, Any]]:
    """Return dotted key -> (value before, value now) of the settings by which a run would not be the same.

    Args:
        before, now: as `describe_config` returns them.
        safe: patterns beside `SAFE`.
    """
    old, new = json.loads(before), json.loads(now)
    ends = [flat.get('train_cfg.max_iters') for flat in (old, new)]
    found = {}
    for key in [*old, *(key for key in new if key not in old)]:
        pair = old.get(key, MISSING), new.get(key, MISSING)
        follows = key.startswith('param_scheduler.') and list(pair) == ends  # the schedule continues to the new end
        if key == START and START not in old:  # an older dtbox did not note it
            continue
        if pair[0] != pair[1] and not follows and not _is_place(key, *pair) and not _is_safe(key, safe):
            found[key] = pair
    return found


def _is_safe(key: str, more: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(key, pattern) for pattern in (*SAFE, *more))


def _is_place(key: str, *values: Any) -> bool:
    """Whether values name files or folders: what lies there counts, not where. Data count by their fingerprint, and
    weights are in the checkpoint. A `name` or `type` with a slash is that of a model of a hub."""
    if key.rpartition('.')[2] in ('name', 'type', START):
        return False
    texts = [value for value in values if value is not None]
    return all(isinstance(value, str) for value in texts) and any('/' in value for value in texts)


def refuse_other_config(before: str | None, now: str, path: str, safe: Sequence[str]) -> None:
    """Raise `OtherRun` where a resumed run has other settings than its checkpoint was trained with.

    Args:
        before: what the checkpoint notes (see `describe_config`); None in one that an older dtbox wrote.
        now: of the resumed run.
        path: of the checkpoint.
        safe: patterns of keys that the task lets change (`safe_settings`).
    """
    found = compare_configs(before, now, safe) if before is not None else {}
    if not found:
        return
    lines = [f'  {key}: {old!r} then, {new!r} now' for key, (old, new) in list(found.items())[:MOST]]
    lines += [f'  and {len(found) - MOST} more'] if len(found) > MOST else []
    raise OtherRun(
        f'{path} was trained with other settings; with these it would not continue the same run:\n'
        + '\n'.join(lines) + '\nRestore them (a run resumes by `dtbox train RUN --resume` alone), or start a new run '
        f'from these weights: load_from={path}', next(iter(found)))


def make_meta(task: Task, loader: Any, seed: int, configured_batch: int | None, described: str) -> dict[str, Any]:
    """Return the part of a checkpoint's meta that says which run it is.

    Args:
        task, loader, seed: of the run.
        configured_batch: batch size of a rank as the config says.
        described: see `describe_config`.
    """
    return dict(seed=seed, world_size=distributed.get_world_size(), batch_size=loader.batch_sampler.batch_size,
                configured_batch=configured_batch, samples=len(loader.dataset), data=read_fingerprint(loader.dataset),
                config=described, **task.checkpoint_meta)


def read_fingerprint(dataset: Any) -> str:
    """Return the fingerprint of a data set, '' where it has none."""
    return dataset.fingerprint() if hasattr(dataset, 'fingerprint') else ''


def refuse_other_run(theirs: Mapping[str, Any], mine: Mapping[str, Any], fixed: Mapping[str, str], path: str) -> None:
    """Raise `OtherRun` where a checkpoint's meta is that of another run.

    Args:
        theirs, mine: meta of the checkpoint and of the run.
        fixed: entries that a task adds to FIXED.
        path: of the checkpoint.
    """
    then, now = ({**m, 'batch': m.get('batch_size', 0) * m.get('world_size', 0)} for m in (theirs, mine))
    for key, what in {**FIXED, **fixed}.items():
        if then.get(key) != now[key]:
            raise OtherRun(f'{path} was trained with {then.get(key)} {what}, this run has {now[key]}; it would '
                           'not continue the same run. Restore the setting, or start a new run with `load_from`.')
    if then.get('data') and now.get('data') and then['data'] != now['data']:
        raise OtherRun(f'{path} was trained on other images or texts than this run has (fingerprint {then["data"]}, '
                       f'now {now["data"]}), as many of them; it would not continue the same run. Restore the data, or '
                       'start a new run with `load_from`.', 'train_dataloader.dataset')


def refuse_shorter(done: int, cfg: Mapping[str, Any], path: str) -> None:
    """Raise `InputError` where a resumed run would be shorter than it is: its config would tell of fewer iterations
    than its weights have.

    Args:
        done: iterations of the checkpoint.
        cfg: resolved config.
        path: of the checkpoint.
    """
    most = (cfg.get('train_cfg') or {}).get('max_iters')
    if isinstance(most, int) and done > most:
        raise InputError(f'{path} has {format_count(done, "iteration")}, more than `max_iters` {most}: a run cannot '
                         f'become shorter. Resume it with max_iters={done} or more; `dtbox test` evaluates it.',
                         'train_cfg.max_iters')


def keep_global_batch(cfg: Config, meta: dict[str, Any], path: str) -> None:
    """Give each rank its part of the global batch that a resumed run is trained with, on whatever number of ranks.

    Nothing changes where the config says another batch size than at first.

    Args:
        cfg: resolved Config, changed in place.
        meta, path: of the checkpoint.
    """
    loader = cfg.get('train_dataloader') or {}
    world = distributed.get_world_size()
    before, batch = meta.get('world_size', world), meta.get('batch_size')
    if batch is not None and loader.get('batch_size') == meta.get('configured_batch', batch):
        what = f'{path} was trained by {format_count(before, "rank")}; its batch'
        loader['batch_size'] = divide_batch(before * batch, world, what)
