"""What a data set holds, before anything is trained on it: every sample is read once; counts, sizes, what is broken,
and images to look at."""
from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch.utils.data import DataLoader

from dtbox.config import load_config, resolve
from dtbox.conversations import Conversation
from dtbox.counts import format_count
from dtbox.datasets.conversation_dataset import collate_conversations
from dtbox.datasets.read import flatten, read_rgba
from dtbox.drawing.sample_sheet import Sample, draw_samples
from dtbox.errors import InputError
from dtbox.evaluation import to_json
from dtbox.files import write_atomic
from dtbox.image_codes import ImageCodes
from dtbox.registry import DATASETS

SHOWN = 24
"""Images on the sheet, evenly spaced over the data."""
TOLD = 20
"""Broken samples and keys that are told by name on the screen; all are in the file."""
TILE = 160


class _Look:
    """Stands in for a pipeline: what is to be known of a sample, and a small image of it."""

    def __call__(self, results):
        image = results['image']
        found = dict(key=results.get('key'), set=results.get('set'), label=results.get('label', -1), size=image.size,
                     captions=list(results.get('captions') or filter(None, [results.get('text')])),
                     objects=len(results.get('masks', ())), flaws=list(results.get('flaws', ())))
        small = image if image.mode == 'RGB' else flatten(read_rgba(image))
        small.thumbnail((TILE, TILE))
        return dict(found, image=np.asarray(small))


def _look_at(talk: Conversation, more: dict) -> dict:
    """Return what is to be known of a conversation as `_Look` does: its texts as captions, its first image, unless that
    is known by its codes alone."""
    looks = [_Look()(dict(image=image)) for image in talk.images if not isinstance(image, ImageCodes)]
    texts = [turn.text for turn in talk.turns if turn.text.strip()]
    first = dict(size=looks[0]['size'], image=looks[0]['image']) if looks else dict(size=None)
    return dict(key=talk.key, set=more['set'], label=-1, captions=texts, objects=0, flaws=[], **first)


def check_data(config: str, options: dict | None = None, plugins: Sequence[str] = (), limit: int | None = None,
               workers: int | None = None, say: Callable[[str], None] = print) -> dict:
    """Read every sample of the data sets of a config.

    Args:
        config: a recipe, a run folder, or a config of configs/_base_/datasets.
        options: dict of dotted config key -> value to override (`data_root`, ...).
        plugins: plugins that the config does not name.
        limit: samples of each set to read, evenly spaced; None reads all.
        workers: processes that read; None takes the config's.
        say: called with lines of text.

    Returns:
        dict: name of the part (`train`, `heldout`) -> what was found (see `_summary`) with `images` for the sheet.

    Raises:
        InputError: no data in the config, or data that cannot be opened at all.
    """
    cfg = resolve(load_config(config, options, plugins))
    found = {}
    for part, key in (('train', 'train_dataloader'), ('heldout', 'val_dataloader')):
        if cfg.get(key):
            where = f'{key}.dataset'
            if _unset(cfg[key]['dataset']):
                say(f'{part}: not given ({", ".join(_unset(cfg[key]["dataset"]))} is None)')
                continue
            dataset = DATASETS.build(dict(cfg[key]['dataset']), where=where)
            processes = cfg[key].get('num_workers', 0) if workers is None else workers
            found[part] = _read(dataset, limit, processes, part, say)
    if not found:
        raise InputError(f'{config} has no data to check: neither `train_dataloader` nor `val_dataloader` with a '
                         'place for its data. Give it, such as --cfg-options data_root=PATH.')
    return found


def _unset(dataset):
    """Names of the places for data that a config leaves open."""
    return [k for k in ('data_root', 'urls') if k in dataset and dataset[k] is None
            and dataset.get('type') not in ('EmojiOrFolder', 'Twemoji')]


def _read(dataset, limit, workers, part, say):
    count = len(dataset)
    order = np.unique(np.linspace(0, count - 1, min(limit or count, count)).round().astype(int))
    shown = set(order[np.unique(np.linspace(0, len(order) - 1, min(SHOWN, len(order))).round().astype(int))].tolist())
    talks = getattr(dataset, 'collate', None) is collate_conversations
    dataset.pipeline, dataset.broken = [] if talks else [_Look()], 'skip'
    rows = []
    loader = DataLoader(_Some(dataset, order, shown), batch_size=64, num_workers=workers, collate_fn=list)
    for batch in loader:
        rows += batch
        if len(rows) % 6400 < 64:
            say(f'{part}: {len(rows):,} of {len(order):,} read')
    return dict(_summary(rows, count, getattr(dataset, 'flaws', ()), getattr(dataset, 'classes', ())),
                notes=list(getattr(dataset, 'notes', ())), images=[r for r in rows if 'image' in r])


