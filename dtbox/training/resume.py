"""What a checkpoint of a run holds, and how a run continues from it exactly where it was written."""
from __future__ import annotations

from typing import TYPE_CHECKING, Any, Mapping

import torch

from dtbox import __version__, distributed
from dtbox.counts import format_count
from dtbox.errors import InputError, reason
from dtbox.training import checkpoint
from dtbox.training.parallel import collect_shards, load_optimizer, shard_as, shard_state
from dtbox.training.schedules import restore_schedule
from dtbox.weights.state_dicts import load_into

if TYPE_CHECKING:
    from mmengine.runner import Runner

NEEDS = ('optimizer', 'param_schedulers', 'iteration', 'random')
"""What a checkpoint holds beside weights so that a run can resume."""


def collect_state(runner: Runner) -> dict[str, Any]:
    """Return everything that an exact continuation needs; a collective where there are several ranks. What is sharded
    comes whole, to rank 0 alone."""
    task, ema = runner.task, runner.ema
    average = {}
    if ema is not None:
        raw = {n: p.detach() for n, p in task.averaged.named_parameters() if n in ema.weights}
        average = dict(ema=dict(raw={n: v.clone() for n, v in collect_shards(raw).items()}, steps=ema.steps))
    with runner.averaged():
        weights = collect_shards(task.state_dict())
        weights = {k: v.clone() for k, v in weights.items()} if average else weights
    schedules = {name: [s.state_dict() for s in group] for name, group in (runner.param_schedulers or {}).items()}
    return dict(meta=collect_meta(runner), state_dict=weights, **average,
                optimizer=collect_shards(runner.optim_wrapper.state_dict()), param_schedulers=schedules,
                iteration=runner.iter_done,
                backward_passes={name: optim._inner_count for name, optim in runner.optim_wrapper.items()},
                random=distributed.gather_objects(checkpoint.get_random_state()))


def collect_meta(runner: Runner) -> dict[str, Any]:
    """Return what a reader wants to know before loading: versions, which run it is, plugins."""
    return dict(dtbox=__version__, torch=str(torch.__version__), **runner.same_run, plugins=list(runner.plugins))


def open_checkpoint(runner: Runner, path: str) -> dict[str, Any]:
    """Read a checkpoint. That of a sharded task stays in the file, which rank 0 checks for all: the ranks of a machine
    share its pages, and each takes its parts from them."""
    mapped = runner.task.shards is not None
    if mapped:
        distributed.run_on_first_rank(lambda: checkpoint.refuse_damage(path))
    return checkpoint.load(path, mmap=mapped)


def restore_state(runner: Runner, state: Mapping[str, Any], path: str) -> None:
    """Take weights, their average, optimizers and schedules from a checkpoint; not the place in the data.

    Args:
        runner: of the same run.
        state: the checkpoint.
        path: its file, for messages.

    Raises:
        InputError: weights that do not fit, or an average (`ema`) on one side only.
    """
    if ('ema' in state) != (runner.ema is not None):
        words = ('with', 'without') if 'ema' in state else ('without', 'with')
        raise InputError(f'{path} was written {words[0]} an average of the weights, and this run is {words[1]} one. '
                         'Restore `ema` of the config, or start a new run with `load_from`.', 'ema')
    load_into(runner.task, shard_state(state['state_dict'], runner.task.state_dict()), f'the checkpoint {path}')
    if runner.ema is not None:
        runner.ema.load(state['ema']['raw'], state['ema']['steps'], shard_as)
    for name, moments in state['optimizer'].items():
        load_optimizer(runner.optim_wrapper[name].optimizer, moments)
        if (base := getattr(runner.optim_wrapper[name], 'base_param_settings', None)) is not None:
            base.update(moments.get('base_param_settings') or {})  # the rate that MMEngine's log calls `base_lr`
    for name, group in (runner.param_schedulers or {}).items():
        for schedule, saved in zip(group, state['param_schedulers'][name]):
            restore_schedule(schedule, saved)


def resume_run(runner: Runner, state: Mapping[str, Any], path: str) -> None:
    """Continue exactly where `state` was taken.

    Args:
        runner, state, path: as for `restore_state`.

    Raises:
        InputError: a checkpoint that lacks something, or holds something else.
    """
    if 'optimizer' not in state:
        raise InputError(f'{path} holds weights only; a run cannot be resumed from it. Use `load_from` to start from '
                         'its weights.')
    lacking = [key for key in NEEDS if key not in state]
    if lacking:
        raise InputError(f'{path} has no {", ".join(f"`{key}`" for key in lacking)}: a run cannot be resumed from it '
                         'exactly. Take another checkpoint, or use `load_from` to start from its weights.')
    rank, own = distributed.get_rank(), distributed.get_world_size()
    try:
        world = int(state['meta']['world_size'])
        restore_state(runner, state, path)
        runner._train_loop._iter = int(state['iteration'])
        runner.backward_passes = dict(state.get('backward_passes', {}))
        if rank < len(state['random']):  # of more ranks than there were, the new ones keep what the seed gave them
            checkpoint.set_random_state(state['random'][rank])
    except InputError:
        raise
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, AssertionError, RuntimeError) as e:
        raise InputError(f'{path} does not hold what this run needs to resume ({type(e).__name__}: {reason(e)}). Take '
                         'another checkpoint, or use `load_from` to start from its weights.') from e
    others = '' if world == own else f', written by {format_count(world, "rank")}, with {own}'
    runner.logger.info(f'Resumed {path} at iteration {state["iteration"]}{others}.')
    if runner.iter_done >= runner.max_iters:
        runner.logger.info(f'All {format_count(runner.max_iters, "iteration")} are done; the run is evaluated again. '
                           'Resume it with another max_iters to train for longer.')
