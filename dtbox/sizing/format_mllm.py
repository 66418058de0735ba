"""The description of a multimodal language model as text."""
from __future__ import annotations

from math import log2
from typing import Any, Mapping

from dtbox.counts import format_count
from dtbox.sizing.describe import GB
from dtbox.sizing.describe_mllm import MLLMDescription
from dtbox.sizing.mllm_memory import FROZEN, format_memory
from dtbox.sizing.mllm_passes import CAPTION, DRAWING
from dtbox.sizing.mllm_streams import format_streams


def format_mllm(description: MLLMDescription) -> str:
    """Return parts, codes and places as lines of text."""
    lines = [f'{"part":<28} {"parameters":>14} {"that learn":>14} {"GFLOP a drawing":>16} {"GFLOP a caption":>16}']
    for name, part in description.parts.items():
        flops = f'{part.flops / 1e9:>16,.4g} {description.captions.get(name, 0) / 1e9:>16,.4g}'
        if name in FROZEN:
            flops = f'{"-":>16} {"-":>16}' + (f'  frozen; {part.flops / 1e9:,.4g} GFLOP an image, once'
                                              if part.flops else '  frozen; of evaluation')
        lines.append(f'{name:<28} {part.parameters:>14,} {part.trained:>14,} {flops}'
                     + ('  recomputed' if part.recomputed else ''))
    own = {name: part for name, part in description.parts.items() if name not in FROZEN}
    lines.append(f'{"multimodal language model":<28} {sum(p.parameters for p in own.values()):>14,} '
                 f'{sum(p.trained for p in own.values()):>14,} {sum(p.flops for p in own.values()) / 1e9:>16,.4g} '
                 f'{sum(description.captions.values()) / 1e9:>16,.4g}')
    lines.append('')
    for name, (tokens, depth, size) in description.streams.items():
        lines.append(f'codes of {name}: {format_count(tokens, "place")} of {format_count(depth, "code")}, {size:,} '
                     f'each ({depth * log2(size):,.4g} '
                     'bits a place)')
    lines += format_streams(description.added)
    codes = sum(tokens * depth for tokens, depth, _ in description.streams.values())
    lines.append(f'an image: {format_count(description.tokens, "place")} of a sequence, '
                 f'{format_count(codes, "code")}, {description.bits:,.0f} '
                 f'bits ({description.bits / 8 / 1024:,.1f} KiB)')
    lengths = ', '.join(f'{length:,} of a {kind}' for kind, length in description.lengths.items())
    lines.append(f'a sequence: {lengths}, with {format_count(description.text, "token")} of text (--text); the '
                 f'model reads '
                 f'{description.context:,}')
    return '\n'.join([*lines, *description.missing])


def format_mllm_fit(description: MLLMDescription, result: Mapping[str, Any], batch: int, gpus: int, peak: float,
                    utilisation: float, iterations: int | None) -> str:
    """Return the result of `fit` as lines of text, with its assumptions."""
    step = {kind: description.step_flops(kind) / 1e12 for kind in (DRAWING, CAPTION)}
    divided = f'divided over {description.shards} GPUs' if description.shards > 1 else 'whole on each GPU'
    again = 'recomputed' if description.parts['lm'].recomputed else 'kept'
    days = ''
    if result['days'] is not None:
        days = f', {result["days"]:,.3g} days for {format_count(iterations or 0, "iteration")}'
    return '\n'.join([
        '', f'training step: {step[DRAWING]:,.4g} TFLOP a drawing, {step[CAPTION]:,.4g} a caption, '
        f'{batch * step[DRAWING]:,.4g} a GPU at {batch} drawings',
        *([format_memory(description, batch, gpus)] if description.kept else []),
        f'this recipe, {divided}, activations {again}: {result["memory"] / GB:,.2f} GB, of which '
        f'{description.activations / GB:,.4f} a sample',
        f'{gpus} GPUs at {utilisation:.0%} of {peak:g} TFLOPS: {result["step_seconds"]:,.3g} s a step, '
        f'{result["images_per_second"]:,.0f} samples/s{days}',
        'assumed: every sample is a drawing, codes of images are kept (model.cache), data is never waited for; no '
        'FLOPs but those of\n         products and attention; memory without what recomputation, masks and the '
        'allocator hold for a moment'])
