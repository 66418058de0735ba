"""The Runner: MMEngine's, with checkpoints that are whole or not there, exact resumption, and folders that are never overwritten."""
import contextlib
import os
import platform
import signal
import threading

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.runner import Runner as MMRunner

from dtbox import __version__, distributed
from dtbox.config import resolve
from dtbox.config.text import dump_config
from dtbox.errors import InputError, Stopped
from dtbox.evaluation import SetEvaluator
from dtbox.extend import as_list
from dtbox.extend import record as plugin_record
from dtbox.runs import RunFolder, choose_run_folder, find_run_of
from dtbox.training import checkpoint as checkpoints
from dtbox.training import start as beginning
from dtbox.training.launch import explain_lost_rank, start_ranks
from dtbox.training.loops import TrainLoop, ValLoop
from dtbox.training.parallel import gather_shards, load_optimizer, shard_as
from dtbox.training.ready import build_run
from dtbox.training.schedules import StepSchedules
from dtbox.training.task import Task
from dtbox.weights.state_dicts import register_scheme

register_scheme()

SIGNALS = [signal.SIGTERM] + ([signal.SIGUSR1] if hasattr(signal, 'SIGUSR1') else [])
"""What clusters send before they take a machine away."""


class Runner(MMRunner):
    """Trains and evaluates what a config describes. Make one with `Runner.from_config`.

    Attributes:
        plugins: records of the plugins that the run uses.
        ema: WeightEMA, or None.
        configured_batch: what the config says of the batch of a process, which is another where the run goes on with more or fewer of them.
        backward_passes: optimizer name -> backward passes before this process, of a run that goes on.
    """
    plugins, ema, backward_passes, configured_batch = (), None, {}, None

    @classmethod
    def from_config(cls, cfg, work_dir=None, resume=False, launcher='none', accept_plugin_change=False):
        """Build model, data, optimizers and hooks.

        Args:
            cfg: Config as `dtbox.config.load_config` returns it (references not resolved).
            work_dir: run folder; None takes the config's, or work_dirs/NAME.
            resume: continue the run in that folder.
            launcher: 'none', 'pytorch', 'slurm' or 'mpi'.
            accept_plugin_change: resume also where a plugin is missing or has changed since the checkpoint was written.

        Returns:
            Runner, ready for `train()`.
        """
        source, cfg = cfg, resolve(cfg)
        start_ranks(launcher, cfg.get('rank_timeout'))
        for handler in MMLogger.get_current_instance().handlers if distributed.get_rank() else ():  # one process tells what all know
            handler.setLevel('WARNING')
        if cfg.get('threads'):
            torch.set_num_threads(int(cfg.threads))
        work_dir = work_dir or cfg.get('work_dir') or choose_run_folder(source.filename).path
        plugins = beginning.plugin_records(cfg, work_dir if resume else None, accept_plugin_change)
        seed = int(cfg.get('seed', 0))
        configured = (cfg.get('train_dataloader') or {}).get('batch_size')
        if resume:
            beginning.keep_global_batch(cfg, work_dir)
        with find_run_of(source.filename or 'run.py').explain_old_names():
            parts, hooks, schedules, remarks = build_run(cfg, seed)
        beginning.check_same_run(cfg, plugins, len(parts['train'].dataset))
        started = beginning.load_initial_weights(parts['model'], cfg, work_dir if resume else None)
        ema = beginning.build_ema(cfg.get('ema'))
        beginning.place_model(parts['model'], parts['optim'], cfg)
        moved = RunFolder(work_dir).prepare(resume)  # the first thing that changes anything on disk
        runner = cls(
            model=parts['model'], work_dir=work_dir, train_dataloader=parts['train'], train_cfg=dict(cfg.train_cfg),
            optim_wrapper=parts['optim'], param_scheduler=schedules,
            default_hooks=dict(timer=dict(type='IterTimerHook'), runtime_info=dict(type='RuntimeInfoHook'),
                               param_scheduler=StepSchedules(), sampler_seed=None, logger=None, checkpoint=None),
            custom_hooks=hooks, load_from=cfg.get('load_from'), resume=resume, launcher=launcher, randomness=dict(seed=seed),
            env_cfg=dict(cudnn_benchmark=False, dist_cfg=dict(backend='nccl' if torch.cuda.is_available() else 'gloo')),
            visualizer=dict(type='Visualizer', vis_backends=cfg.get('vis_backends') or []), default_scope='mmengine', log_level='WARNING',
            experiment_name=beginning.experiment_name(work_dir), cfg=cfg)
        runner.source_config, runner.val_parts, runner.plugins, runner.configured_batch = source, parts, plugins, configured
        if ema is not None:
            runner.ema = ema
            ema.attach(runner.task.averaged)
        for handler in runner.logger.handlers:  # MMEngine's own start-up lines are of no use to anybody
            handler.setLevel('WARNING' if distributed.get_rank() else 'INFO')
        runner.logger.setLevel('INFO')
        runner.log_setting()
        if moved:
            runner.logger.info(f'{work_dir} held an earlier run; it is now {moved}.')
        if started:
            runner.logger.info(started)
        for remark in remarks:
            runner.logger.warning(remark)
        if not resume:
            runner.dump_config()
        return runner

    def train(self):
        """Train; meanwhile the run folder is this run's alone.

        SIGTERM and SIGUSR1, as clusters send them before they take a machine away, end the run after the iteration at hand, its state saved.

        Raises:
            Stopped: a signal came to one of the processes; all have stopped.
            RankLost: another process has gone.
        """
        with RunFolder(self.work_dir).hold(), self._signals():
            try:
                return super().train()
            except RuntimeError as e:
                gone = explain_lost_rank(e)
                if gone is None:
                    raise
                raise gone from e

    @contextlib.contextmanager
    def _signals(self):
        def stop(number, frame):
            self.task.stop_wanted = True
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {s: signal.signal(s, stop) for s in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def stop_now(self):
        """Save and end: a signal has come to one of the processes."""
        self.save()
        raise Stopped(f'a signal came; the state of iteration {self.iter_done} is saved in {self.work_dir}.')

    def _init_model_weights(self):
        pass  # loaded before the run folder was touched

    def _maybe_compile(self, target):
        pass  # MMEngine would compile the whole step, log and agreement included; `start.place_model` compiles the parts

    def _log_env(self, env_cfg):
        pass  # `log_setting` says what matters

    def log_setting(self):
        """Log versions, processes, threads and seed."""
        self.logger.info(f'dtbox {__version__}, torch {torch.__version__}, python {platform.python_version()}, '
                         f'{distributed.get_world_size()} process(es), {torch.get_num_threads()} thread(s), seed {self._seed}')
        for record in self.plugins:
            self.logger.info(f'Plugin {plugin_record.describe(record)}')

    def dump_config(self):
        """Write the config, bases merged and references kept, as config.py of the run folder; plugins.json; and the files of the task."""
        source = getattr(self, 'source_config', None)
        if source is None or distributed.get_rank() != 0:
            return
        plugin_record.write(self.work_dir, self.plugins)
        named = list(dict.fromkeys([*as_list(source.get('plugins')), *(p['source'] for p in self.plugins if p['kind'] != 'installed')]))
        if named:  # those that were loaded from Python, too
            source = Config({**source._cfg_dict.to_dict(), 'plugins': named}, format_python_code=False)
        run = RunFolder(self.work_dir)
        run.write_origin()
        dump_config(source, run.config, header=f'Written by dtbox {__version__}; bases merged.')
        self.task.save_files(self.work_dir)

    @property
    def task(self) -> Task:
        """What is trained."""
        return self.model

    @property
    def core(self) -> None:
        """The old name of `task`."""
        raise AttributeError('`runner.core` is now called `runner.task` (since dtbox 0.2.0).')

    def wrap_model(self, model_wrapper_cfg, model):
        """Return the model, which is on its device and wrapped already (see `start.place_model`)."""
        return model

    def build_train_loop(self, loop):
        """Return the TrainLoop of `train_cfg`."""
        return loop if isinstance(loop, TrainLoop) else TrainLoop(self, self._train_dataloader, **loop)

    def build_param_scheduler(self, scheduler):
        """Return dict optimizer name -> list of schedules, which are built already."""
        return scheduler

    @property
    def val_loop(self):
        """The ValLoop, or None where the config has no held-out data."""
        if self._val_loop is None and self.val_parts.get('val') is not None:
            metrics = self.val_parts['metrics']
            self._val_loop = ValLoop(self, self.val_parts['val'], lambda: SetEvaluator(metrics))
        return self._val_loop

    # ---- checkpoints ------------------------------------------------------------------------------------------

    def checkpoint_state(self):
        """Return everything that an exact continuation needs; a collective where there are several ranks."""
        averaged = {}
        if self.ema is not None:
            raw = {n: p.detach() for n, p in self.task.averaged.named_parameters() if n in self.ema.weights}
            averaged = dict(ema=dict(raw={n: v.clone() for n, v in gather_shards(raw).items()}, steps=self.ema.steps))
        with self.averaged():
            state = gather_shards(self.task.state_dict())
            state = {k: v.clone() for k, v in state.items()} if averaged else state
        return dict(
            meta=self.checkpoint_meta(), state_dict=state, **averaged, optimizer=gather_shards(self.optim_wrapper.state_dict()),
            param_schedulers={n: [s.state_dict() for s in group] for n, group in (self.param_schedulers or {}).items()},
            iteration=self.iter_done, backward_passes={n: o._inner_count for n, o in self.optim_wrapper.items()},
            random=checkpoints.gathered_random_states())

    def averaged(self):
        """Return a context in which the model has the averaged weights, where the run keeps an average (`ema`)."""
        return contextlib.nullcontext() if self.ema is None else self.ema.applied()

    @property
    def iter_done(self):
        """Iterations that are finished, the one whose hooks are running included."""
        return int(self.task.iteration)

    @property
    def accumulating(self):
        """Whether gradients wait for more (`accumulative_counts`), which a checkpoint does not hold."""
        return not all(optim.should_update() for optim in self.optim_wrapper.values())

    def checkpoint_meta(self):
        """Return what a reader wants to know before loading: versions, seed, data, what the task adds, plugins."""
        return dict(dtbox=__version__, torch=str(torch.__version__), seed=int(self._seed or 0), world_size=distributed.get_world_size(),
                    batch_size=self._train_dataloader.batch_sampler.batch_size, configured_batch=self.configured_batch,
                    samples=len(self._train_dataloader.dataset),
                    **self.task.checkpoint_meta, plugins=list(self.plugins))

    def save(self, path=None):
        """Write a checkpoint to `path` (None: that of the run folder); an older one there stays until the new one is whole."""
        state, path = self.checkpoint_state(), path or RunFolder(self.work_dir).checkpoint
        distributed.run_on_first_rank(lambda: checkpoints.save(state, path))  # a full disk ends all ranks, and none waits

    def load_or_resume(self):
        """Load weights (`load_from`), or continue the run of this folder (`resume`)."""
        if self._has_loaded:
            return
        if self._resume:
            path = RunFolder(self.work_dir).checkpoint
            if os.path.isfile(path):
                self.resume_run(checkpoints.load(path), path)
            else:
                self.logger.info(f'{self.work_dir} has no checkpoint yet; the run starts from the beginning.')
            self.dump_config()  # not before: a run that cannot be resumed keeps its config
        self._has_loaded = True

    def roll_back(self, path):
        """Take weights, optimizers and schedules from a checkpoint of this run; data and random state go on."""
        state = checkpoints.load(path)
        self._take_state(state, path)

    def _take_state(self, state, path):
        if ('ema' in state) != (self.ema is not None):
            words = ('with', 'without') if 'ema' in state else ('without', 'with')
            raise InputError(f'{path} was written {words[0]} an average of the weights, and this run is {words[1]} one. Restore `ema` of the config, '
                             'or start a new run with `load_from`.', 'ema')
        beginning.load_model(self.task, state, path)
        if self.ema is not None:
            self.ema.load(state['ema']['raw'], state['ema']['steps'], shard_as)
        for name, saved in state['optimizer'].items():
            load_optimizer(self.optim_wrapper[name].optimizer, saved)
        for name, group in (self.param_schedulers or {}).items():
            for scheduler, saved in zip(group, state['param_schedulers'][name]):
                scheduler.load_state_dict(saved)

    def resume_run(self, state, path):
        """Continue exactly where `state` was taken."""
        if 'optimizer' not in state:
            raise InputError(f'{path} holds weights only; a run cannot be resumed from it. Use `load_from` to start from its weights.')
        meta, mine = state['meta'], self.checkpoint_meta()
        meta, mine = ({**m, 'batch': m['batch_size'] * m['world_size']} for m in (meta, mine))
        fixed = dict(samples='training samples', batch='samples a batch', seed='as the seed', **self.task.fixed_meta)
        for key, what in fixed.items():
            if meta.get(key) != mine[key]:
                raise InputError(f'{path} was trained with {meta.get(key)} {what}, this run has {mine[key]}; it would not continue the '
                                 'same run. Restore the setting, or start a new run with `load_from`.')
        self._take_state(state, path)
        self._train_loop._iter = int(state['iteration'])
        self.backward_passes = state.get('backward_passes', {})
        others = '' if meta['world_size'] == mine['world_size'] else f', written by {meta["world_size"]} processes, with {mine["world_size"]}'
        if distributed.get_rank() < len(state['random']):  # of more ranks than there were, the new ones keep what the seed gave them
            checkpoints.set_random_state(state['random'][distributed.get_rank()])
        self.logger.info(f'Resumed {path} at iteration {state["iteration"]}{others}.')
