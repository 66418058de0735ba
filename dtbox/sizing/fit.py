"""What a description (see `describe`) says of GPUs: whether a batch fits, how long a run takes; and both as text."""
from __future__ import annotations

from dtbox.counts import format_count
from dtbox.errors import InputError
from dtbox.sizing.describe import GB, Description


def fit(description: Description, batch: int, gpus: int, memory: float, peak: float, utilisation: float,
        iterations: int | None = None) -> dict:
    """Return what a description needs of a GPU and how long training takes.

    Args:
        description: Description.
        batch: images a GPU.
        gpus: their number.
        memory: bytes of a GPU.
        peak: FLOPs a second of a GPU in the type of training.
        utilisation: fraction of `peak` that training reaches.
        iterations: of the run, or None.

    Returns:
        dict: `memory` (bytes a GPU), `step_seconds`, `images_per_second` of all GPUs, `days` (None without iterations).

    Raises:
        InputError: it does not fit; says which batch does.
    """
    need = description.memory(batch)
    if need > memory:
        most = description.largest_batch(memory)
        way = (f'At most {format_count(most, "image")} a GPU fit' if most else
               f'Not even one image fits: weights, gradients and optimizer take {description.state_bytes() / GB:,.1f} '
               'GB')
        raise InputError(f'{format_count(batch, "image")} a GPU need {need / GB:,.1f} GB, and a GPU has '
                         f'{memory / GB:,.1f} GB. {way}; '
                         'lower batch_size, recompute activations (recompute=True of encoder and decoder), or shard '
                         'the state (FSDP).')
    seconds = batch * description.step_flops() / (peak * utilisation)
    return dict(memory=need, step_seconds=seconds, images_per_second=gpus * batch / seconds,
                days=None if iterations is None else iterations * seconds / 86400)


def format_description(description: Description) -> str:
    """Return a Description as lines of text."""
    lines = [f'{"part":<28} {"parameters":>14} {"that learn":>14} {"GFLOP an image":>16}']
    for name, part in description.parts.items():
        lines.append(f'{name:<28} {part.parameters:>14,} {part.trained:>14,} {part.flops / 1e9:>16,.4g}'
                     + ('  recomputed' if part.recomputed else ''))
    inside = [p for n, p in description.parts.items() if n not in ('teacher', 'lpips', 'discriminator')]
    lines.append(f'{"tokenizer":<28} {sum(p.parameters for p in inside):>14,} {sum(p.trained for p in inside):>14,} '
                 f'{description.inference_flops() / 1e9:>16,.4g}')
    lines.append('')
    for name, (tokens, depth, size) in description.streams.items():
        lines.append(f'codes of {name}: {format_count(tokens, "token")} of {format_count(depth, "code")}, {size:,} '
                     'each')
    for name, (tokens, channels) in description.latents.items():
        lines.append(f'latents of {name}: {format_count(tokens, "token")} of {format_count(channels, "channel")}, '
                     'continuous: no codes, and so no number of bits')
    bits = f'{description.bits:,.0f} bits ({description.bits / 8 / 1024:,.1f} KiB)'
    lines.append(f'an image: {format_count(description.tokens, "token")}'
                 + (f', {bits}' + ' of codes' * bool(description.latents) if description.streams else ''))
    return '\n'.join([*lines, *description.missing])


def format_fit(description: Description, result: dict, batch: int, gpus: int, peak: float, utilisation: float,
               iterations: int | None) -> str:
    """Return the result of `fit` as lines of text, with its assumptions."""
    half = ', under autocast' if description.half else ''
    types = 'float32, and bfloat16 copies' if description.half else 'float32'
    step, state = description.step_flops() / 1e12, description.state_bytes() / GB
    whole = format_count(iterations or 0, 'iteration')
    days = '' if result['days'] is None else f', {result["days"]:,.3g} days for {whole}'
    lines = ['', f'training step: {step:,.3f} TFLOP an image, {batch * step:,.1f} a GPU at '
                 f'{format_count(batch, "image")}',
             f'memory of a GPU: {result["memory"] / GB:,.1f} GB = {state:,.1f} (weights, gradients, Adam, buffers, '
             f'teacher; {types}) + {batch} x {(result["memory"] / GB - state) / batch:,.3f} (activations{half})',
             f'{format_count(gpus, "GPU")} at {utilisation:.0%} of {peak:g} TFLOPS: {result["step_seconds"]:,.3g} s a '
             f'step, {result["images_per_second"]:,.0f} images/s{days}']
    return '\n'.join([*lines, 'predicted, not measured on a GPU\nassumed: data is never waited for, gradients travel '
                              'while others are computed, no FLOPs but those of products, convolutions and attention;'
                              '\n         memory without what recomputation and the allocator hold for a moment'])
