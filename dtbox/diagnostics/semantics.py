"""Semantics to look at: what each vocabulary's tokens retrieve, what words are nearest to single regions, and what
shuffled codes do.

Legend: M images, N tokens, D width of a vocabulary's features, E joint width of images and texts, R regions.
"""
from __future__ import annotations

import base64
import html
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from dtbox.counts import format_count
from dtbox.datasets import collate
from dtbox.diagnostics import patches
from dtbox.diagnostics.subjects import open_codes
from dtbox.drawing.rows import Tile, draw_rows
from dtbox.drawing.sheets import to_uint8
from dtbox.errors import InputError
from dtbox.evaluation import EvalContext, to_json
from dtbox.evaluation.functional import psnr, to_unit
from dtbox.evaluation.zeroshot import compute_class_vectors
from dtbox.files import write_atomic
from dtbox.tokenizers.guidance import read_guiding_texts
from dtbox.training.preprocess import prepare

NEAREST = 5
WORDS = 300
"""Words that regions are compared with, at most: names of classes, else the most frequent words of captions."""
THUMB = 128


@torch.no_grad()
def make_semantics(run: str, out: str, images: int = 8, gallery: int = 1000, grid: int = 3, split: str = 'heldout',
                   seed: int = 0, options: dict | None = None, plugins: Sequence[str] = (),
                   say: Callable[[str], None] = print) -> dict:
    """Draw the page.

    Args:
        run: run folder.
        out: folder for neighbours.png, regions.png, shuffled.png, semantics.json and index.html.
        images: that are shown, evenly spaced.
        gallery: images that neighbours are looked for in.
        grid: regions along each side of an image.
        split: 'heldout' or 'train'.
        seed: of the shuffles.
        options, plugins: see `open_codes`.
        say: called with lines of text.

    Returns:
        dict, as in semantics.json.
    """
    for name, value, least in (('images', images, 1), ('gallery', gallery, 2), ('grid', grid, 1)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise InputError(f'{value!r} came; expected an int >= {least}.', f'--{name}')
    model, dataset, batch_size = open_codes(run, split, options, plugins)
    seen = look(model, dataset, gallery, batch_size)
    name, count = os.path.basename(os.path.normpath(str(run))), len(seen['keys'])
    shown = [int(i) for i in patches.choose_evenly(count, images)]
    say(format_count(count, 'image'))
    result: dict = dict(run=str(run), images=count, neighbours=draw_neighbours(seen, shown, out, name), remarks=[])
    words, vectors = embed_words(model, dataset, seen)
    batch = prepare(collate([dataset[seen['positions'][i]] for i in shown], with_texts=True),
                    next(model.parameters()).device)
    if vectors is None:
        result['remarks'].append(words)
    else:
        result['regions'] = draw_regions(model, batch, words, vectors, grid, out, name)
    if model.decoder is None:
        result['remarks'].append('no reconstructions: the tokenizer has no decoder')
    else:
        result['shuffled'] = draw_shuffled(model, batch, seed, out, name)
    to_json(result, os.path.join(out, 'semantics.json'))
    write_page(result, out, name)
    return result


def look(model: Any, dataset: Any, count: int, batch_size: int) -> dict:
    """Run the model over images, evenly spaced: dict of features by vocabulary [M, D], `pooled` [M, E], texts,
    labels, keys, thumbs, positions."""
    positions, device = patches.choose_evenly(len(dataset), count), next(model.parameters()).device
    seen: dict = dict(features={}, pooled=[], texts=[], labels=[], keys=[], thumbs=[], positions=list(positions))
    for first in range(0, len(positions), batch_size):
        batch = prepare(collate([dataset[i] for i in positions[first:first + batch_size]], with_texts=True), device)
        if batch.broken:
            raise InputError(f'{batch.broken[0]} Leave it out of the data, or mend it.')
        out = model(batch.images, None, False)
        for name, value in out.features.items():
            seen['features'].setdefault(name, []).append(F.normalize(value.float().mean(1), dim=1).cpu())
        if out.pooled is not None:
            seen['pooled'].append(F.normalize(out.pooled.float(), dim=1).cpu())
        seen['texts'] += batch.texts
        seen['labels'] += batch.labels.tolist() if batch.labels is not None else [-1] * len(batch)
        seen['keys'] += batch.keys or [str(i) for i in positions[first:first + batch_size]]
        small = F.interpolate(batch.images, THUMB, mode='area') if min(model.image_size) > THUMB else batch.images
        seen['thumbs'] += list(to_uint8(small))
    seen['features'] = {name: torch.cat(parts) for name, parts in seen['features'].items()}
    seen['pooled'] = torch.cat(seen['pooled']) if seen['pooled'] else None
    return seen


def draw_neighbours(seen: dict, shown: Sequence[int], out: str, name: str) -> dict:
    """Draw the nearest images by each vocabulary, and count how often neighbours are of one kind; returns vocabulary
    -> numbers."""
    spaces = {**seen['features'], **({'pooled embedding': seen['pooled']} if seen['pooled'] is not None else {})}
    kind, same = find_likeness(seen)
    rows, found = [[[_tile(seen, i)]] for i in shown], {}
    for space, rows_of in spaces.items():
        cosines = rows_of @ rows_of.T
        cosines.fill_diagonal_(-2)
        nearest = cosines.topk(min(NEAREST, len(rows_of) - 1)).indices.tolist()
        for row, i in zip(rows, shown):
            row.append([_tile(seen, j) for j in nearest[i]])
        if kind:
            hits = [np.mean([same(i, j) for j in js]) for i, js in enumerate(nearest)]
            drawn = np.random.default_rng(0).integers(0, len(hits), (4000, 2)).tolist()
            chance = np.mean([same(i, j) for i, j in drawn if i != j])
            found[space] = dict(kind=kind, share=float(np.mean(hits)), chance=float(chance))
    columns = [('image', 1), *((f'nearest by the {s}{" tokens" * (s in seen["features"])}', NEAREST) for s in spaces)]
    draw_rows(columns, rows, os.path.join(out, 'neighbours.png'),
              f'{name}: nearest of {format_count(len(seen["keys"]), "image")}',
              'Cosine of the mean of the quantized tokens of a vocabulary; of the embedding behind the head.')
    return found


def find_likeness(seen: dict) -> tuple[str, Callable[[int, int], bool] | None]:
    """Return (what neighbours may have in common, callable (i, j) -> whether they have), or ('', None) where nothing is
    known of them."""
    if max(seen['labels']) >= 0 and len(set(seen['labels'])) < len(seen['labels']):
        return 'the class', lambda i, j: seen['labels'][i] == seen['labels'][j] >= 0
    words, owned = patches.number_words(seen['texts'])
    sets = [set(own) for own in owned]
    return ('a word of the caption', lambda i, j: bool(sets[i] & sets[j])) if words else ('', None)


def _tile(seen, i):
    return Tile(seen['thumbs'][i], seen['texts'][i] or str(seen['keys'][i]).rpartition('/')[2])


def embed_words(model: Any, dataset: Any, seen: dict) -> tuple:
    """Return (words, their vectors [W, E]), or (why there are none, None)."""
    if model.head is None or model.text is None or model.text.tokenizer is None:
        return 'no words: the tokenizer has no head, no text tower, or no text tokenizer', None
    names = list(dict.fromkeys(getattr(dataset, 'classes', ()) or ()))
    if not 0 < len(names) <= WORDS:
        counts = {}
        words, owned = patches.number_words(seen['texts'])
        for own in owned:
            for w in own:
                counts[words[w]] = counts.get(words[w], 0) + 1
        names = sorted(counts, key=lambda w: (-counts[w], w))[:WORDS] or names[:WORDS]
    if not names:
        return 'no words: the data has neither classes nor captions', None
    return names, compute_class_vectors(EvalContext(classes=names, embed_text=model.embed_text), ['{}']).float()


def draw_regions(model: Any, batch: torch.Tensor, words: Sequence[str], vectors: torch.Tensor, grid: int, out: str,
                 name: str) -> dict:
    """Draw the words nearest to each region's tokens; returns key -> rows of words."""
    height, width = batch.images.shape[-2:]
    rows, columns = (np.linspace(0, n, grid + 1).round().astype(int) for n in (height, width))
    masks = torch.zeros(grid * grid, height, width, dtype=torch.bool)
    for r in range(grid):
        for c in range(grid):
            masks[r * grid + c, rows[r]:rows[r + 1], columns[c]:columns[c + 1]] = True
    output = model(batch.images, None, False)
    pooled = model.pool_regions(output.last, [masks] * len(batch))
    whole = F.normalize(output.pooled.float(), dim=1).cpu() @ vectors.T
    # what all regions have in common says nothing
    mean = torch.stack([F.normalize(p.float(), dim=1).cpu() for p in pooled]).mean((0, 1))
    found = {}
    tiles = []
    pixels = to_uint8(batch.images)
    for i in range(len(batch)):
        scores = (F.normalize(pooled[i].float(), dim=1).cpu() - mean) @ vectors.T
        cells = [words[w] for w in scores.argmax(1).tolist()]
        cells = [cells[r * grid:(r + 1) * grid] for r in range(grid)]
        best = [words[w] for w in whole[i].topk(min(3, len(words))).indices.tolist()]
        found[batch.keys[i]] = dict(regions=cells, whole=best)
        tiles.append([[Tile(pixels[i], batch.texts[i] if batch.texts else '')], [Tile(pixels[i], ', '.join(best),
                                                                                      cells)]])
    draw_rows([('image', 1), ('words nearest to its regions', 1)], tiles, os.path.join(out, 'regions.png'),
              f'{name}: words of single regions',
              'Quantized tokens inside a region, pooled by the head, less the mean of all regions; below: the words '
              'nearest to the whole.', 240)
    return found


def draw_shuffled(model: Any, batch: Any, seed: int, out: str, name: str) -> dict[str, float]:
    """Draw reconstructions with codes of one vocabulary shuffled over their places; returns title -> PSNR [dB]."""
    codes = model.encode(batch.images, list(model.streams))
    reads = [s for s in codes if s in model.check_streams(model.reads)]
    versions = {'as they are': codes}
    for s in reads:
        order = torch.randperm(codes[s].shape[1], generator=torch.Generator().manual_seed(seed))
        what = 'codes' if model.streams[s].sizes else 'latents'
        versions[f'{s} {what} shuffled'] = {**codes, s: codes[s][:, order.to(codes[s].device)]}
    others = [s for s in codes if s not in reads]
    found, rows = {}, [[[Tile(p)]] for p in to_uint8(batch.images)]
    for title, these in versions.items():
        made = model.decode({s: these[s] for s in reads}, read_guiding_texts(model, batch.texts, batch.keys))
        score = psnr(to_unit(made), to_unit(batch.images))
        found[title] = float(score.mean())
        for row, pixels, value in zip(rows, to_uint8(made), score.tolist()):
            row.append([Tile(pixels, f'{value:.1f} dB')])
    note = f'The decoder does not read {", ".join(others)}: shuffling those changes nothing.' if others else ''
    draw_rows([('image', 1), *((title, 1) for title in versions)], rows, os.path.join(out, 'shuffled.png'),
              f'{name}: reconstructions from codes in their places, and shuffled', note, 160)
    return found


def format_table(result: dict) -> str:
    """Return the numbers as text."""
    lines = [f'{space}: {f["share"]:.1%} of the {NEAREST} nearest have {f["kind"]} in common (any two images: '
             f'{f["chance"]:.1%})'
             for space, f in result['neighbours'].items()]
    lines += [f'reconstruction, {title}: {value:.2f} dB' for title, value in result.get('shuffled', {}).items()]
    return '\n'.join([*lines, *(f'Note: {remark}.' for remark in result['remarks'])])


def write_page(result: dict, out: str, name: str) -> None:
    """Write index.html, which needs no network and no other file."""
    parts = []
    for file, title in (('neighbours.png', 'What the tokens retrieve'), ('regions.png', 'Words of single regions'),
                        ('shuffled.png', 'Codes out of their places')):
        path = os.path.join(out, file)
        if os.path.isfile(path):
            with open(path, 'rb') as f:
                data = base64.b64encode(f.read()).decode()
            parts.append(f'<h2>{title}</h2>\n<div><img alt="{title}" src="data:image/png;base64,{data}"></div>')
    numbers = ''.join(f'<li>{html.escape(line)}</li>' for line in format_table(result).splitlines())
    write_atomic(
        os.path.join(out, 'index.html'),
        f'''<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{html.escape(name)}: semantics</title>
<style>body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 1500px; padding: 0 1em }}
div {{ overflow-x: auto }}
h1 {{ font-size: 1.5em }} h2 {{ font-size: 1.15em; margin-top: 2em }}</style>
<h1>{html.escape(name)}: semantics to look at</h1>
<ul>{numbers}</ul>
{chr(10).join(parts)}
</html>
''',
    )
