"""The training loop and the loop that evaluates during training.

The training loop counts iterations and asks its sampler for batch `iteration`, so that resuming is a matter of starting at
another number. Evaluation runs one pass over the held-out sets (`dtbox.evaluation.loop`).
"""
import os

import torch
from mmengine.runner.base_loop import BaseLoop

from dtbox import distributed
from dtbox.errors import Diverged, InputError
from dtbox.evaluation.loop import evaluate
from dtbox.runs import RunFolder


class TrainLoop(BaseLoop):
    """Run `max_iters` training iterations.

    Args:
        runner, dataloader: as MMEngine gives them.
        max_iters: number of iterations.
        val_interval: evaluate every so many iterations; 0 evaluates at the end only.
        tolerate: iterations in a row whose loss or gradients may be NaN or infinite: they are skipped, named in the log, and their batches kept in
            `nonfinite/` of the run folder. One more in a row rolls weights and optimizers back to the last checkpoint, and the run goes on with the
            data behind; the third time it stops. 0 stops at the first one.
    """

    def __init__(self, runner, dataloader, max_iters, val_interval=0, tolerate=0):
        super().__init__(runner, dataloader)
        self._max_iters, self.val_interval, self._iter = int(max_iters), val_interval, 0
        self.stop_training, self.broken, self.skips = False, 0, Skips(int(tolerate))

    @property
    def max_iters(self):
        """Number of iterations."""
        return self._max_iters

    @property
    def max_epochs(self):
        """1: MMEngine's hooks see one long epoch."""
        return 1

    @property
    def iter(self):
        """Iterations done."""
        return self._iter

    @property
    def epoch(self):
        """0: MMEngine's hooks see one long epoch."""
        return 0

    def run(self):
        """Train from the current iteration to `max_iters`, then evaluate."""
        runner = self.runner
        runner.call_hook('before_train')
        runner.task.train()
        self.dataloader.batch_sampler.cursor = self._iter
        batches = iter(self.dataloader)
        for name, count in runner.backward_passes.items():  # accumulation goes on in step; MMEngine counts iterations, skipped ones too
            runner.optim_wrapper[name]._inner_count = count
        runner.call_hook('before_train_epoch')
        while self._iter < self._max_iters and not self.stop_training:
            self.run_iter(next(batches))
            if runner.task.stop_agreed and not runner.accumulating:
                runner.stop_now()
            due = self.val_interval and self._iter % self.val_interval == 0 and self._iter < self._max_iters
            if due and runner.val_loop is not None:
                runner.val_loop.run()
                runner.task.train()
        runner.call_hook('after_train_epoch')
        if runner.val_loop is not None:
            runner.val_loop.run()
        runner.call_hook('after_train')
        return runner.task

    def run_iter(self, batch):
        """Run one iteration."""
        task = self.runner.task
        self._tell_broken(batch)
        self.runner.call_hook('before_train_iter', batch_idx=self._iter, data_batch=batch)
        try:
            outputs = task.train_step(batch, optim_wrapper=self.runner.optim_wrapper)
            self.skips.in_a_row = 0
            if self.runner.ema is not None and self.runner.optim_wrapper[task.main_part].should_update():  # that is: it has just stepped
                self.runner.ema.update()
        except Diverged as e:
            outputs = self._skip(batch, e)
        self.runner.call_hook('after_train_iter', batch_idx=self._iter, data_batch=batch, outputs=outputs)
        self._iter += 1

    def _skip(self, batch, error):
        """Skip an iteration that diverged, roll back, or stop; returns its outputs for the hooks: none."""
        runner, skips = self.runner, self.skips
        run = RunFolder(runner.work_dir)
        kept, whole = run.checkpoint, run.has_checkpoint()
        if skips.tolerate:
            skips.keep(runner.work_dir, self._iter, batch)
        skips.in_a_row, skips.count = skips.in_a_row + 1, skips.count + 1
        if skips.in_a_row > skips.tolerate:
            if not skips.tolerate or not whole or skips.rollbacks == skips.MOST:
                state = f'The last good state is {kept}' if whole else 'There is no checkpoint yet'
                raise Diverged(f'at iteration {self._iter + 1}, {error} {state}.') from error
            skips.in_a_row, skips.rollbacks = 0, skips.rollbacks + 1
            runner.logger.warning(f'iteration {self._iter + 1}: {error} That was {skips.tolerate + 1} in a row: weights and optimizers go back to '
                                  f'{kept} (rollback {skips.rollbacks} of {skips.MOST}); the data go on.')
            runner.roll_back(kept)
        else:
            runner.logger.warning(f'iteration {self._iter + 1} is skipped ({skips.in_a_row} in a row, {skips.count} in all): {error}')
        runner.task.iteration.fill_(self._iter + 1)
        return {}

    def _tell_broken(self, batch):
        """Name samples that could not be read, the first ones one by one, later ones by their number now and then."""
        for sentence in batch.broken or ():
            self.broken += 1
            if self.broken <= 10 or self.broken % 100 == 0:
                self.runner.logger.warning(f'{sentence}; left out ({self.broken} so far on this process).')


class Skips:
    """Iterations that were skipped because they diverged.

    Attributes:
        tolerate: in a row that are let pass.
        in_a_row, count, rollbacks: so far.
    """
    MOST, KEPT = 2, 20

    def __init__(self, tolerate):
        if tolerate < 0:
            raise InputError(f'`tolerate` is {tolerate}; expected a number of iterations, 0 or more.', 'train_cfg.tolerate')
        self.tolerate, self.in_a_row, self.count, self.rollbacks = tolerate, 0, 0, 0

    def keep(self, folder, iteration, batch):
        """Write a batch that diverged to nonfinite/, the first ones of a run."""
        if self.count < self.KEPT:
            run = RunFolder(folder)
            os.makedirs(run.nonfinite, exist_ok=True)
            torch.save(dict(images=batch.images, keys=batch.keys, texts=batch.texts),
                       run.nonfinite_batch(iteration + 1, distributed.get_rank()))


class ValLoop(BaseLoop):
    """Evaluate on the held-out sets; `results` keeps what came out.

    Args:
        runner, dataloader: as MMEngine gives them.
        evaluator: a SetEvaluator factory: callable without arguments.
    """

    def __init__(self, runner, dataloader, evaluator):
        super().__init__(runner, dataloader)
        self.make_evaluator, self.results, self.evaluator = evaluator, None, None

    def run(self):
        """Evaluate; returns and keeps the results."""
        with self.runner.averaged():
            self.runner.call_hook('before_val')
            self.runner.call_hook('before_val_epoch')
            self.evaluator = self.make_evaluator()
            self.results = evaluate(self.runner.task, self.dataloader, self.evaluator)
            self.runner.call_hook('after_val_epoch', metrics=self.results.flat())
            self.runner.call_hook('after_val')
        return self.results
