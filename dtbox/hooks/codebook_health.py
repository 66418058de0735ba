"""The health of the codebooks while a run goes: how they are used, how they drift, and whether all ranks still have the same.

Legend: B batch, N tokens, Q codes per token, K codebook size.
"""
import hashlib
import math
import statistics
from collections import deque

import torch
from mmengine.hooks import Hook

from dtbox import distributed
from dtbox.drawing.curves import draw_curves
from dtbox.errors import Diverged, InputError
from dtbox.evaluation.functional import code_usage, count_codes, seen_counts
from dtbox.files import append_row, read_rows, write_rows
from dtbox.layers.recompute import in_backward
from dtbox.registry import HOOKS
from dtbox.runs import RunFolder

RECENT = 5
"""Intervals whose median tells what usage was."""


@HOOKS.register_module()
class CodebookHealth(Hook):
    """Watch the codes of the training batches and the codebooks behind them.

    Every `interval` iterations a line of `codebooks.jsonl` says for each vocabulary and depth, over the tokens of the interval and of all
    ranks: `usage` (share of the codes seen), `dead` (codes not seen), `entropy` (of their histogram, in bits) and `perplexity`
    (2^entropy); for each vocabulary `restarts` (codes that restarted) and `spread` (standard deviation of the row norms over their
    mean). The same numbers go to MMEngine's visualizer backends, and as curves to codebook_health.png at the end. A warning names what to
    try when the usage of a vocabulary, all depths together, falls under `warn`, and another when that of a depth falls suddenly, under
    `collapse` of the median of the five intervals before (of the run's file, where it resumes); each comes once, until it has recovered. Across ranks
    a checksum of the quantizers is compared.

    Args:
        interval: iterations between two lines.
        warn: usage under which to warn, in [0, 1]; 0 never warns. An interval with fewer codes drawn than 4 K does not count.
        collapse: share of that median under which a codebook has collapsed, in [0, 1]; 0 never warns. The first five intervals, in which codes
            still find their places, are not judged.

    Raises:
        Diverged: the ranks have different codebooks; the checkpoint on disk stays.
    """
    priority = 'LOW'  # before Checkpoint: codebooks that differ are not written

    def __init__(self, interval=100, warn=0.2, collapse=0.5):
        if not isinstance(interval, int) or isinstance(interval, bool) or interval < 1:
            raise InputError(f'`interval` is {interval!r}; expected a whole number of at least 1.', 'interval')
        for name, share in dict(warn=warn, collapse=collapse).items():
            if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 <= share <= 1:
                raise InputError(f'`{name}` is {share!r}; expected a share from 0 to 1.', name)
        self.interval, self.warn, self.collapse = interval, warn, collapse
        self.counts, self.restarted, self.handles, self.since = {}, {}, [], 0
        self.low, self.fallen, self.recent = set(), set(), {}  # vocabularies that were warned of; places that collapsed; place -> last usages

    def check(self, task):
        """Raise `InputError` for a task without codebooks; asked before the run folder is touched."""
        if not task.quantizers:
            raise InputError('the task has no codebooks to watch. Take the hook out.')

    def before_train(self, runner):
        """Listen to the quantizers; forget lines behind the checkpoint that a run resumes from."""
        self.path, self.since = RunFolder(runner.work_dir).codebook_history, runner.iter_done
        self.counts, self.restarted = {}, {n: restarts(q) for n, q in quantizers(runner)}
        self.handles = [q.register_forward_hook(self._listener(n)) for n, q in quantizers(runner)]
        if distributed.get_rank() == 0:
            rows = [r for r in read_rows(self.path) if r['iteration'] <= runner.iter_done] if runner.iter_done else []
            for key, usage in ((k, v) for row in rows for k, v in row.items() if k.startswith('usage_')):
                self.recent.setdefault(key, deque(maxlen=RECENT)).append(usage)
            write_rows(self.path, rows)

    def _listener(self, name):
        def listen(module, args, output):
            if module.training and not in_backward() and hasattr(output, 'codes'):
                check_range(module, output.codes)
                found = [count_codes(codes, size) for codes, size in zip(output.codes.unbind(-1), module.codebook_sizes)]
                self.counts[name] = [a + b for a, b in zip(self.counts[name], found)] if name in self.counts else found
        return listen

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        """Write a line where one is due."""
        done = runner.iter_done
        if done % self.interval and done != runner.max_iters:
            return
        check_ranks(runner)
        row = dict(iteration=done)
        for name, quantizer in quantizers(runner):
            nothing = torch.zeros(0, dtype=torch.int64)
            counts = [distributed.sum_tensor(c) for c in self.counts.get(name) or [count_codes(nothing, k) for k in quantizer.codebook_sizes]]
            self._describe(row, name, quantizer, counts)
            self._warn(runner, name, quantizer, counts)
            self._warn_of_collapse(runner, name, quantizer, counts, row)
        self.counts, self.since = {}, done
        if distributed.get_rank() == 0:
            append_row(self.path, row)
            runner.visualizer.add_scalars({f'codebooks/{k}': v for k, v in row.items() if k != 'iteration'}, step=done)

    def _describe(self, row, name, quantizer, counts):
        for place, count in zip(places(name, counts), counts):
            if len(seen_counts(count)):
                found = code_usage(count)
                found['entropy'], found['dead'] = math.log2(found['perplexity']), int(found['dead'])
                row.update({f'{key}_{place}': found[key] for key in ('usage', 'dead', 'entropy', 'perplexity')})
        total = restarts(quantizer)
        if any(hasattr(book, 'restarts') for book in books(quantizer)):
            row[f'restarts_{name}'] = total - self.restarted[name]
        self.restarted[name] = total
        norms = [weight.detach().float().norm(dim=-1) for weight in tables(quantizer)]
        if norms:
            norms = torch.cat(norms)
            row[f'spread_{name}'] = float(norms.std(unbiased=False) / norms.mean().clamp_min(1e-12))

    def _warn(self, runner, name, quantizer, counts):
        shared = len(tables(quantizer)) == 1 and len(set(quantizer.codebook_sizes)) == 1
        groups = [sum(counts[1:], counts[0])] if shared else counts
        counted = [seen_counts(c) for c in groups]
        seen, size, drawn = sum(map(len, counted)), sum(map(len, groups)), sum(int(c.sum()) for c in counted)
        if drawn < 4 * size:
            return
        usage = seen / size
        if usage >= self.warn:
            self.low.discard(name)
        elif name not in self.low and distributed.get_rank() == 0:  # once, until it has recovered
            count = runner.iter_done - self.since
            runner.logger.warning(f'The vocabulary `{name}` uses {100 * usage:.1f} % of its {size:,} codes over the last {count} '
                                  f'iterations, less than {100 * self.warn:g} %. {advice(quantizer)}')
            self.low.add(name)

    def _warn_of_collapse(self, runner, name, quantizer, counts, row):
        said = []
        for place, count in zip(places(name, counts), counts):
            key = f'usage_{place}'
            if int(count.sum()) < 4 * len(count):
                continue
            recent = self.recent.setdefault(key, deque(maxlen=RECENT))
            before = statistics.median(recent) if len(recent) == RECENT else 0.0
            if row[key] >= self.collapse * before:
                self.fallen.discard(key)
                recent.append(row[key])
            elif key not in self.fallen:  # what is compared with stays that of before
                self.fallen.add(key)
                said.append(f'`{place}` from {100 * before:.1f} % to {100 * row[key]:.1f} %')
        if said and distributed.get_rank() == 0:
            runner.logger.warning(f'A codebook has collapsed by iteration {runner.iter_done}; the share of its codes in use fell: {", ".join(said)}. '
                                  f'See the gradients and losses before it, and go back to a checkpoint of that time. {advice(quantizer)}')

    def after_train(self, runner):
        """Stop listening; draw the curves."""
        for handle in self.handles:
            handle.remove()
        rows = read_rows(self.path) if distributed.get_rank() == 0 else []
        rows = [{k: v for k, v in row.items() if not k.startswith('dead_')} for row in rows]  # that is usage once more
        if rows and len(rows[0]) > 1:
            run = RunFolder(runner.work_dir)
            draw_curves(rows, run.codebook_history_plot, f'{run.name}: codes of the training batches, by vocabulary and depth')


