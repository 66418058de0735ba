"""Codebooks and codes for the contracts of visual embeddings and heads: two streams of different depths, sizes and
widths.

Legend: M images, N places, P target steps, Q codes per place, H width of the language model.
"""
from __future__ import annotations

import torch
from torch import Tensor

from dtbox.code_tables import CodeTables
from dtbox.testing.subject import make_generator

WIDTH = 12
"""H of the contracts."""
SIZES = dict(pixel=[5, 7, 6], semantic=[8, 8])
"""Stream -> K of each depth."""


def make_tables(places: int = 6) -> CodeTables:
    """Return tables of the streams of `SIZES`, rows 4 and 6 wide."""
    rows = {name: [torch.randn(size, 4 if name == 'pixel' else 6, generator=make_generator(depth))
                   for depth, size in enumerate(sizes)] for name, sizes in SIZES.items()}
    return CodeTables.from_tables(rows, places)


def make_codes(tables: CodeTables, *shape: int, seed: int = 0) -> dict[str, Tensor]:
    """Return random codes, stream -> [*shape, Q] int64."""
    generator = make_generator(seed)
    return {name: torch.stack([torch.randint(size, shape, generator=generator) for size in sizes], -1)
            for name, sizes in tables.sizes.items()}


def change(codes: dict[str, Tensor], name: str, index: tuple, size: int) -> dict[str, Tensor]:
    """Return codes of which those at an index of one stream are another one of a codebook of a size."""
    other = codes[name].clone()
    other[index] = (other[index] + 1) % size
    return {**codes, name: other}
