"""What a block that is recomputed keeps while its part of the backward pass runs: one block at a time."""
from __future__ import annotations

import torch
from mmengine.config import Config
from torch import nn

from dtbox.sizing.autocast import cast_as_training
from dtbox.sizing.describe import build_without_memory
from dtbox.sizing.tracing import KeptBytes, PassFeatures, fuse_attention, read_any_text


def list_blocks(part: nn.Module) -> list[nn.Module]:
    """Return the blocks of an encoder or a decoder: members of its lists of modules that hold no such list."""
    lists = [module for module in part.modules() if isinstance(module, (nn.ModuleList, nn.Sequential))]
    return [block for one in lists for block in one if not any(
        isinstance(inner, (nn.ModuleList, nn.Sequential)) for inner in block.modules())]


def measure_largest_block(cfg: Config) -> float:
    """Return the most bytes that autograd keeps of one image in one block of encoders and decoder.

    Args:
        cfg: resolved config of a recipe without recomputation.
    """
    model, _ = build_without_memory(cfg)
    tokenizer = model.tokenizer.train()
    for stream in tokenizer.streams.values():
        stream.quantizer.forward = PassFeatures(len(stream.sizes), stream.quantizer.dim)
    kept, most = KeptBytes(model.parameters()), [0.0]
    before: dict[nn.Module, int] = {}
    parts = [*tokenizer.encoders.values(), *([] if tokenizer.decoder is None else [tokenizer.decoder])]
    for block in (block for part in parts for block in list_blocks(part)):
        block.register_forward_pre_hook(lambda module, args: before.update({module: kept.bytes}))
        block.register_forward_hook(
            lambda module, args, output: most.append(kept.bytes - before[module]))
    with torch.device('meta'), fuse_attention(), cast_as_training(
            kept, cfg.get('amp') == 'bfloat16'), kept:
        tokenizer(torch.zeros(1, 3, *tokenizer.image_size), read_any_text(tokenizer))
    return float(max(most))
