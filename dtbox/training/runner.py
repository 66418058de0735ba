"""The Runner: MMEngine's, with whole checkpoints, exact resumption, and run folders that are never overwritten."""
from __future__ import annotations

import contextlib
import os
import weakref
from typing import Any, ContextManager, Mapping

import torch
from mmengine.config import Config
from mmengine.runner import Runner as MMRunner

from dtbox import __version__, distributed
from dtbox.config import resolve_checked
from dtbox.config.text import dump_config
from dtbox.errors import Stopped
from dtbox.evaluation import SetEvaluator
from dtbox.extend import as_list, record
from dtbox.runs import RunFolder, choose_run_folder
from dtbox.training import checkpoint, startup, summary
from dtbox.training.ema import WeightEMA
from dtbox.training.launch import explain_lost_rank, start_ranks
from dtbox.training.loops import TrainLoop, ValLoop
from dtbox.training.resume import collect_state, open_checkpoint, restore_state, resume_run
from dtbox.training.schedules import StepSchedules
from dtbox.training.signals import StopSignals
from dtbox.training.task import Task
from dtbox.waiting import watch_neighbours
from dtbox.weights.state_dicts import register_scheme

register_scheme()

class Runner(MMRunner):
    """Trains and evaluates what a config describes. Make one with `Runner.from_config`.

    Attributes:
        plugins: records of the plugins that the run uses.
        ema: WeightEMA, or None.
        folder: RunFolder of the run, which holds its lock.
        same_run: what a checkpoint notes of which run it is.
        backward_passes: optimizer name -> backward passes before a run was resumed.
    """
    folder: RunFolder
    signals: StopSignals
    plugins: list[dict] = []
    ema: WeightEMA | None = None
    same_run: Mapping[str, Any] = {}
    backward_passes: Mapping[str, int] = {}
    _val_loop: ValLoop | None
    _has_loaded: bool

    @classmethod
    def from_config(cls, cfg: Config, work_dir: str | None = None, resume: bool = False, launcher: str = 'none',
                    accept_plugin_change: bool = False) -> Runner:
        """Build task, data, optimizers and hooks.

        Args:
            cfg: Config as `dtbox.config.load_config` returns it (references not resolved).
            work_dir: run folder; None takes the config's, or work_dirs/NAME.
            resume: continue the run in that folder.
            launcher: 'none', 'pytorch', 'slurm' or 'mpi'.
            accept_plugin_change: resume also where a plugin is missing or has changed since the checkpoint was written.

        Returns:
            Runner, ready for `train()`.
        """
        source, cfg = cfg, resolve_checked(cfg)
        start_ranks(launcher, cfg.get('rank_timeout'))
        startup.silence_other_ranks()
        if cfg.get('threads'):
            torch.set_num_threads(cfg.threads)
        work_dir = work_dir or cfg.get('work_dir') or choose_run_folder(source.filename).path
        ready = startup.prepare_run(cfg, source, work_dir if resume else None, accept_plugin_change)
        folder = RunFolder(work_dir)
        moved = folder.prepare(resume)  # the first thing that changes anything on disk
        try:
            return cls._make(cfg, source, folder, ready, resume, launcher, moved)
        except BaseException:
            folder.release()
            raise

    @classmethod
    def _make(cls, cfg: Config, source: Config, folder: RunFolder, ready: startup.Prepared, resume: bool,
              launcher: str, moved: str | None) -> Runner:
        parts, work_dir = ready.built.parts, folder.path
        runner = cls(
            model=parts['model'], work_dir=work_dir, train_dataloader=parts['train'], train_cfg=dict(cfg.train_cfg),
            optim_wrapper=parts['optim'], param_scheduler=ready.built.schedules,
            default_hooks=dict(timer=dict(type='IterTimerHook'), runtime_info=dict(type='RuntimeInfoHook'),
                               param_scheduler=StepSchedules(), sampler_seed=None, logger=None, checkpoint=None),
            custom_hooks=[*ready.built.hooks.values()], load_from=cfg.get('load_from'), launcher=launcher,
            randomness=dict(seed=cfg.get('seed', 0)), cfg=cfg, default_scope='mmengine', log_level='WARNING',
            env_cfg=dict(cudnn_benchmark=False, dist_cfg=dict(backend='nccl' if torch.cuda.is_available() else 'gloo')),
            visualizer=dict(type='Visualizer', vis_backends=cfg.get('vis_backends') or []),
            experiment_name=startup.name_experiment(work_dir), resume=resume)
        runner.folder = folder
        weakref.finalize(runner, folder.release)
        runner._begin(source, ready, moved)
        return runner

    def _begin(self, source: Config, ready: startup.Prepared, moved: str | None) -> None:
        """Keep what MMEngine's Runner does not know; log what was found; write the config of a new run."""
        self.source_config, self.val_parts = source, ready.built.parts
        self.plugins, self.same_run = ready.plugins, ready.same_run
        if ready.ema is not None:
            self.ema = ready.ema
            self.ema.attach(self.task.averaged)
        for handler in self.logger.handlers:  # MMEngine's own start-up lines are of no use to anybody
            handler.setLevel('WARNING' if distributed.get_rank() else 'INFO')
        self.logger.setLevel('INFO')
        self.log_setting()
        if moved:
            self.logger.info(f'{self.work_dir} held an earlier run; it is now {moved}.')
        if ready.start:
            self.logger.info(ready.start)
        for remark in ready.built.remarks:
            self.logger.warning(remark)
        if not self._resume:
            self.dump_config()
        watch_neighbours()

    @property
    def task(self) -> Task:
        """What is trained."""
        return self.model

    @property
    def core(self) -> None:
        """The old name of `task`."""
        raise AttributeError('`runner.core` is now called `runner.task` (since dtbox 0.2.0).')

    def train(self) -> Task:
        """Train; meanwhile no other run trains in the run folder.

        SIGTERM and SIGUSR1, as clusters send them before they take a machine away, and Ctrl-C end the run after the
        present iteration, its state saved. A second Ctrl-C ends it at once, and so does one during an evaluation: the
        state before it is saved anyway.

        Raises:
            Stopped: a signal came to one of the ranks; all have stopped.
            KeyboardInterrupt: after Ctrl-C.
            RankLost: another rank has gone.
        """
        with self.folder.hold(), StopSignals(self.task) as self.signals:
            try:
                return super().train()
            except RuntimeError as e:
                lost = explain_lost_rank(e)
                if lost is None:
                    raise
                raise lost from e
            finally:
                self.visualizer.close()  # what its backends have not written yet

    def stop_now(self) -> None:
        """Save and end: a signal has come to one of the ranks."""
        self.save()
        if self.signals.interrupted:
            raise KeyboardInterrupt
        raise Stopped(f'a signal came; the state of iteration {self.iter_done} is saved in {self.work_dir}.')

    def log_setting(self) -> None:
        """Log versions, ranks, threads, seed, images and parameters."""
        for line in (*summary.describe_setting(self._seed, self.plugins),
                     *summary.describe_contents(self.task, self.val_parts)):
            self.logger.info(line)

    def dump_config(self) -> None:
        """Write config.py (bases merged, references kept), plugins.json and the task's files into the run folder."""
        source = getattr(self, 'source_config', None)
        if source is None or distributed.get_rank() != 0:
            return
        record.write_records(self.work_dir, self.plugins)
        loaded = [plugin['source'] for plugin in self.plugins if plugin['kind'] != 'installed']
        named = list(dict.fromkeys([*as_list(source.get('plugins')), *loaded]))
        if named:  # those that were loaded from Python, too
            source = Config({**source._cfg_dict.to_dict(), 'plugins': named}, format_python_code=False)
        run = RunFolder(self.work_dir)
        run.write_origin()
        dump_config(source, run.config, header=f'Written by dtbox {__version__}; bases merged.')
        self.task.save_files(self.work_dir)

    # ---- what MMEngine asks -------------------------------------------------------------------------------------

    def _init_model_weights(self) -> None:
        pass  # loaded before the run folder was touched

    def _maybe_compile(self, target: str) -> None:
        pass  # MMEngine would compile the whole step, log included; `startup.place_task` compiles the parts

    def _log_env(self, env_cfg: Any) -> None:
        pass  # `log_setting` says what matters

    def wrap_model(self, model_wrapper_cfg: Any, model: Task) -> Task:
        """Return the task, which is on its device and wrapped already (see `startup.place_task`)."""
        return model

    def build_train_loop(self, loop: Any) -> TrainLoop:
        """Return the TrainLoop of `train_cfg`."""
        return loop if isinstance(loop, TrainLoop) else TrainLoop(self, self._train_dataloader, **loop)

    def build_param_scheduler(self, scheduler: Any) -> Any:
        """Return part -> list of schedules, which are built already."""
        return scheduler

    @property
    def val_loop(self) -> ValLoop | None:
        """The ValLoop, or None where the config has no held-out data."""
        if self._val_loop is None and self.val_parts.get('val') is not None:
            metrics = self.val_parts['metrics']
            self._val_loop = ValLoop(self, self.val_parts['val'], lambda: SetEvaluator(metrics))
        return self._val_loop

    # ---- checkpoints --------------------------------------------------------------------------------------------

    def averaged(self) -> ContextManager:
        """Return a context in which the task has the averaged weights, where the run keeps an average (`ema`)."""
        return contextlib.nullcontext() if self.ema is None else self.ema.applied()

    @property
    def iter_done(self) -> int:
        """Iterations that are finished, the one whose hooks are running included."""
        return int(self.task.iteration)

    @property
    def accumulating(self) -> bool:
        """Whether gradients wait for more (`accumulative_counts`), which a checkpoint does not hold."""
        return not all(optim.should_update() for optim in self.optim_wrapper.values())

    def save(self, path: str | None = None) -> None:
        """Write a checkpoint to `path` (None: that of the run folder); the old one stays until the new one is whole."""
        state, path = collect_state(self), path or self.folder.checkpoint
        self.folder.check_exists()
        distributed.run_on_first_rank(lambda: checkpoint.save(state, path))  # a full disk ends all ranks; none waits

    def load_or_resume(self) -> None:
        """Continue the run of this folder (`resume`); the weights of a new run are loaded already."""
        if self._has_loaded:
            return
        if self._resume:
            if os.path.isfile(path := self.folder.checkpoint):
                resume_run(self, open_checkpoint(self, path), path)
            else:
                self.logger.info(f'{self.work_dir} has no checkpoint yet; the run starts from the beginning.')
            self.dump_config()  # not before: a run that cannot be resumed keeps its config
        self._has_loaded = True

    def roll_back(self, path: str) -> None:
        """Take weights, optimizers and schedules from a checkpoint of this run; data and random states continue."""
        restore_state(self, open_checkpoint(self, path), path)
