"""The training loop and the loop that evaluates during training.

The training loop counts iterations and asks its sampler for batch `iteration`, so that a run resumes by starting at
another number. Evaluation runs one pass over the held-out sets (`dtbox.evaluation.loop`).
"""
from __future__ import annotations

import os
import shlex
from typing import Any, Callable, Iterator, NoReturn

import torch
from mmengine.runner.base_loop import BaseLoop
from torch.utils.data import DataLoader

from dtbox import distributed
from dtbox.datasets import collate
from dtbox.errors import DataError, Diverged, InputError
from dtbox.evaluation import SetEvaluator
from dtbox.evaluation.loop import evaluate
from dtbox.evaluation.results import Results
from dtbox.files import replacing
from dtbox.runs import RunFolder
from dtbox.structures import Batch
from dtbox.training import checkpoint
from dtbox.training.task import Task


class StopEvaluation(Exception):
    """A signal has come while the last evaluation runs."""


class TrainLoop(BaseLoop):
    """Run `max_iters` training iterations.

    Args:
        runner, dataloader: as MMEngine gives them.
        max_iters: number of iterations.
        val_interval: evaluate every so many iterations; 0 evaluates at the end only.
        tolerate: iterations in a row whose loss or gradients may be NaN or infinite. They are skipped, named in the
            log, and their batches kept in `nonfinite/` of the run folder. One more in a row rolls weights and
            optimizers back to the last checkpoint, and the run continues with the next data; the third time it stops. 0
            stops at the first one.
    """

    def __init__(self, runner: Any, dataloader: DataLoader, max_iters: int, val_interval: int = 0,
                 tolerate: int = 0) -> None:
        super().__init__(runner, dataloader)
        self._max_iters, self._iter = int(max_iters), 0
        self.val_interval, self.skips = val_interval, Skips(int(tolerate))
        self.stop_training, self.broken = False, 0

    @property
    def max_iters(self) -> int:
        """Number of iterations."""
        return self._max_iters

    @property
    def max_epochs(self) -> int:
        """1: MMEngine's hooks see one long epoch."""
        return 1

    @property
    def iter(self) -> int:
        """Iterations done."""
        return self._iter

    @property
    def epoch(self) -> int:
        """0: MMEngine's hooks see one long epoch."""
        return 0

    def run(self) -> Task:
        """Train from the present iteration to `max_iters`, then evaluate."""
        runner = self.runner
        runner.call_hook('before_train')
        runner.task.train()
        self.dataloader.batch_sampler.cursor = self._iter
        batches = iter(self.dataloader)
        # accumulation stays in step; MMEngine counts iterations, skipped ones too
        for name, count in runner.backward_passes.items():
            runner.optim_wrapper[name]._inner_count = count
        runner.call_hook('before_train_epoch')
        while self._iter < self._max_iters and not self.stop_training:
            runner.signals.in_step = True
            try:
                self.run_iter(self._read(batches))
            except DataError as e:
                self._end_unread(e)
            if runner.task.stop_agreed and not runner.accumulating:
                runner.stop_now()
            runner.signals.in_step = False  # a stop that comes now is heeded at once
            due = self.val_interval and self._iter % self.val_interval == 0 and self._iter < self._max_iters
            if due and runner.val_loop is not None:
                runner.val_loop.run()
                runner.task.train()
        if runner.signals.interrupted and distributed.get_world_size() == 1:  # in the last step, which no other follows
            runner.stop_now()
        runner.call_hook('after_train_epoch')
        if runner.val_loop is not None:
            try:
                runner.val_loop.run(self._heed)
            except StopEvaluation:
                runner.stop_now()
        runner.call_hook('after_train')
        return runner.task

    def _heed(self) -> None:
        """End the last evaluation where a signal has come, on one rank alone: `--resume` evaluates anew."""
        if self.runner.task.stop_wanted and distributed.get_world_size() == 1:
            raise StopEvaluation

    def _read(self, batches: Iterator[Batch]) -> Batch:
        """Return the next batch; an empty one where it cannot be read, which the step tells all ranks."""
        try:
            return next(batches)
        except DataError as e:
            if distributed.get_world_size() == 1:
                raise
            self.runner.task.unread = str(e)
            return collate([])

    def _end_unread(self, error: DataError) -> NoReturn:
        """Save and end: a batch cannot be read. While gradients accumulate, the last checkpoint stays."""
        if not self.runner.accumulating:
            self.runner.save()
        raise InputError(f'at iteration {self._iter + 1}, {error} {tell_resume(self.runner.work_dir)}') from error

    def run_iter(self, batch: Batch) -> None:
        """Run one iteration."""
        task, optimizers = self.runner.task, self.runner.optim_wrapper
        self._log_broken(batch)
        self.runner.call_hook('before_train_iter', batch_idx=self._iter, data_batch=batch)
        try:
            outputs = task.train_step(batch, optim_wrapper=optimizers)
            self.skips.in_a_row = 0
            if self.runner.ema is not None and optimizers[task.main_part].should_update():  # it has just stepped
                self.runner.ema.update()
        except Diverged as e:
            outputs = self._skip(batch, e)
        self.runner.call_hook('after_train_iter', batch_idx=self._iter, data_batch=batch, outputs=outputs)
        self._iter += 1

    def _skip(self, batch: Batch, error: Diverged) -> dict:
        """Skip an iteration that diverged, roll back, or stop; return its outputs for the hooks: none."""
        runner, skips = self.runner, self.skips
        run = RunFolder(runner.work_dir)
        if skips.tolerate:
            skips.keep(run, self._iter, batch)
        skips.in_a_row, skips.count = skips.in_a_row + 1, skips.count + 1
        if skips.in_a_row > skips.tolerate:
            whole = run.has_checkpoint()
            if not skips.tolerate or not whole or skips.rollbacks == skips.MOST:
                state = f'The last good state is {run.checkpoint}' if whole else 'There is no checkpoint yet'
                raise Diverged(f'at iteration {self._iter + 1}, {error} {state}.') from error
            skips.in_a_row, skips.rollbacks = 0, skips.rollbacks + 1
            runner.logger.warning(f'iteration {self._iter + 1}: {error} That was {skips.tolerate + 1} in a row: '
                                  f'weights and optimizers go back to {run.checkpoint} (rollback {skips.rollbacks} of '
                                  f'{skips.MOST}); the data continue.')
            runner.roll_back(run.checkpoint)
        else:
            runner.logger.warning(f'iteration {self._iter + 1} is skipped ({skips.in_a_row} in a row, {skips.count} in '
                                  f'all): {error}')
        runner.task.iteration.fill_(self._iter + 1)
        return {}

    def _log_broken(self, batch: Batch) -> None:
        """Name samples that could not be read: the first ones each, later ones by their number now and then."""
        for sentence in batch.broken or ():
            self.broken += 1
            if self.broken <= 10 or self.broken % 100 == 0:
                self.runner.logger.warning(f'{sentence}; left out ({self.broken} so far on this rank).')


