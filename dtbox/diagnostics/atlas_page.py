"""A page of the code atlas: one vocabulary at one depth, its sheet of patches and what its codes tell.

Legend: M images, N tokens, Q codes per token, K codebook size.
"""
from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dtbox.counts import format_count
from dtbox.diagnostics import information, patches
from dtbox.drawing.atlas_sheet import Row, draw_patches
from dtbox.layout import need_grid

PATCHES = 10
"""Patches in a row of a sheet."""


@dataclass
class Seen:
    """What one pass over the images keeps.

    Attributes:
        codes: stream -> [M,N,Q] integers.
        colours, edges: grid -> [M,N], see `patches.compute_statistics`.
        texts, keys: of each image; a text is '' where there is none.
        positions: place of each image in the dataset.
        words: the words that are counted.
        owned: for each image the numbers of its words.
    """
    codes: dict
    colours: dict
    edges: dict
    texts: list
    keys: list
    positions: list
    words: list
    owned: list


class Page:
    """One vocabulary at one depth.

    Args:
        stream: Stream.
        depth: counted from 0.
        seen: Seen.
        seed: of the shuffles.
    """

    def __init__(self, stream: Any, depth: int, seen: Any, seed: int):
        self.name = stream.name
        self.depth = depth
        self.depths = len(stream.sizes)
        self.size = stream.sizes[depth]
        self.grid, self.seen = need_grid(stream.layout.token_layout, 'the code atlas').map_shape, seen
        self.codes = seen.codes[self.name][..., depth]
        used, counts = np.unique(self.codes, return_counts=True)
        self.counts = dict(zip(used.tolist(), counts.tolist()))
        colours, edges = seen.colours[self.grid].astype(np.int64), patches.bin_edges(seen.edges[self.grid])
        self.about = dict(words=information.measure_words(self.codes, seen.owned, seed)) if seen.words else {}
        self.about['colour'] = information.measure_tokens(self.codes, colours, self.grid, seed)
        self.about['edges'] = information.measure_tokens(self.codes, edges, self.grid, seed)

    @property
    def label(self) -> str:
        """Name and depth."""
        return f'{self.name}, depth {self.depth}' if self.depths > 1 else self.name

    @property
    def said(self) -> str:
        """A line about this page."""
        return f'{self.label}: ' + ', '.join(f'{key} {found.bits:.3f} bits' for key, found in self.about.items())

    def choose(self, count: int, by: str) -> list[int]:
        """Return the `count` codes that are used most, or tell most; equal ones by number."""
        value = self.counts if by == 'use' else self.about[by].by_code
        return sorted(self.counts, key=lambda code: (-value.get(code, 0.0), code))[:count]

    def finish(self, dataset: Any, codes: Sequence[int], out: str, run: str, context: int) -> dict:
        """Draw the sheet of the codes; return what is known of this page as plain types."""
        found = [patches.choose_examples(self.codes, code, self.grid, self.seen.keys, 3 * PATCHES) for code in codes]
        images = {i: dataset[self.seen.positions[i]]['image'].permute(1, 2, 0).numpy()
                  for i in sorted({i for chosen in found for i, _ in chosen})}
        rows, entries = [], []
        for code, candidates in zip(codes, found):
            crops = {}
            for i, token in candidates:  # emoji that differ elsewhere only would show the same patch again
                cut = patches.crop(images[i], token, self.grid, context)
                crops.setdefault(cut.tobytes(), (i, token, cut))
            chosen = list(crops.values())[:PATCHES]
            entry = self.describe(code, [(i, token) for i, token, _ in chosen])
            rows.append(Row(f'code {code}', self.lines(entry), [cut for *_, cut in chosen]))
            entries.append(entry)
        cell = patches.compute_cell_size(tuple(dataset[self.seen.positions[0]]['image'].shape[1:]), self.grid)
        path = os.path.join(out, f'{self.name}_depth{self.depth}.png' if self.depths > 1 else f'{self.name}.png')
        note = (
            f'A patch (outlined) and what is around it, of the images that use the code most; {len(self.counts):,} '
            f'of {format_count(self.size, "code")} are used on {format_count(len(self.codes), "image")}. Beside it: '
            'words that are more frequent in captions of its images, and by how much.'
        )
        draw_patches(rows, path, f'{run}: {self.label}', note, cell, context)
        p = np.array(list(self.counts.values())) / self.codes.size
        return dict(depth=self.depth, size=self.size, used=len(self.counts), entropy=information.compute_entropy(p),
                    sheet=os.path.basename(path), information={key: one.row() for key, one in self.about.items()},
                    codes=entries)

    def describe(self, code: int, chosen: Any) -> dict:
        """Return what is known of a code as plain types."""
        used = self.codes == code
        count, whole = int(used.sum()), len(self.codes)
        told = information.find_telling_words(self.codes, self.seen.owned, code) if count else []
        return dict(code=int(code), tokens=count, share=count / self.codes.size, images=int(used.any(1).sum()),
                    of_images=whole, words=[dict(word=self.seen.words[w], lift=lift) for w, lift in told],
                    information={key: one.by_code.get(int(code), 0.0) for key, one in self.about.items()},
                    examples=[dict(key=str(self.seen.keys[i]), row=token // self.grid[1], column=token % self.grid[1])
                              for i, token in chosen])

    def lines(self, entry: dict) -> list[str]:
        """Return the lines beside a row of a sheet."""
        if not entry['tokens']:
            return ['not used on these', 'images']
        lines = [f'{entry["share"]:.2%} of the tokens', f'in {entry["images"]:,} of '
                                                        f'{format_count(entry["of_images"], "image")}']
        return lines + [f'{w["word"]} x {w["lift"]:.1f}' for w in entry['words']]
