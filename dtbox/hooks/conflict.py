"""Do reconstruction and semantics pull the encoder apart? The gradients of both, block by block, while a recipe trains.

The cosine of two tasks' gradients at the parameters that they share is the usual measure of their conflict: below zero
a step for one is, to first order, a step against the other (Du et al., arXiv 1812.02224; Yu et al., "Gradient Surgery",
arXiv
2001.06782, definition 1).

Legend: g_R, g_S gradients of the weighted reconstruction and semantic terms at the parameters of one block, joined to
one vector.
"""
from __future__ import annotations

from typing import Any, Mapping, Sequence

import numpy as np
from mmengine.hooks import Hook
from mmengine.runner import Runner

from dtbox import distributed
from dtbox.counts import format_count
from dtbox.drawing.conflict_plot import draw_conflict, explain_blank
from dtbox.errors import InputError
from dtbox.evaluation import to_json
from dtbox.hooks.gradient_meter import SIDES, Sides, measure
from dtbox.markup import escape_markdown
from dtbox.registry import HOOKS
from dtbox.rows import append_row, read_rows, write_rows
from dtbox.runs import RunFolder
from dtbox.values import Positive, check_values

NEEDS = ('layers', 'together', 'cosine', *SIDES)
"""What a line of conflict.jsonl has beside `iteration`."""


