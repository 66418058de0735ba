"""What a description (see `describe`) says of GPUs: whether a batch fits, how long a run takes; and both as text."""
from dtbox.errors import InputError
from dtbox.sizing.describe import GB


def fit(found, batch, gpus, memory, peak, utilisation, iterations=None):
    """Tell whether a description fits, and how long it takes.

    Args:
        found: Description.
        batch: pictures a GPU.
        gpus: their number.
        memory: bytes of a GPU.
        peak: FLOPs a second of a GPU in the type of training.
        utilisation: share of `peak` that training reaches.
        iterations: of the run, or None.

    Returns:
        dict: `memory` (bytes a GPU), `step_seconds`, `images_per_second` of all GPUs, `days` (None without iterations).

    Raises:
        InputError: it does not fit; says which batch does.
    """
    need = found.memory(batch)
    if need > memory:
        most = found.largest_batch(memory)
        way = (f'At most {most} pictures a GPU fit' if most else
               f'Not even one picture fits: weights, gradients and optimizer take {found.state_bytes() / GB:,.1f} GB')
        raise InputError(f'{batch} pictures a GPU need {need / GB:,.1f} GB, and a GPU has {memory / GB:,.1f} GB. {way}; lower batch_size, recompute '
                         'activations (recompute=True of encoder and decoder), or shard the state (FSDP).')
    seconds = batch * found.step_flops() / (peak * utilisation)
    return dict(memory=need, step_seconds=seconds, images_per_second=gpus * batch / seconds,
                days=None if iterations is None else iterations * seconds / 86400)


def format_description(found):
    """Return a Description as lines of text."""
    lines = [f'{"part":<28} {"parameters":>14} {"that learn":>14} {"GFLOP a picture":>16}']
    for name, part in found.parts.items():
        lines.append(f'{name:<28} {part.parameters:>14,} {part.trained:>14,} {part.flops / 1e9:>16,.4g}'
                     + ('  recomputed' if part.recomputed else ''))
    inside = [p for n, p in found.parts.items() if n not in ('teacher', 'lpips', 'discriminator')]
    lines.append(f'{"tokenizer":<28} {sum(p.parameters for p in inside):>14,} {sum(p.trained for p in inside):>14,} '
                 f'{found.inference_flops() / 1e9:>16,.4g}')
    lines.append('')
    for name, (tokens, depth, size) in found.streams.items():
        lines.append(f'codes of {name}: {tokens:,} tokens of {depth} codes, {size:,} each')
    lines.append(f'a picture: {found.tokens:,} tokens, {found.bits:,.0f} bits ({found.bits / 8 / 1024:,.1f} KiB)')
    return '\n'.join([*lines, *found.missing])


def format_fit(found, result, batch, gpus, peak, utilisation, iterations):
    """Return what `fit` found as lines of text, with its assumptions."""
    half, step, state = ', kept in bfloat16' if found.half else '', found.step_flops() / 1e12, found.state_bytes() / GB
    lines = ['', f'training step: {step:,.3f} TFLOP a picture, {batch * step:,.1f} a GPU at {batch} pictures',
             f'memory of a GPU: {result["memory"] / GB:,.1f} GB = {state:,.1f} (weights, gradients, Adam, buffers, teacher; float32) '
             f'+ {batch} x {(result["memory"] / GB - state) / batch:,.3f} (activations{half})',
             f'{gpus} GPUs at {utilisation:.0%} of {peak:g} TFLOPS: {result["step_seconds"]:,.3g} s a step, {result["images_per_second"]:,.0f} '
             'pictures/s' + (f', {result["days"]:,.3g} days for {iterations:,} iterations' if result['days'] is not None else '')]
    return '\n'.join([*lines, 'assumed: data is never waited for, gradients travel while others are computed, no FLOPs but those of products, '
                              'convolutions and attention;\n         memory without what recomputation and the allocator hold for a moment'])
