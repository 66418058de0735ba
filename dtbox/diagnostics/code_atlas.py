"""The code atlas: what the codes of a run stand for, as patches to look at and as mutual information.

One pass over the images keeps their codes and two numbers a patch, never the images; those of the sheets are read
again. Memory is that of the codes: images x tokens x depths x 4 bytes for each vocabulary.

Legend: M images, N tokens, Q codes per token, K codebook size.
"""
from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Optional, Sequence

import numpy as np
import torch

from dtbox.counts import format_count
from dtbox.datasets import collate
from dtbox.diagnostics import information, patches
from dtbox.diagnostics.atlas_page import Page, Seen
from dtbox.diagnostics.subjects import open_codes
from dtbox.drawing.atlas_sheet import draw_information
from dtbox.errors import InputError
from dtbox.evaluation import to_json
from dtbox.files import write_atomic
from dtbox.layout import need_grid
from dtbox.markup import escape_markdown
from dtbox.training.preprocess import prepare

ABOUT = ('words', 'colour', 'edges')
LARGEST = 2 ** 31 - 1
"""Largest code that is kept in four bytes."""


@torch.no_grad()
def look(model: Any, dataset: Any, streams: Sequence[str], images: int, batch_size: int,
         say: Callable[[str], None]) -> Seen:
    """Encode images, evenly spaced over the dataset: Seen."""
    positions = patches.choose_evenly(len(dataset), images)
    grids = {name: need_grid(model.streams[name].layout.token_layout, 'the code atlas').map_shape for name in streams}
    codes = {name: [] for name in streams}
    texts = []
    keys = []
    colours, edges = ({grid: [] for grid in grids.values()} for _ in range(2))
    device = next(model.parameters()).device
    start = time.time()
    for first in range(0, len(positions), batch_size):
        batch = collate([dataset[i] for i in positions[first:first + batch_size]], with_texts=True)
        images = prepare(batch, device).images
        for name, found in model.encode(images, streams).items():
            small = max(model.streams[name].sizes) <= LARGEST
            codes[name].append(found.cpu().numpy().astype(np.int32 if small else np.int64))
        for grid in colours:
            for kept, values in zip((colours, edges), patches.compute_statistics(images, grid)):
                kept[grid].append(values.numpy())
        assert batch.texts is not None  # collated with texts
        texts += batch.texts
        keys += batch.keys or [str(i) for i in positions[first:first + batch_size]]
    say(f'{format_count(len(positions), "image")} encoded in {time.time() - start:.0f} s')
    return Seen({n: np.concatenate(c) for n, c in codes.items()}, {g: np.concatenate(c) for g, c in colours.items()},
                {g: np.concatenate(c) for g, c in edges.items()}, texts, keys, positions, *patches.number_words(texts))


@dataclass(frozen=True)
class Choice:
    """What an atlas shows.

    Attributes:
        vocabularies: names, None for all; those that share a quantizer have one sheet, under its name.
        depths: depths, counted from 0; None for all.
        count: codes of a sheet, the first by `by`; or
        codes: which codes.
        by: 'use' (how many tokens), or 'words', 'colour', 'edges': share of the mutual information; None takes words
            where the data has them, and else colour.
        context: tokens around a patch on each side.
    """
    vocabularies: Optional[Sequence[str]] = None
    depths: Optional[Sequence[int]] = None
    count: int = 16
    codes: Optional[Sequence[int]] = None
    by: Optional[str] = None
    context: int = 2

    def check(self) -> None:
        """Raise `InputError` for numbers that make no sheet."""
        if self.codes is None and self.count < 1 or self.context < 0:
            raise InputError(f'expected at least 1 code and a context of at least 0 tokens; got {self.count} and '
                             f'{self.context}.')
        if self.by not in (None, 'use', *ABOUT):
            raise InputError(f'codes cannot be chosen by `{self.by}`; expected use, {", ".join(ABOUT)}.', '--by')

    def depths_of(self, name: str, sizes: Sequence[int]) -> list[int]:
        """Return the depths of a vocabulary with those codebook sizes; `InputError` where there is no such depth or
        code."""
        for depth in self.depths or ():
            if not 0 <= depth < len(sizes):
                raise InputError(f'`{name}` has no depth {depth}; its depths are 0 to {len(sizes) - 1}.', '--depth')
        chosen = sorted(set(self.depths)) if self.depths else list(range(len(sizes)))
        for depth in chosen:
            wrong = [code for code in self.codes or () if not 0 <= code < sizes[depth]]
            if wrong:
                raise InputError(f'`{name}` has no code {wrong[0]} at depth {depth}; its codes there are 0 to '
                                 f'{sizes[depth] - 1:,}.', '--codes')
        return chosen


