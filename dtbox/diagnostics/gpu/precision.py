"""Part `precision`: encoder and decoder on the device in float32 and bfloat16, against float32 on the CPU.

Float32 has to agree (TF32 is off). bfloat16 keeps 8 bits: its outputs have to stay near, and codes change where two
rows of a codebook are nearly as near; how many is measured, and neither right nor wrong.
"""
from __future__ import annotations

from dataclasses import replace

import torch

from dtbox.diagnostics.gpu import models
from dtbox.diagnostics.gpu.quantizers import measure_difference
from dtbox.diagnostics.gpu.results import Report
from dtbox.diagnostics.gpu.settings import Settings
from dtbox.diagnostics.rates import allow_tf32

CLOSE = 1e-3
"""Of float32 through all layers, over the largest value."""
NEAR = 0.2
"""Of bfloat16, root mean square of the difference over that of the output."""
EQUAL = 0.98
"""Fraction of codes that float32 has to leave as they are; a near tie may fall either way."""


def check(settings: Settings, report: Report) -> None:
    """Check the tokenizer of B/16 at 256 pixels; on a CPU that of the recipe's tiny size."""
    on_cpu = replace(settings, device_name='cpu')
    count = settings.choose(2, 1)
    reference = models.build_tokenizer(on_cpu, models.BASE, torch.float32)
    images = models.make_pixels(count, reference.image_size).float().div_(127.5).sub_(1)
    layer = max(reference.stops['trunk'])
    tokens, codes = encode(reference, images, layer)
    decoded = reference.decode(codes)
    for dtype in [torch.float32] + [torch.bfloat16] * settings.half:
        name = str(dtype).removeprefix('torch.')
        model = models.build_tokenizer(settings, models.BASE, dtype)
        with allow_tf32(False), torch.no_grad():
            found, other = encode(model, images.to(settings.device, dtype), layer)
            painted = model.decode({n: c.to(settings.device) for n, c in codes.items()}).float().cpu()
        equal = {n: float((other[n].cpu() == c).float().mean()) for n, c in codes.items()}
        if dtype == torch.float32:
            report.check('tokens, float32', (worst := measure_difference(found, tokens)) <= CLOSE, '', worst)
            report.check('images from the same codes, float32',
                         (worst := measure_difference(painted, decoded)) <= CLOSE, '', worst)
        else:
            for what, a, b in (('tokens', found, tokens), ('images from the same codes', painted, decoded)):
                error = float((a - b).pow(2).mean().sqrt() / b.pow(2).mean().sqrt().clamp_min(1e-6))
                report.check(f'{what}, {name}', error <= NEAR, 'root mean square, relative', error)
        for stream, fraction in equal.items():
            if dtype == torch.float32:
                report.check(f'codes of {stream}, {name}', fraction >= EQUAL, 'as on the CPU', 100 * fraction, '%')
            else:
                report.measure(f'codes of {stream}, {name}', 100 * fraction, '%', 'as those of float32')


def encode(model: torch.nn.Module, images: torch.Tensor, layer: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Return (tokens [B,N,D] after a layer, float32 on the CPU; stream -> codes [B,N,Q] on the device)."""
    encoder = model.encoders['trunk']  # type: ignore[index]
    with torch.no_grad():
        tokens, _ = encoder.run(encoder.embed(images), 0, layer, set())
        return tokens.float().cpu(), model.encode(images)  # type: ignore[operator]
