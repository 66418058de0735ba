"""What a run says while it goes: a progress bar on a terminal, plain lines in the log file, scalars in history.jsonl."""
import os
import sys
import time

import torch
from mmengine.hooks import Hook

from dtbox import distributed
from dtbox.files import append_row, read_rows, write_rows
from dtbox.registry import HOOKS
from dtbox.runs import RunFolder


@HOOKS.register_module()
class Log(Hook):
    """Log the terms of a run.

    On a terminal a progress bar shows the time left and the terms named in `show`; the log file (and a console that is no
    terminal) gets a plain line every `interval` iterations. Every interval's averages also go to `history.jsonl`, from which
    losses.png is drawn, and to MMEngine's visualizer backends (TensorBoard, W&B) where the config names any.

    Args:
        interval: iterations that a line averages over.
        show: terms on the progress bar.
    """
    priority = 'BELOW_NORMAL'  # before the schedules: the learning rate of this iteration, not of the next

    def __init__(self, interval=20, show=('total',)):
        self.interval, self.show = interval, show
        self.sums, self.counts, self.bar = {}, {}, None

    def before_train(self, runner):
        """Start the clock; forget history behind the checkpoint that a run resumes from."""
        self.start, self.first = time.time(), runner.iter_done
        self.path = RunFolder(runner.work_dir).history
        if distributed.get_rank() != 0:
            return
        write_rows(self.path, [r for r in read_rows(self.path) if r['iteration'] <= self.first] if self.first else [])
        if sys.stderr.isatty():
            from tqdm import tqdm
            self.bar = tqdm(total=runner.max_iters, initial=self.first, unit='it', desc='train', **bar_width())
            quiet_console(runner.logger)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        """Add up, and write a line when one is due."""
        for name, value in outputs.items():
            value = value.detach() if isinstance(value, torch.Tensor) else torch.tensor(float(value))
            self.sums[name] = self.sums.get(name, 0) + value.float() * runner.task.batch_weight
            self.counts[name] = self.counts.get(name, 0) + 1  # a term may begin in the middle of an interval
        done = runner.iter_done
        if self.bar is not None:
            self.bar.update(1)
        if done % self.interval and done != runner.max_iters:
            return
        means = self._means()
        self.sums, self.counts = {}, {}
        if distributed.get_rank() != 0:
            return
        rates = {name: values[0] for name, values in runner.optim_wrapper.get_lr().items() if name.endswith('lr')}
        self._write(runner, done, means, rates)

    def _means(self):
        """Return the interval's means over the samples of all processes."""
        if not self.sums:
            return {}
        values = torch.stack([total / self.counts[name] for name, total in self.sums.items()])
        distributed.average_in_place(values)
        return dict(zip(self.sums, values.tolist()))

    def _write(self, runner, done, means, rates):
        elapsed = time.time() - self.start
        left = elapsed / max(1, done - self.first) * (runner.max_iters - done)
        row = dict(iteration=done, seconds=round(elapsed, 2), **means, **{k.replace('.', '_'): v for k, v in rates.items()})
        append_row(self.path, row)
        runner.visualizer.add_scalars({f'train/{k}': v for k, v in row.items() if k not in ('iteration', 'seconds')}, step=done)
        if self.bar is not None:
            self.bar.set_postfix({k: f'{means[k]:.3g}' for k in self.show if k in means})
        runner.logger.info(f'[{done}/{runner.max_iters}] left {clock(left)}  lr {next(iter(rates.values())):.2e}  '
                           + '  '.join(f'{k} {v:.4g}' for k, v in means.items()))

    def after_train_epoch(self, runner, metrics=None):
        """Close the bar: what comes now, the scores above all, is for the console, too."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None
            quiet_console(runner.logger, False)

    def after_train(self, runner):
        """Say where everything is."""
        if distributed.get_rank() == 0:
            runner.logger.info(f'The run is in {runner.work_dir}.')


def bar_width():
    """Return tqdm's arguments for a bar that follows the terminal's width, or has 100 columns where the terminal does not know its own."""
    return dict(dynamic_ncols=True) if os.get_terminal_size(sys.stderr.fileno()).columns else dict(ncols=100, nrows=20)


def quiet_console(logger, quiet=True):
    """Keep plain lines off a console that shows a progress bar, or let them through again; the log file gets them anyway."""
    import logging
    for handler in logger.handlers:
        if type(handler) is logging.StreamHandler:
            handler.setLevel(logging.WARNING if quiet else logging.INFO)


def clock(seconds):
    """Return seconds as h:mm:ss."""
    seconds = int(seconds)
    return f'{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}'