def places(name, counts):
    """Return what the depths of a vocabulary are called in the file: `{name}_{depth}`, or `name` where there is one."""
    return [f'{name}_{depth}' for depth in range(len(counts))] if len(counts) > 1 else [name]


def check_range(quantizer, codes):
    """Raise `InputError` unless the codes [B,N,Q] of a quantizer lie in its codebooks."""
    sizes = quantizer.codebook_sizes
    if codes.shape[-1] != len(sizes):
        found = f'codes of the shape {list(codes.shape)}'
    elif not codes.numel():
        return
    else:
        low, high = codes.flatten(0, -2).amin(0).tolist(), codes.flatten(0, -2).amax(0).tolist()
        if min(low) >= 0 and all(h < size for h, size in zip(high, sizes)):
            return
        found = f'codes from {min(low)} to {max(high)}'
    raise InputError(f'{type(quantizer).__name__} gave {found}; its `codebook_sizes` are {list(sizes)}. '
                     'Run `dtbox plugins check` on it.')


def quantizers(runner):
    """Return [(name, quantizer)] of a runner's task."""
    return list(runner.task.quantizers.items())


def books(quantizer):
    """Return the codebooks of a quantizer: modules that have a `weight` [K, C] and say what they `collect`."""
    return [m for m in quantizer.modules() if hasattr(m, 'collect') and getattr(m, 'weight', None) is not None]


def tables(quantizer):
    """Return the tables [K, C] of a quantizer: what its own `tables()` says, or those of its codebooks."""
    if hasattr(quantizer, 'tables'):
        return list(quantizer.tables())
    return [book.weight for book in books(quantizer)]


def restarts(quantizer):
    """Return how many codes have restarted so far."""
    return sum(getattr(book, 'restarts', 0) for book in books(quantizer))


def advice(quantizer):
    """Return what to try against unused codes."""
    if not tables(quantizer):
        return 'Try fewer codes, levels or bits, or a wider spread of the features (a larger weight of the losses that read them).'
    tips = ['a smaller codebook or code width', "codebook.start=dict(type='KMeansStart')"]
    if not any(getattr(book, 'restart', 0) for book in books(quantizer)):
        tips.insert(0, 'codebook.restart=1.0, so that unused codes take vectors of the batch')
    return f'Try {", ".join(tips)}, or a lower learning rate of the encoder.'


def check_ranks(runner):
    """Raise `Diverged` on every rank when the quantizers' states are not bit-identical on all."""
    if distributed.get_world_size() == 1:
        return
    mine = {name: checksum(quantizer) for name, quantizer in quantizers(runner)}
    everywhere = distributed.gather_objects(mine)
    for name in mine:
        found = [state[name] for state in everywhere]
        if len(set(found)) > 1:
            odd = [rank for rank, value in enumerate(found) if value != found[0]]
            raise Diverged(f'at iteration {runner.iter_done}, the codebooks of the vocabulary `{name}` are no longer the same on all ranks: '
                           f'{odd} differ from rank 0. Something updates them on one rank alone; resume from the last checkpoint.')


def checksum(module):
    """Return a hash of a module's state."""
    digest = hashlib.sha256()
    for name, value in module.state_dict().items():
        digest.update(name.encode() + value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
