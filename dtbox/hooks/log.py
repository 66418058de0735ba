"""What a run logs: a progress bar on a terminal, plain lines in the log file, scalars in history.jsonl."""
from __future__ import annotations

import logging
import os
import sys
import time
from typing import Any, Mapping, Sequence

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from dtbox import distributed
from dtbox.registry import HOOKS
from dtbox.rows import append_row, read_rows, write_rows
from dtbox.runs import RunFolder
from dtbox.values import Positive, check_values


@HOOKS.register_module()
class Log(Hook):
    """Log the terms of a run.

    On a terminal a progress bar shows the time left and the terms named in `show`; a console that is not a terminal
    gets these in a plain line every `interval` iterations. The log file gets a line with all terms. Every interval's
    averages also go to `history.jsonl`,
    from which losses.png is drawn, and to MMEngine's visualizer backends (TensorBoard, W&B) where the config names any.

    Args:
        interval: iterations that a line averages over.
        show: terms on the screen, on the progress bar or in the lines; the files have all.
    """
    priority = 'BELOW_NORMAL'  # before the schedules: the learning rate of this iteration, not of the next

    def __init__(self, interval: Positive = 20, show: Sequence[str] = ('total',)) -> None:
        check_values(Log, locals())
        self.interval, self.show = interval, show
        self.sums, self.counts = {}, {}
        self.bar = None

    def before_train(self, runner: Runner) -> None:
        """Start the clock; forget history after the checkpoint that a run resumes from."""
        self.start, self.first = time.time(), runner.iter_done
        self.path = RunFolder(runner.work_dir).history
        if distributed.get_rank() != 0:
            return
        write_rows(self.path, [r for r in read_rows(self.path) if r['iteration'] <= self.first] if self.first else [])
        if sys.stderr.isatty():
            from tqdm import tqdm
            self.bar = tqdm(total=runner.max_iters, initial=self.first, unit='it', desc='train', **choose_bar_width())
            silence_console(runner.logger)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None,
                         outputs: dict | None = None) -> None:
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
        means = self._average()
        self.sums, self.counts = {}, {}
        if distributed.get_rank() != 0:
            return
        rates = {name: values[0] for name, values in runner.optim_wrapper.get_lr().items() if name.endswith('lr')}
        self._write(runner, done, means, rates)

    def _average(self) -> dict[str, float]:
        """Return the interval's means over the samples of all ranks."""
        if not self.sums:
            return {}
        values = torch.stack([total / self.counts[name] for name, total in self.sums.items()])
        distributed.average_in_place(values)
        return dict(zip(self.sums, values.tolist()))

    def _write(self, runner: Runner, done: int, means: Mapping[str, float], rates: Mapping[str, float]) -> None:
        elapsed = time.time() - self.start
        left = elapsed / max(1, done - self.first) * (runner.max_iters - done)
        rows = {**means, **{k.replace('.', '_'): v for k, v in rates.items()}}
        append_row(self.path, dict(iteration=done, seconds=round(elapsed, 2), **rows))
        runner.visualizer.add_scalars({f'train/{k}': v for k, v in rows.items()}, step=done)
        if self.bar is not None:
            self.bar.set_postfix({k: f'{means[k]:.3g}' for k in self.show if k in means})
        # what the optimizer uses: `base_lr` is that of parameters in no group, of which there may be none
        rate = next(v for k, v in rates.items() if k.rpartition('.')[2] == 'lr')
        line = f'[{done}/{runner.max_iters}] left {format_clock(left)}  lr {rate:.2e}'
        terms = {k: f'  {k} {v:.4g}' for k, v in means.items()}
        log_line(runner.logger, ''.join([line, *terms.values()]),
                 ''.join([line, *(terms[k] for k in self.show if k in terms)]))

    def after_train_epoch(self, runner: Runner, metrics: Any = None) -> None:
        """Close the bar: what follows, the scores above all, is for the console, too."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None
            silence_console(runner.logger, False)

    def after_train(self, runner: Runner) -> None:
        """Say where everything is."""
        if distributed.get_rank() == 0:
            runner.logger.info(f'The run is in {runner.work_dir}.')


def choose_bar_width() -> dict[str, Any]:
    """Return tqdm's arguments for a bar as wide as the terminal, or of 100 columns where its width is not known."""
    known = os.get_terminal_size(sys.stderr.fileno()).columns
    return dict(dynamic_ncols=True) if known else dict(ncols=100, nrows=20)


def is_console(handler: logging.Handler) -> bool:
    """Whether a handler of a logger writes to the screen."""
    return type(handler) is logging.StreamHandler


def silence_console(logger: logging.Logger, quiet: bool = True) -> None:
    """Keep plain lines off a console that shows a progress bar, or let them through again; the log file has all."""
    for handler in filter(is_console, logger.handlers):
        handler.setLevel(logging.WARNING if quiet else logging.INFO)


def log_line(logger: logging.Logger, whole: str, short: str) -> None:
    """Log a line: `short` on the console, `whole` everywhere else."""
    for handler in logger.handlers:
        record = logger.makeRecord(logger.name, logging.INFO, __file__, 0, short if is_console(handler) else whole, (),
                                   None)
        if record.levelno >= handler.level:
            handler.handle(record)


def format_clock(seconds: float) -> str:
    """Return seconds as h:mm:ss."""
    seconds = int(seconds)
    return f'{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}'