class _Some:
    """The chosen positions of a data set; pixels of those that are shown only."""

    def __init__(self, dataset: Any, order: Sequence[int], shown: Sequence[int]):
        self.dataset = dataset
        self.order = order
        self.shown = shown

    def __len__(self):
        return len(self.order)

    def __getitem__(self, i):
        row = dict(self.dataset[int(self.order[i])])
        if 'conversation' in row:
            row = _look_at(row['conversation'], row)
        if int(self.order[i]) not in self.shown:
            row.pop('image', None)
        return row


def _summary(rows, count, flaws, classes):
    """Return dict of numbers and names: `samples`, `read`, `broken` (sentences), `flaws`, `duplicate_keys`, `sizes`,
    `captions`, `classes`."""
    good = [r for r in rows if 'broken' not in r]
    widths, heights = (np.array([r['size'][i] for r in good if r['size']] or [0]) for i in (0, 1))
    captions = np.array([len(r['captions']) for r in good] or [0])
    labels = Counter(r['label'] for r in good if r['label'] >= 0)
    keys = Counter(r['key'] for r in rows if r.get('key') is not None)
    return dict(
        samples=count, read=len(rows), broken=[r['broken'] for r in rows if 'broken' in r],
        flaws=[*flaws, *(flaw for r in good for flaw in r['flaws'])],
        duplicate_keys=sorted(k for k, n in keys.items() if n > 1),
        sizes=dict(smallest=[int(widths.min()), int(heights.min())],
                   median=[int(np.median(widths)), int(np.median(heights))],
                   largest=[int(widths.max()), int(heights.max())],
                   sides_below_64=int((np.minimum(widths, heights) < 64).sum())),
        captions=dict(without=int((captions == 0).sum()), fewest=int(captions.min()), mean=float(captions.mean()),
                      most=int(captions.max())),
        objects=int(sum(r['objects'] for r in good)),
        classes=dict(names=len(classes), seen=len(labels), fewest=min(labels.values(), default=0),
                     most=max(labels.values(), default=0), without=sum(r['label'] < 0 for r in good)))


def is_sound(found: dict) -> bool:
    """Whether nothing was broken or named twice."""
    return not any(part['broken'] or part['flaws'] or part['duplicate_keys'] for part in found.values())


def report(found: dict) -> str:
    """Return what `check_data` found as text."""
    lines = []
    for part, f in found.items():
        sizes = f['sizes']
        captions = f['captions']
        classes = f['classes']
        lines += [f'{part}: {format_count(f["samples"], "sample")}'
                  + (f', {f["read"]:,} of them read' if f['read'] < f['samples'] else ''), '  pixels    '
                  + ', '.join(f'{name} {w} x {h}' for name, (w, h) in list(sizes.items())[:3])
                  + (f'; {sizes["sides_below_64"]:,} with a side below 64' if sizes['sides_below_64'] else ''),
                  f'  captions  {captions["fewest"]} to {captions["most"]} an image, mean {captions["mean"]:.2f}; '
                  f'{captions["without"]:,} without']
        if classes['seen'] or classes['names']:
            lines.append(f'  classes   {classes["seen"]:,} of {classes["names"]:,} seen, {classes["fewest"]:,} to '
                         f'{format_count(classes["most"], "image")} each; {format_count(classes["without"], "image")} '
                         'without')
        if f['objects']:
            lines.append(f'  objects   {format_count(f["objects"], "mask")}')
        lists = [('broken', f['broken']), ('flaws', f['flaws']), ('keys that come again', f['duplicate_keys'])]
        for title, some in [*lists, *([('found, but not used', f['notes'])] if f['notes'] else [])]:
            lines.append(f'  {title}: {len(some):,}')
            lines += [f'    {s}' for s in some[:TOLD]] + ([f'    and {len(some) - TOLD:,} more'] if len(some) > TOLD
                                                          else [])
    return '\n'.join(lines)


def leave(found: dict, folder: str) -> list[str]:
    """Write data.json, data.txt and a sheet of samples for each part into a folder; returns its files."""
    os.makedirs(folder, exist_ok=True)
    files = [os.path.join(folder, 'data.json'), os.path.join(folder, 'data.txt')]
    to_json({part: {k: v for k, v in f.items() if k != 'images'} for part, f in found.items()}, files[0])
    write_atomic(files[1], report(found) + '\n')
    for part, f in found.items():
        if f['images']:
            files.append(os.path.join(folder, f'{part}.png'))
            draw_samples([Sample([r['image']], _caption(r)) for r in f['images']], files[-1],
                         f'{part}: {format_count(f["samples"], "sample")}', TILE)
    return files


def _caption(row):
    text = row['captions'][0] if row['captions'] else f'class {row["label"]}' if row['label'] >= 0 else ''
    return f'{row["size"][0]} x {row["size"][1]}', text or str(row['key'])
