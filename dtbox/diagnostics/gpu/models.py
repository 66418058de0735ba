"""What several parts of the GPU check build: a small task that trains, tokenizers of recipes, random images.

Weights are drawn on the CPU and moved, so that every device has the same.

Legend: B batch, N tokens, D width.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapperDict
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from dtbox.apis.building import cast
from dtbox.config import load_config, resolve
from dtbox.diagnostics.gpu.results import Skipped
from dtbox.diagnostics.gpu.settings import Settings
from dtbox.layout import CodeLayout
from dtbox.registry import MODELS, TOKENIZERS
from dtbox.sizing.describe import count_search
from dtbox.sizing.mllm_build import TokenizerShape
from dtbox.structures import Batch
from dtbox.tokenizers.visual import VisualTokenizer
from dtbox.training.optim import build_optim_wrappers
from dtbox.training.parallel import find_blocks
from dtbox.training.task import Task

BASE, SO400M = 'dualtoken_b16_256', 'paper/dualtoken_so400m_384_rq8'
"""Recipes whose tokenizers are timed."""
OPTIM = dict(generator=dict(optimizer=dict(type='AdamW', lr=1e-4), clip_grad=dict(max_norm=1.0)),
             discriminator=dict(optimizer=dict(type='Adam', lr=1e-4)))


def describe_task(settings: Settings, **more: Any) -> dict[str, Any]:
    """Return the config of a small DualToken with a teacher, a CNN decoder and a discriminator.

    Args:
        settings: a GPU gets 128 pixels and width 384, a CPU 16 pixels and width 32.
        more: arguments of TokenizerTask.
    """
    size, patch = settings.choose((128, 16), (16, 4))
    encoder: dict[str, Any] = dict(type='TimmViT', name='vit_base_patch16_siglip_224', model_args=settings.choose(
        dict(embed_dim=384, depth=4, num_heads=6, patch_size=patch),
        dict(embed_dim=32, depth=3, num_heads=2, patch_size=patch)))
    quantizer = settings.choose(dict(type='RQ', size=1024, dim=32, depth=4), dict(type='RQ', size=64, dim=8, depth=2))
    decoder = dict(type='CNNDecoder', reads=['pixel'], blocks=1, attention_resolutions=(), **settings.choose(
        dict(channels=64, multipliers=(1, 1, 2, 2, 4), latent_channels=128),
        dict(channels=32, multipliers=(1, 1, 1), latent_channels=32)))
    last = encoder['model_args']['depth'] - 1
    return dict(
        type='TokenizerTask',
        tokenizer=dict(image_size=size, encoders=dict(trunk=encoder), head=dict(type='TrunkPool'), decoder=decoder,
                       vocabularies=dict(pixel=dict(taps=1, quantizer=quantizer),
                                         semantic=dict(taps=last, reinject=last, quantizer=quantizer))),
        teacher=dict(encoder=encoder, layer=last),
        losses=dict(semantic=dict(type='SemanticLoss'), pooled=dict(type='PooledLoss'),
                    quantizers=dict(type='QuantizerLoss'), pixels=dict(type='L2Loss', weight=5.0)),
        gan=dict(discriminator=dict(type='PatchDiscriminator', width=32),
                 adversarial=dict(type='AdversarialLoss', start=1, against=('l2',))), **more)


def build_task(settings: Settings, **more: Any) -> tuple[Any, OptimWrapperDict]:
    """Return (that task on the device, in training; its optimizers); the same weights every time."""
    torch.manual_seed(0)
    task: Any = MODELS.build(describe_task(settings, **more))
    optim = build_optim_wrappers(task.parts, OPTIM)
    return task.to(settings.device).train(), optim


def make_pixels(count: int, size: tuple[int, int], seed: int = 0) -> Tensor:
    """Return random images [B,3,H,W] uint8 on the CPU."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, *size), generator=generator, dtype=torch.uint8)


