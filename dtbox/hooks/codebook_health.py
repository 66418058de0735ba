"""The health of the codebooks during a run: how they are used, how they drift, and whether all ranks have the same.

Legend: B batch, N tokens, Q codes per token, K codebook size.
"""
from __future__ import annotations

import math
import statistics
from collections import deque
from typing import Any, Callable, Sequence

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn

from dtbox import distributed
from dtbox.counts import format_count
from dtbox.drawing.curves import draw_curves
from dtbox.errors import InputError
from dtbox.evaluation.functional import code_usage, count_codes, seen_counts
from dtbox.hooks.codebook_state import (
    advise,
    check_codes,
    check_ranks,
    count_restarts,
    find_coded,
    find_tables,
    name_depths,
)
from dtbox.layers.recompute import in_backward
from dtbox.registry import HOOKS
from dtbox.rows import append_row, read_rows, write_rows
from dtbox.runs import RunFolder
from dtbox.values import Fraction, Positive, check_values

RECENT = 5
"""Intervals whose median tells what usage was."""


@HOOKS.register_module()
class CodebookHealth(Hook):
    """Watch the codes of the training batches and the codebooks that they index.

    Every `interval` iterations a line of `codebooks.jsonl` has for each vocabulary and depth, over the tokens of the
    interval and of all ranks: `usage` (fraction of the codes seen), `dead` (codes not seen), `entropy` (of their
    histogram, in bits) and `perplexity` (2^entropy); for each vocabulary `restarts` (codes that restarted) and `spread`
    (standard deviation of the row norms over their mean). The same numbers go to MMEngine's visualizer backends, and as
    curves to codebook_health.png at the end.

    A warning names what to try when the usage of a vocabulary, all depths together, falls under `warn`. Another comes
    when the usage of a depth falls suddenly, under `collapse` of the median of the five intervals before (of the run's
    file, where it resumes). Each comes once, until the codebook has recovered. Across ranks a hash of the quantizers is
    compared.

    Args:
        interval: iterations between two lines.
        warn: usage under which to warn, in [0, 1]; 0 never warns. An interval with fewer codes drawn than 4 K does not
            count.
        collapse: fraction of that median under which a codebook has collapsed, in [0, 1]; 0 never warns. The first five
            intervals, in which codes still find their places, are not judged.

    Raises:
        Diverged: the ranks have different codebooks; the checkpoint on disk stays.
    """
    priority = 'LOW'  # before Checkpoint: codebooks that differ are not written

    def __init__(self, interval: Positive = 100, warn: Fraction = 0.2, collapse: Fraction = 0.5) -> None:
        check_values(CodebookHealth, locals())
        self.interval, self.warn = interval, warn
        self.collapse, self.since = collapse, 0
        self.counts, self.restarted = {}, {}
        self.low, self.fallen = set(), set()  # vocabularies that were warned of; depths that collapsed
        self.recent, self.handles = {}, []  # depth -> last usages

    def check(self, task: Any) -> None:
        """Raise `InputError` for a task without codebooks; asked before the run folder is touched."""
        if task.quantizers and not find_coded(task.quantizers):
            raise InputError(f'{", ".join(task.quantizers)} are continuous: they have no codes, and so no codebooks to '
                             'watch. Take the hook out.')
        if not task.quantizers:
            raise InputError('the task has no codebooks to watch. Take the hook out.')

    def before_train(self, runner: Runner) -> None:
        """Listen to the quantizers; forget lines after the checkpoint that a run resumes from."""
        self.path, self.since = RunFolder(runner.work_dir).codebook_history, runner.iter_done
        quantizers = find_coded(runner.task.quantizers)
        self.counts, self.restarted = {}, {name: count_restarts(q) for name, q in quantizers.items()}
        self.handles = [q.register_forward_hook(self._listen_to(name)) for name, q in quantizers.items()]
        if distributed.get_rank() == 0:
            rows = [r for r in read_rows(self.path) if r['iteration'] <= runner.iter_done] if runner.iter_done else []
            for key, usage in ((k, v) for row in rows for k, v in row.items() if k.startswith('usage_')):
                self.recent.setdefault(key, deque(maxlen=RECENT)).append(usage)
            write_rows(self.path, rows)

    def _listen_to(self, name: str) -> Callable[[nn.Module, Any, Any], None]:
        def listen(module: nn.Module, args: Any, output: Any) -> None:
            if module.training and not in_backward() and hasattr(output, 'codes'):
                check_codes(module, output.codes)
                new = [count_codes(codes, size) for codes, size in zip(output.codes.unbind(-1), module.codebook_sizes)]
                old = self.counts.get(name)
                self.counts[name] = new if old is None else [a + b for a, b in zip(old, new)]
        return listen

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None,
                         outputs: dict | None = None) -> None:
        """Write a line where one is due."""
        done = runner.iter_done
        if done % self.interval and done != runner.max_iters:
            return
        check_ranks(find_coded(runner.task.quantizers), done)
        row = dict(iteration=done)
        for name, quantizer in find_coded(runner.task.quantizers).items():
            nothing = torch.zeros(0, dtype=torch.int64)
            own = self.counts.get(name) or [count_codes(nothing, k) for k in quantizer.codebook_sizes]
            counts = [distributed.sum_tensor(c) for c in own]
            self._describe(row, name, quantizer, counts)
            self._warn(runner, name, quantizer, counts)
            self._warn_of_collapse(runner, name, quantizer, counts, row)
        self.counts, self.since = {}, done
        if distributed.get_rank() == 0:
            append_row(self.path, row)
            numbers = {f'codebooks/{k}': v for k, v in row.items() if k != 'iteration'}
            runner.visualizer.add_scalars(numbers, step=done)

    def _describe(self, row: dict[str, Any], name: str, quantizer: nn.Module, counts: Sequence[Tensor]) -> None:
        for depth, count in zip(name_depths(name, len(counts)), counts):
            if len(seen_counts(count)):
                usage = code_usage(count)
                usage['entropy'], usage['dead'] = math.log2(usage['perplexity']), int(usage['dead'])
                row.update({f'{key}_{depth}': usage[key] for key in ('usage', 'dead', 'entropy', 'perplexity')})
        total = count_restarts(quantizer)
        if total is not None:
            row[f'restarts_{name}'] = total - (self.restarted[name] or 0)
        self.restarted[name] = total
        norms = [weight.detach().float().norm(dim=-1) for weight in find_tables(quantizer)]
        if norms:
            joined = torch.cat(norms)
            row[f'spread_{name}'] = float(joined.std(unbiased=False) / joined.mean().clamp_min(1e-12))

    def _warn(self, runner: Runner, name: str, quantizer: nn.Module, counts: Sequence[Tensor]) -> None:
        shared = len(find_tables(quantizer)) == 1 and len(set(quantizer.codebook_sizes)) == 1
        groups = [sum(counts[1:], counts[0])] if shared else counts
        counted = [seen_counts(c) for c in groups]
        seen, size = sum(map(len, counted)), sum(map(len, groups))
        if sum(int(c.sum()) for c in counted) < 4 * size:
            return
        usage = seen / size
        if usage >= self.warn:
            self.low.discard(name)
        elif name not in self.low and distributed.get_rank() == 0:  # once, until it has recovered
            count = runner.iter_done - self.since
            runner.logger.warning(f'The vocabulary `{name}` uses {100 * usage:.1f} % of its '
                                  f'{format_count(size, "code")} over the '
                                  f'last {format_count(count, "iteration")}, less than {100 * self.warn:g} %. '
                                  f'{advise(quantizer)}')
            self.low.add(name)

    def _warn_of_collapse(self, runner: Runner, name: str, quantizer: nn.Module, counts: Sequence[Tensor],
                          row: dict[str, Any]) -> None:
        falls = []
        for depth, count in zip(name_depths(name, len(counts)), counts):
            key = f'usage_{depth}'
            if int(count.sum()) < 4 * len(count):
                continue
            recent = self.recent.setdefault(key, deque(maxlen=RECENT))
            before = statistics.median(recent) if len(recent) == RECENT else 0.0
            if row[key] >= self.collapse * before:
                self.fallen.discard(key)
                recent.append(row[key])
            elif key not in self.fallen:  # later usages are compared with that before the fall
                self.fallen.add(key)
                falls.append(f'`{depth}` from {100 * before:.1f} % to {100 * row[key]:.1f} %')
        if falls and distributed.get_rank() == 0:
            runner.logger.warning(f'A codebook has collapsed by iteration {runner.iter_done}; the fraction of its '
                                  f'codes in use fell: {", ".join(falls)}. See the gradients and losses before it, and '
                                  f'go back to a checkpoint of that time. {advise(quantizer)}')

    def after_train(self, runner: Runner) -> None:
        """Stop listening; draw the curves."""
        for handle in self.handles:
            handle.remove()
        rows = read_rows(self.path) if distributed.get_rank() == 0 else []
        rows = [{k: v for k, v in row.items() if not k.startswith('dead_')} for row in rows]  # that is usage once more
        if rows and len(rows[0]) > 1:
            run = RunFolder(runner.work_dir)
            title = f'{run.name}: codes of the training batches, by vocabulary and depth'
            draw_curves(rows, run.codebook_history_plot, title)
