"""The rows of a tokenizer's codebooks, as the visual embedding and the visual heads read them.

A quantizer's `decode` of Q codes is a sum of one row a depth (residual: the rows of the codebooks; products: rows that
are zero outside their own channels). Rows are found from `decode` alone, so that any quantizer of this kind works.
"""
from __future__ import annotations

import torch
from torch import Tensor, nn

from dtbox.code_tables import CodeTables
from dtbox.counts import format_count
from dtbox.errors import InputError
from dtbox.mllm.frozen_tokenizer import FrozenTokenizer

MOST = 1 << 20
"""Codes of one depth whose rows are tabulated."""


def read_tables(tokenizer: FrozenTokenizer) -> CodeTables:
    """Return the CodeTables of a tokenizer.

    Raises:
        InputError: codebooks of more than `MOST` codes, or a quantizer whose features are no sum over depths.
    """
    tables = {}
    for name, stream in tokenizer.model.streams.items():
        sizes = stream.sizes
        if max(sizes) > MOST:
            raise InputError(f'the vocabulary `{name}` has {format_count(max(sizes), "code")} at one depth; a '
                             f'language model predicts at most {MOST:,}. Take a tokenizer with smaller codebooks.')
        tables[name] = read_rows(stream.quantizer, sizes, name)
    return CodeTables(tables, tokenizer.places)


@torch.no_grad()
def read_rows(quantizer: nn.Module, sizes: list[int], name: str) -> list[Tensor]:
    """Return the rows [K,e] of each depth of a quantizer, whose sum is what it decodes.

    Raises:
        InputError: the sum is not that.
    """
    device = next((t.device for t in (*quantizer.parameters(), *quantizer.buffers())), torch.device('cpu'))
    if device.type == 'meta':  # a model of which only sizes are wanted
        return [torch.empty(size, quantizer.dim, device=device) for size in sizes]
    if hasattr(quantizer, 'decode_depths'):
        rows = []
        for depth, size in enumerate(sizes):
            codes = torch.zeros(1, size, len(sizes), dtype=torch.int64, device=device)
            codes[0, :, depth] = torch.arange(size, device=device)
            rows.append(quantizer.decode_depths(codes)[0, :, depth].float().cpu())
        return rows
    return _read_by_differences(quantizer, sizes, name, device)


def _read_by_differences(quantizer: nn.Module, sizes: list[int], name: str, device: torch.device) -> list[Tensor]:
    """Rows from what changes when one code of all changes; the part common to all is divided among the depths."""
    depths = len(sizes)
    base = quantizer.decode(torch.zeros(1, 1, depths, dtype=torch.int64, device=device))[0].float()
    rows = []
    for depth, size in enumerate(sizes):
        codes = torch.zeros(1, size, depths, dtype=torch.int64, device=device)
        codes[0, :, depth] = torch.arange(size, device=device)
        rows.append((quantizer.decode(codes)[0].float() - base + base / depths).cpu())
    own = torch.Generator().manual_seed(0)
    probe = torch.stack([torch.randint(size, (64,), generator=own) for size in sizes], -1)
    whole = quantizer.decode(probe[None].to(device))[0].float().cpu()
    summed = sum(rows[d][probe[:, d]] for d in range(depths))
    if not torch.allclose(whole, summed, rtol=1e-3, atol=1e-4 * float(whole.abs().max())):
        raise InputError(f'the features of the vocabulary `{name}` ({type(quantizer).__name__}) are not a sum over its '
                         'depths, so no row belongs to a code. Take a tokenizer with another quantizer.')
    return rows