@HOOKS.register_module()
class GradientConflict(Hook):
    """Measure the conflict of reconstruction and semantics in every block of the encoders.

    Every `interval` iterations, beginning with the first, the batch that is about to be trained on is run once more and
    both sides are differentiated. A line of `conflict.jsonl` holds `iteration` (steps done before), `layers` (0 is the
    embedding, l block l; `encoder:layer` where there are several encoders) and, in their order, `cosine` = <g_R, g_S> /
    (|g_R| |g_S|) and the norms `reconstruction` |g_R| and `semantics` |g_S|, with the weights of the criterion; null
    where a side does not reach the layer (a norm of 0: it does, with zeros). `together` is the cosine over all layers
    that have one. At the end conflict.png shows it, and conflict.json says which terms were taken, and the means.

    A term belongs to a side by what its loss requires: `reconstructions`, or else the teacher's output or
        `text_pooled`. Terms of the
    quantizers belong to neither; nor does the adversarial term, which the criterion does not hold.

    Training stays as it is, bit for bit: gradients are not accumulated, random states and buffers are put back, and
    quantizers run in evaluation mode, so that they collect nothing. Memory: a training step, and two gradients of the
    encoders. Time: a forward and two backward passes each time. Autocast and recomputed activations
    (`use_reentrant=False`) are those of the run. With several ranks the gradients are averaged, as
    DistributedDataParallel does, so that every line is about the global batch.

    Args:
        interval: iterations between two lines.
        reconstruction, semantics: names of the terms of a side instead of the rule above.
    """
    priority = 'NORMAL'

    def __init__(self, interval: Positive = 20, reconstruction: str | Sequence[str] | None = None,
                 semantics: str | Sequence[str] | None = None) -> None:
        check_values(GradientConflict, locals())
        self.interval, self.sides = interval, Sides(reconstruction, semantics)

    def check(self, task: Any) -> None:
        """Raise `InputError` where a task has nothing to compare; asked before the run folder is touched."""
        self.sides.check(task.make_gradient_probe())

    def rehearse(self, task: Any, batch: Any) -> None:
        """Measure once before the run."""
        probe = task.make_gradient_probe()
        measure(probe, batch, probe.find_blocks(), self.sides)

    def before_train(self, runner: Runner) -> None:
        """Find the blocks; forget lines that a resumed run will write again."""
        self.check(runner.task)
        if any(hasattr(p, 'full_tensor') for part in runner.task.parts.values() for p in part.parameters()):
            raise InputError('gradients of single blocks cannot be measured where FSDP2 has sharded them. Take the '
                             'hook GradientConflict out, or leave model_wrapper_cfg out (DDP).', 'hooks')
        self.probe = runner.task.make_gradient_probe()
        self.path = RunFolder(runner.work_dir).conflict_history
        self.blocks, self.terms = self.probe.find_blocks(), {}
        if distributed.get_rank() == 0:
            write_rows(self.path, [r for r in read_rows(self.path, NEEDS) if r['iteration'] < runner.iter_done])

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Measure where it is due."""
        if runner.iter_done % self.interval:
            return
        row, self.terms = measure(self.probe, data_batch, self.blocks, self.sides)
        if distributed.get_rank() != 0:
            return
        append_row(self.path, dict(iteration=runner.iter_done, **row))
        numbers = {f'conflict/{key}_{layer}': value for key in ('cosine', *SIDES)
                   for layer, value in zip(row['layers'], row[key]) if value is not None}
        runner.visualizer.add_scalars(numbers, step=runner.iter_done)

    def after_train(self, runner: Runner) -> None:
        """Write the summary and draw."""
        rows = read_rows(self.path, NEEDS) if distributed.get_rank() == 0 else []
        if rows:
            title = f'{RunFolder(runner.work_dir).name}: gradients while it trains'
            table = format_summary(write_conflict(rows, self.terms, runner.work_dir, title))
            many = format_count(len(rows), 'iteration')
            runner.logger.info(f'Conflict of the gradients, means over {many}:\n{table}')


def write_conflict(rows: list[dict], terms: Mapping[str, list[str]], folder: str, title: str,
                   unit: str = 'iteration') -> dict[str, Any]:
    """Write conflict.json and conflict.png of measured rows; return the summary.

    Args:
        rows: of a conflict.jsonl.
        terms: side or 'neither' -> names of terms.
        folder: where to write.
        title: of the figure.
        unit: what the rows count.
    """
    run, summary = RunFolder(folder), summarise(rows, terms)
    to_json(summary, run.conflict)
    draw_conflict(rows, run.conflict_plot, title, terms, unit)
    return summary


def summarise(rows: list[dict], terms: Mapping[str, list[str]]) -> dict[str, Any]:
    """Return dict of `terms`, `rows` (their number), `together` (mean cosine) and `layers` (for each the means over
    rows).

    A layer has `cosine` (mean), `deviation` (its standard deviation over the rows), `opposed` (fraction of rows below
    zero), the mean norms, and `blank`: why it has no cosine, or ''.
    """
    layers = {}
    for i, name in enumerate(rows[0]['layers']):
        columns = {key: [row[key][i] for row in rows if row[key][i] is not None] for key in ('cosine', *SIDES)}
        values = columns['cosine']
        layers[name] = dict(
            cosine=compute_mean(values), deviation=float(np.std(values)) if values else None,
            opposed=compute_mean([v < 0 for v in values]), **{side: compute_mean(columns[side]) for side in SIDES},
            blank=explain_blank(*(columns[side] for side in SIDES)))
    together = compute_mean([r['together'] for r in rows if r['together'] is not None])
    return dict(terms=terms, rows=len(rows), together=together, layers=layers)


def compute_mean(values: Sequence[float]) -> float | None:
    """Return the mean, or None of no values."""
    return float(np.mean(values)) if len(values) else None


def format_summary(summary: Mapping[str, Any]) -> str:
    """Return a summary as a Markdown table (mean and standard deviation over the rows), and the terms below it."""
    def show(value: float | None, spec: str) -> str:
        return '' if value is None else format(value, spec)
    lines = ['| layer | cosine | below 0 | norm of reconstruction | norm of semantics | |', '|---|---|---|---|---|---|']
    for name, layer in summary['layers'].items():
        spread = f' +- {layer["deviation"]:.3f}' if layer['cosine'] is not None and summary['rows'] > 1 else ''
        lines.append(f'| {escape_markdown(str(name))} | {show(layer["cosine"], "+.3f")}{spread} '
                     f'| {show(layer["opposed"], ".0%")} | {show(layer["reconstruction"], ".3g")} '
                     f'| {show(layer["semantics"], ".3g")} | {layer["blank"]} |')
    lines += ['', f'all layers that both reach: cosine {show(summary["together"], "+.3f") or "none"}']
    lines += [f'{side}: {", ".join(names) or "-"}' for side, names in summary['terms'].items()]
    return '\n'.join(lines)