def train_steps(task: Task, optim: OptimWrapperDict, steps: int, batch: int) -> list[dict[str, float]]:
    """Train a TokenizerTask on random images; return the logged terms of each step."""
    terms = []
    for step in range(steps):
        torch.manual_seed(step)
        pixels = make_pixels(batch, task.tokenizer.image_size, step)  # type: ignore[union-attr]
        logs = task.train_step(Batch(images=pixels), optim)
        terms.append({name: float(value) for name, value in logs.items()})
    return terms


def compare_terms(found: list[dict[str, float]], wanted: list[dict[str, float]]) -> float:
    """Return the largest relative difference of the terms of steps; infinite where other terms are there."""
    if [sorted(one) for one in found] != [sorted(one) for one in wanted]:
        return float('inf')
    return max(abs(a[name] - b[name]) / max(abs(b[name]), 1e-3) for a, b in zip(found, wanted) for name in b)


# ---- tokenizers of recipes -------------------------------------------------------------------------------------------


def read_recipe(settings: Settings, name: str, **options: Any) -> Config:
    """Return the resolved config of a recipe, at its tiny size where all is small."""
    return resolve(load_config(name, options, tiny=settings.small))


def build_tokenizer(settings: Settings, name: str, dtype: torch.dtype | None = None) -> VisualTokenizer:
    """Return the tokenizer of a recipe with random weights, for use, on the device in a float type."""
    torch.manual_seed(0)
    model: Any = TOKENIZERS.build({'type': 'VisualTokenizer', **read_recipe(settings, name).model.tokenizer})
    return cast(model, dtype or settings.dtype).to(settings.device).eval().requires_grad_(False)


def draw_codes(layout: CodeLayout, count: int, device: torch.device) -> dict[str, Tensor]:
    """Return random codes of images, stream -> [B,N,Q] int64."""
    generator = torch.Generator().manual_seed(0)
    return {stream.name: torch.stack([torch.randint(0, size, (count, stream.tokens), generator=generator)
                                      for size in stream.sizes], -1).to(device) for stream in layout.streams}


def compile_blocks(model: VisualTokenizer, settings: Settings) -> VisualTokenizer:
    """Compile the blocks of encoders, each by itself, and the decoder, in place."""
    import torch._dynamo
    torch._dynamo.config.cache_size_limit = max(64, torch._dynamo.config.cache_size_limit)
    parts = [block for encoder in model.encoders.values() for block in find_blocks(encoder)]
    for module in [*parts, *([] if model.decoder is None else [model.decoder])]:
        module.compile(backend=settings.backend)
    return model


def count_flops(cfg: Config) -> tuple[float, float]:
    """Return the operations of encoding and of decoding one image by the tokenizer of a resolved recipe: products,
    convolutions, attention, and the search by formula."""
    with torch.device('meta'), torch.no_grad():
        model: Any = TOKENIZERS.build({'type': 'VisualTokenizer', **cfg.model.tokenizer})
        search = sum(count_search(stream) for stream in model.streams.values())
        shape = TokenizerShape(model, 'the recipe')
        with FlopCounterMode(display=False) as encoding:
            codes = shape.model.encode(torch.zeros(1, 3, *model.image_size))
        with FlopCounterMode(display=False) as decoding:
            shape.model.decode(codes)
    return encoding.get_total_flops() + search, float(decoding.get_total_flops())


# ---- memory ----------------------------------------------------------------------------------------------------------


def fit_batch(batch: int, attempt: Callable[[int], Any]) -> tuple[int, Any]:
    """Return (the largest of batch, batch / 2, ... that fits the memory, what `attempt` returns for it).

    Raises:
        Skipped: not even one sample fits.
    """
    while batch:
        try:
            return batch, attempt(batch)
        except torch.cuda.OutOfMemoryError:
            batch //= 2
        torch.cuda.empty_cache()
    raise Skipped('not even one sample fits the memory of the card')
