"""The beginning of a run: its folder, its plugins, the weights it starts from, and whether all processes mean the same run."""
import hashlib
import os

import torch

from dtbox import __version__, distributed
from dtbox.config.text import format_config
from dtbox.errors import InputError
from dtbox.extend import record as plugin_record
from dtbox.memory import keep_freed_memory
from dtbox.registry import WRAPPERS, check_arguments
from dtbox.runs import RunFolder
from dtbox.training import checkpoint as checkpoints
from dtbox.training.build import divided
from dtbox.training.compiling import compile_task
from dtbox.training.ema import WeightEMA
from dtbox.training.parallel import shard_state
from dtbox.weights.state_dicts import load_into


def check_same_run(cfg, plugins, samples):
    """Raise `InputError` on every process where they do not mean the same run.

    Args:
        cfg: resolved Config.
        plugins: records of this process's plugins.
        samples: size of the training set.
    """
    if distributed.get_world_size() == 1:
        return
    plain = {k: v for k, v in cfg._cfg_dict.to_dict().items() if k != 'plugins'}  # their content counts, not their place
    mine = {f'the plugin {p["name"]}': f'hash {p["hash"]}' + (f', version {p["version"]}' if p['version'] else '') for p in plugins}
    mine.update({'dtbox': __version__, 'torch': str(torch.__version__), 'the training set': f'{samples} samples',
                 'the config': hashlib.sha256(format_config(plain).encode()).hexdigest()[:12]})
    everywhere = distributed.gather_objects(mine)
    for what in sorted({name for found in everywhere for name in found}):
        values = [found.get(what, 'not there') for found in everywhere]
        odd = next((rank for rank, value in enumerate(values) if value != values[0]), None)
        if odd is not None:
            raise InputError(f'the processes do not mean the same run: {what} is {values[0]} on rank 0 and {values[odd]} on rank {odd}. Let all '
                             'nodes have the same versions, files and arguments.')


def build_ema(cfg):
    """Return the WeightEMA of `ema=dict(decay=...)`, or None."""
    if not cfg:
        return None
    if not isinstance(cfg, dict):
        raise InputError(f'`ema` is {cfg!r}; expected dict(decay=0.9999), or None.', 'ema')
    try:
        check_arguments(WeightEMA, cfg, 'the average of the weights')
    except InputError as e:
        raise e.within('ema') from e.__cause__
    return WeightEMA(**cfg)


def place_model(model, optim, cfg):
    """Move a Task to its device, compile it (`compile`), and let several processes share it (`model_wrapper_cfg`; DDP by default)."""
    if torch.cuda.is_available():
        model.to(torch.device('cuda', torch.cuda.current_device()))
    else:
        keep_freed_memory()
    if cfg.get('compile'):
        compile_task(model, cfg.compile)
    WRAPPERS.build(cfg.get('model_wrapper_cfg') or dict(type='DDP'), where='model_wrapper_cfg').wrap(model, optim)


def keep_global_batch(cfg, work_dir):
    """Resuming on another number of processes, let each have its part of the batch that the run in `work_dir` is trained with; also where it has been
    resumed so before, and the config still says what it said at first."""
    path = RunFolder(work_dir).checkpoint
    if not os.path.isfile(path):
        return
    meta, world, loader = checkpoints.load(path, mmap=True).get('meta') or {}, distributed.get_world_size(), cfg.get('train_dataloader') or {}
    before, batch = meta.get('world_size', world), meta.get('batch_size')
    if batch is not None and loader.get('batch_size') == meta.get('configured_batch', batch):
        loader['batch_size'] = divided(before * batch, world, f'{path} was trained by {before} processes; its batch')


def load_initial_weights(model, cfg, resumed=None):
    """Load the weights that a new run starts from: those that its parts name, and `load_from`. Nothing where `resumed` has a checkpoint.

    Returns:
        what to say about `load_from`, or None.
    """
    if resumed and RunFolder(resumed).has_checkpoint():
        model.init_frozen_weights()
        return None
    model.init_weights()
    return start_from(model, cfg.load_from) if cfg.get('load_from') else None


def start_from(model, path):
    """Let a new run start from the weights of another (the stage before) or of a converted checkpoint: all of them, but for those that the task
    may do without (see `Task.choose_start`). Iterations are counted from 0.

    Args:
        model: Task.
        path: checkpoint or run folder.

    Returns:
        what to say about it.

    Raises:
        InputError: listing the keys that do not match.
    """
    checkpoint = checkpoints.load(path)
    own, state = model.state_dict(), {k: v for k, v in checkpoint['state_dict'].items() if k != 'iteration'}
    said = f'Starting from {path}' + (f', iteration {checkpoint["iteration"]}' if 'iteration' in checkpoint else '')
    skipped, remark = model.choose_start(list(state))
    load_into(model, shard_state(state, own), f'the checkpoint {path}', ignore=('iteration', *skipped))
    return f'{said}; {remark}.' if remark else f'{said}.'


def load_model(model, state, path):
    """Load a checkpoint's weights into a Task; `InputError` lists the keys that do not match."""
    load_into(model, shard_state(state['state_dict'], model.state_dict()), f'the checkpoint {path}')


def plugin_records(cfg, run=None, accept=False):
    """Return the records of a config's plugins; `InputError` where those of the run folder `run` differ, unless `accept`."""
    path = RunFolder(run or '').checkpoint
    earlier = []
    if run is not None and os.path.isfile(path):
        earlier = (checkpoints.load(path, mmap=True).get('meta') or {}).get('plugins') or []
    found = plugin_record.records(cfg, earlier)
    if not accept:
        plugin_record.refuse_changes(earlier, found, path)
    return found


def experiment_name(work_dir):
    """Return a name for MMEngine's registry of runs: unique, since a process may make several."""
    import uuid
    return f'{os.path.basename(os.path.normpath(work_dir))}_{uuid.uuid4().hex[:8]}'