def tell_resume(work_dir: str) -> str:
    """Return what is saved of a run whose data cannot be read, and how it continues."""
    run = RunFolder(work_dir)
    kept = f'The last state is {run.checkpoint}' if run.has_checkpoint() else 'No state is saved yet'
    return f'{kept}; once the data are mended, the run continues by: dtbox train {shlex.quote(run.path)} --resume.'


class Skips:
    """Iterations that were skipped because they diverged.

    Args:
        tolerate: how many in a row are skipped.

    Attributes:
        in_a_row, count, rollbacks: so far.
    """
    MOST, KEPT = 2, 20

    def __init__(self, tolerate: int) -> None:
        if tolerate < 0:
            raise InputError(f'`tolerate` is {tolerate}; expected a number of iterations, 0 or more.',
                             'train_cfg.tolerate')
        self.tolerate, self.in_a_row = tolerate, 0
        self.count, self.rollbacks = 0, 0

    def keep(self, run: RunFolder, iteration: int, batch: Batch) -> None:
        """Write a batch that diverged to `nonfinite/` of the run folder, the first ones of a run."""
        if self.count < self.KEPT:
            os.makedirs(run.nonfinite, exist_ok=True)
            with replacing(run.nonfinite_batch(iteration + 1, distributed.get_rank())) as temporary:
                torch.save(dict(images=batch.images, keys=batch.keys, texts=batch.texts), temporary)


class ValLoop(BaseLoop):
    """Evaluate on the held-out sets.

    Args:
        runner, dataloader: as MMEngine gives them.
        make_evaluator: callable without arguments -> SetEvaluator.

    Attributes:
        results, evaluator: of the last evaluation.
    """

    def __init__(self, runner: Any, dataloader: DataLoader, make_evaluator: Callable[[], SetEvaluator]) -> None:
        super().__init__(runner, dataloader)
        self.make_evaluator = make_evaluator
        self.results: Results | None = None
        self.evaluator: SetEvaluator | None = None

    def run(self, heed: Callable[[], None] = lambda: None) -> Results:
        """Evaluate; return and keep the results. The random state of the training is as before.

        Args:
            heed: called before each batch; may raise to end the evaluation.
        """
        before = checkpoint.get_random_state()
        try:
            return self._run(heed)
        except DataError as e:
            raise InputError(f'{e} {tell_resume(self.runner.work_dir)}') from e
        finally:
            checkpoint.set_random_state(before)

    def _run(self, heed: Callable[[], None]) -> Results:
        with self.runner.averaged(), self.runner.task.whole():
            self.runner.call_hook('before_val')
            self.runner.call_hook('before_val_epoch')
            self.evaluator = self.make_evaluator()
            self.results = evaluate(self.runner.task, self.dataloader, self.evaluator, heed=heed)
            self.runner.call_hook('after_val_epoch', metrics=self.results.flat())
            self.runner.call_hook('after_val')
        return self.results
