"""Predictions of `scale` as tables, CSV and sentences."""
from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from dtbox.counts import format_count
from dtbox.markup import escape_csv
from dtbox.sizing.communication import list_kinds
from dtbox.sizing.describe import GB, Description
from dtbox.sizing.scale import Row, Setting

PIECES = dict(ddp='buckets of 25 MiB (the first of 1)', fsdp='the parts of FSDP2')
"""Way to divide the model -> messages in which gradients travel."""


def make_step_table(rows: Sequence[Row]) -> list[list[str]]:
    """Return Rows as a list of lists of texts, the head first."""
    head = ['GPUs', 'images a GPU', 'compute [s]', 'sent [ms]', 'of it exposed [ms]', 'step [s]', 'images/s',
            'efficiency', 'iterations', 'days', 'memory [GB]']
    lines = [head]
    for row in rows:
        days = ['', ''] if row.days is None else [f'{row.iterations:,}', f'{row.days:,.3g}']
        values = [f'{row.compute:.3g}', f'{1e3 * row.communication:.3g}', f'{1e3 * row.exposed:.3g}',
                  f'{row.step:.3g}', f'{row.rate:,.0f}', f'{100 * row.efficiency:.1f} %', *days]
        lines.append([f'{row.gpus:,}', f'{row.batch:,}', *(values if row.fits else ['does not fit', *[''] * 7]),
                      f'{row.memory / GB:.1f}'])
    return lines


def make_sent_table(rows: Sequence[Row], parallel: str) -> list[list[str]]:
    """Return what the smallest and the largest number of GPUs send: lists of texts, the head first."""
    first, last = rows[0], rows[-1]
    lines = [['what is sent in a step', 'operation', 'calls', 'bytes of a rank', f'ms, {first.gpus:,} GPUs',
              f'ms, {last.gpus:,} GPUs', 'during']]
    for kind in list_kinds(parallel):
        if kind.name in last.sent:
            sent = last.sent[kind.name]
            lines.append([kind.name, kind.operation, f'{sent.calls:,}',
                          f'{"at most " if kind.most else ""}{sent.bytes:,}',
                          *(f'{1e3 * row.sent[kind.name].seconds:.3g}' for row in (first, last)),
                          kind.overlaps or 'nothing'])
    return lines


def format_csv(rows: Sequence[Row]) -> str:
    """Return Rows as CSV in seconds and bytes, those that do not fit included."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator='\n')
    names = list(rows[0].sent)
    writer.writerow(['gpus', 'images_a_gpu', 'fits', 'memory_bytes', 'compute_s', 'sent_s', 'exposed_s', 'step_s',
                     'images_per_s', 'efficiency', 'iterations', 'days',
                     *(escape_csv(f'{name} [{unit}]') for name in names for unit in ('bytes', 's'))])
    for r in rows:
        values = (r.compute, r.communication, r.exposed, r.step, r.rate, r.efficiency)
        writer.writerow([r.gpus, r.batch, int(r.fits), round(r.memory), *(f'{v:.6g}' for v in values), r.iterations,
                         r.days and f'{r.days:.6g}',
                         *(v for name in names for v in (r.sent[name].bytes, f'{r.sent[name].seconds:.6g}'))])
    return out.getvalue()


def list_assumptions(setting: Setting, description: Description) -> list[str]:
    """Return the assumptions of a prediction as sentences."""
    net = setting.network
    sentences = [
        f'Computing: {description.step_flops() / 1e12:,.4g} TFLOP an image (matrix products, convolutions, attention; '
        f'the discriminator takes part) at {100 * setting.utilisation:g} % of {setting.peak / 1e12:g} TFLOPS, '
        'whatever the batch: a few images a GPU reach less.',
        f'Network: {net.node} GPUs a node, {net.inside / GB:g} GB/s a GPU inside (bus bandwidth), '
        f'{net.between / GB:g} GB/s a GPU between nodes, {1e6 * net.latency:g} us a hop; rings of two levels '
        '(Patarasuk and Yuan 2009; nccl-tests, PERFORMANCE.md), no other traffic on the network. Trees, which NCCL '
        'uses for small messages on many nodes, need fewer hops.',
        f'Sent in float32: gradients in {PIECES[setting.parallel]} during the backward pass of the trained parts of '
        'the tokenizer; what takes longer than that pass adds to the step, and at least the largest message. Nothing '
        'else is computed while the rest is sent. Sending does not slow computing down.',
        'Restart rows are counted as if every code restarted in every step; a running codebook restarts few.',
        'Not counted: waiting for data or for the slowest GPU, validation, checkpoints, memory that recomputation and '
        'the allocator hold for a moment.']
    if setting.parallel == 'fsdp':
        sentences.append(
            'fsdp: FSDP2 as in dtbox.training.parallel, weights gathered in float32. Every GPU holds teacher, LPIPS '
            'and codebooks as a whole and, during a step, weights and gradients of the decoder, the discriminator and '
            'all that is not a block. Blocks that are gathered at a moment are not counted in the memory, norms of '
            'gradients and learned scalars not in what is sent.')
    else:
        sentences.append("Memory: weights, gradients, Adam's moments, buffers and teacher on every GPU, and "
                         "activations.")
    if setting.samples is not None:
        sentences.append(
            f'Days: until {format_count(setting.samples, "image")} are seen, on any number of GPUs. Whether a larger '
            'global batch learns as much from them, and at which learning rate, is another question.')
    return [*sentences, 'Predicted, not measured on GPUs.', *description.missing]
