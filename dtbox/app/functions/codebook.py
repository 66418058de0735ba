"""The tab Codebook: how the codes of each stream and depth are used on held-out images, and which are dead."""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from dtbox.app.opened import Opened
from dtbox.drawing.codebook_usage import Codebook, draw_codebooks
from dtbox.evaluation.functional import code_usage, count_codes, seen_counts

HEAD = ('stream', 'depth', 'codes', 'in use', 'dead', 'perplexity', 'most used')


def list_codebooks(opened: Opened) -> list[Codebook]:
    """Return the use of the codebook of each stream and depth; `InputError` where there are no images to count."""
    seen, found = opened.seen, []
    for name in opened.coded:
        sizes = opened.tokenizer.model.streams[name].sizes
        for depth, size in enumerate(sizes):
            histogram = count_codes(torch.from_numpy(seen.codes[name][..., depth].astype(np.int64)), size)
            use = code_usage(histogram)
            found.append(Codebook(name, depth if len(sizes) > 1 else None, seen_counts(histogram).numpy(), size,
                                  use['usage'], use['perplexity'], int(use['dead'])))
    return found


def list_codes(opened: Opened, stream: str, depth: int, most: int = 5) -> list[tuple[int, int]]:
    """Return the most used codes of a depth with how many tokens have them, the most used first."""
    codes, counts = np.unique(opened.seen.codes[stream][..., depth], return_counts=True)
    order = np.lexsort((codes, -counts))[:most]
    return [(int(codes[i]), int(counts[i])) for i in order]


def make_table(opened: Opened) -> list[list[str]]:
    """Return a row a stream and depth, see `HEAD`."""
    rows = []
    for book in list_codebooks(opened):
        first = list_codes(opened, book.vocabulary, book.depth or 0)
        rows.append([book.vocabulary, str(book.depth or 0), f'{book.size:,}', f'{book.usage:.1%}', f'{book.dead:,}',
                     f'{book.perplexity:,.1f}', ', '.join(f'{code} ({count:,})' for code, count in first)])
    return rows


def draw_use(opened: Opened, path: str) -> None:
    """Draw the use of all codebooks into a PNG file."""
    books: Sequence[Codebook] = list_codebooks(opened)
    draw_codebooks(books, path, f'{opened.name}: {len(opened.seen.keys):,} held-out images')