def make_atlas(run: str, out: str, choice: Choice = Choice(), split: str = 'heldout', images: int = 2000,
               seed: int = 0, options: dict | None = None, plugins: Sequence[str] = (),
               say: Callable[[str], None] = lambda line: None) -> dict:
    """Make the atlas of a run: atlas.json, atlas.md, information.png and a sheet VOCABULARY_depthD.png for each
    vocabulary and depth.

    Args:
        run: run folder.
        out: folder for the results.
        choice: Choice.
        split: 'heldout' or 'train', both in their evaluation form.
        images: images at most.
        seed: of the shuffles.
        options, plugins: as for the other tools.
        say: called with lines about the progress.

    Returns:
        dict: `vocabularies` (name -> list over depths of `information`, `codes`, ...), `settings`, `remarks`.

    Raises:
        InputError: unknown names, depths or codes; no run; `by` words of data without texts.
    """
    choice.check()
    if images < 1:
        raise InputError(f'{format_count(images, "image")}; expected at least 1.', '--images')
    model, dataset, batch_size = open_codes(run, split, options, plugins)
    streams = model.check_streams(choice.vocabularies)
    if choice.vocabularies is None:  # continuous streams have no sheet beside those with codes
        streams = [name for name in streams if model.streams[name].layout.has_codes] or streams
    model.streams.need_codes(streams)
    wanted = {name: choice.depths_of(name, model.streams[name].sizes) for name in streams}
    if choice.by == 'words' and not dataset.metainfo.get('texts'):
        raise InputError('codes cannot be chosen by words: the data has no texts. Choose them by use, colour or '
                         'edges.', '--by')
    seen = look(model, dataset, streams, images, batch_size, say)
    if not seen.words:
        why = 'the data has no texts'
        if any(seen.texts):
            why = f'no word of the captions is in at least {patches.LEAST} images'
        if choice.by == 'words':
            raise InputError(f'codes cannot be chosen by words: {why}. Choose them by use, colour or edges.', '--by')
    by = choice.by or ('words' if seen.words else 'colour')
    found = {name: [] for name in streams}
    for name in streams:
        for depth in wanted[name]:
            page = Page(model.streams[name], depth, seen, seed)
            found[name].append(page.finish(dataset, page.choose(choice.count, by) if choice.codes is None
                                           else choice.codes, out, _name(run), choice.context))
            say(page.said)
    remarks = [] if seen.words else [f'no information about words: {why}']
    result = dict(vocabularies=found, remarks=remarks, settings=dict(
        run=str(run), split=split, images=len(seen.keys), words=len(seen.words), by='list'
        if choice.codes is not None else by, seed=seed, shuffles=information.SHUFFLES))
    to_json(result, os.path.join(out, 'atlas.json'))
    write_atomic(os.path.join(out, 'atlas.md'), format_table(result) + '\n')
    bars = [(name, page['depth'], page['information']) for name, pages in found.items() for page in pages]
    draw_information(bars, os.path.join(out, 'information.png'), f'{_name(run)}: what a code tells of its token\'s '
                                                                 'image and patch '
                     f'({len(seen.keys):,} {split} images)')
    return result


def _name(run):
    return os.path.basename(os.path.abspath(str(run)))


def format_table(result: dict) -> str:
    """Return the result of `make_atlas` as Markdown: a row a vocabulary and depth, bits of mutual information less the
    shuffled baseline."""
    settings, about = result['settings'], [key for key in ABOUT
                                           if any(key in p['information'] for v in result['vocabularies'].values()
                                                  for p in v)]
    lines = ['| vocabulary | depth | codes used | entropy of the codes [bits] | '
             + ' | '.join(f'about {key} [bits]' for key in about) + ' |', '|' + '---|' * (4 + len(about))]
    for name, pages in result['vocabularies'].items():
        for page in pages:
            cells = []
            for key in about:
                found = page['information'][key]
                cells.append(f'{found["bits"]:.3f} ({found["raw"]:.3f} - {found["shuffled"]:.3f})')
            lines.append(f'| {escape_markdown(name)} | {page["depth"]} | {page["used"]:,} of {page["size"]:,} '
                         f'| {page["entropy"]:.2f} | {" | ".join(cells)} |')
    first = next(page for pages in result['vocabularies'].values() for page in pages)['information']
    most = ', '.join(f'{key} {found["entropy"]:.2f}' for key, found in first.items())
    lines += ['', f'Mutual information of a token\'s code with a word of its image\'s caption ('
                  f'{format_count(settings["words"], "word")}), with the mean colour of '
              f'its patch ({patches.LEVELS ** 3} colours) and with its edge energy ({patches.EDGE_BINS} bins): '
              f'estimate from counts less the mean of {settings["shuffles"]} shuffles, on {settings["images"]:,} '
              f'{settings["split"]} images. There are to tell, in bits: {most}.']
    lines += [f'Note: {escape_markdown(remark)}.' for remark in result['remarks']]
    return '\n'.join(lines)
